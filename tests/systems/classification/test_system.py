"""Classifying: probabilities, order, windows, passages; the same numbers as the libraries whose layouts we write."""

import json

import numpy as np
import pytest
import torch

import formers
from formers.errors import CheckpointError, ConfigError, DataError
from formers.systems.classification.system import activation_of
from tests.systems.classification.toy import NAMES, TEXTS, classifier

SIGMOID = "torch.nn.modules.activation.Sigmoid"


def plain_logits(made, text: str, second: str | None = None) -> torch.Tensor:
    """The logits of one text alone."""
    inputs = made.reader.batch(made.reader.read([text], None if second is None else [second]))
    with torch.no_grad():
        return made.model(inputs.tokens, segments=inputs.segments, keep=inputs.keep)[0]


def test_one_label():
    made = classifier()
    found = made.classify(TEXTS[0])
    expected = plain_logits(made, TEXTS[0]).softmax(0)
    assert list(found.probabilities) == list(NAMES["one"])
    assert list(found.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-5)
    assert found.label == NAMES["one"][int(expected.argmax())] and found.labels == (found.label,)
    assert sum(found.probabilities.values()) == pytest.approx(1)


@pytest.mark.parametrize("tokens", [1, 40, 4096])
def test_order_is_kept_whatever_the_batches(tokens):
    made = classifier(pooling="mean")
    found = made.probabilities(TEXTS[:30], tokens_per_batch=tokens)
    alone = np.stack([plain_logits(made, text).softmax(0).numpy() for text in TEXTS[:30]])
    np.testing.assert_allclose(found, alone, atol=1e-5)
    assert made.classify([]) == [] and made.probabilities([]).shape == (0, 3)


def test_several_labels_by_threshold():
    made = classifier("several")
    found = made.classify(TEXTS[:20], threshold=0.4)
    for text, each in zip(TEXTS, found, strict=False):
        sure = plain_logits(made, text).sigmoid()
        assert list(each.probabilities.values()) == pytest.approx(sure.tolist(), abs=1e-5)
        assert set(each.labels) == {name for name, p in each.probabilities.items() if p >= 0.4}
        assert each.label == ", ".join(each.labels)
    assert made.classify(TEXTS[0], threshold=1.0).labels == ()
    with pytest.raises(ConfigError, match=r"threshold \(1.5\)"):
        made.classify("a", threshold=1.5)


def test_pairs_and_rerank():
    made = classifier("number", activation=SIGMOID)
    scores = made.score([(TEXTS[0], other) for other in TEXTS[1:8]])
    expected = [plain_logits(made, TEXTS[0], other).sigmoid().item() for other in TEXTS[1:8]]
    assert scores.tolist() == pytest.approx(expected, abs=1e-5)
    ranked = made.rerank(TEXTS[0], TEXTS[1:8], top=3)
    assert [each.place for each in ranked] == np.argsort(-scores).tolist()[:3]
    assert [each.text for each in ranked] == [TEXTS[1 + each.place] for each in ranked]
    assert [each.score for each in ranked] == sorted(scores.tolist(), reverse=True)[:3]
    assert made.classify(TEXTS[0], TEXTS[1]).number == pytest.approx(expected[0], abs=1e-5)
    one = classifier()
    with pytest.raises(ConfigError, match="tells 3 labels apart"):
        one.rerank("a", ["b"])
    with pytest.raises(ConfigError, match='there is no label "great"'):
        one.rerank("a", ["b"], label="great")
    assert one.rerank("a", ["soup"], label="good")[0].score == pytest.approx(
        plain_logits(one, "a", "soup").softmax(0)[2].item(), abs=1e-5
    )


def test_long_texts_are_cut_or_read_in_windows():
    made = classifier(length=12)
    long = " ".join(TEXTS[:6])
    cut = made.classify(long).probabilities
    assert list(cut.values()) == pytest.approx(plain_logits(made, long).softmax(0).tolist(), abs=1e-5)
    windows = made.reader.text_windows([long], stride=3)[0]
    assert len(windows) > 2
    mean = made.logits(windows).softmax(-1).mean(0)
    assert list(made.classify(long, windows=True).probabilities.values()) == pytest.approx(mean.tolist(), abs=1e-5)
    short = made.probabilities("a nice soup", windows=True)
    np.testing.assert_allclose(short, made.probabilities("a nice soup"), atol=1e-6)
    pair = made.reader.windows(["soup"], [long], stride=3)[0]
    mean = made.logits(pair).softmax(-1).mean(0)
    assert made.probabilities("soup", long, windows=True)[0].tolist() == pytest.approx(mean.tolist(), abs=1e-5)


def test_faults():
    made = classifier()
    with pytest.raises(DataError, match="text 2: it is empty"):
        made.classify(["a", " "])
    with pytest.raises(DataError, match="text 1: its second text is empty"):
        made.classify("a", "")
    with pytest.raises(ConfigError, match="2 texts, but 1 second"):
        made.classify(["a", "b"], ["c"])
    made.tokenizer = None
    with pytest.raises(ConfigError, match="no tokenizer files"):
        made.classify("a")
    with pytest.raises(CheckpointError, match=r"activation_fn 'torch.nn.Softplus' is not computed here"):
        classifier("number", activation="torch.nn.Softplus")


def test_the_activation_of_a_checkpoint():
    assert activation_of({}).endswith("Sigmoid")
    assert activation_of({"problem_type": "regression"}).endswith("Identity")
    assert activation_of(
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}, "problem_type": None}
    ).endswith("Identity")
    assert activation_of({"sbert_ce_default_activation_function": "torch.nn.Tanh"}) == "torch.nn.Tanh"


@pytest.mark.parametrize("kind", ["one", "several", "number"])
def test_a_saved_classifier_opens_in_transformers(tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    made = classifier(kind)
    made.save(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    read = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        logits = theirs(**read(TEXTS[:3], TEXTS[3:6], padding=True, return_tensors="pt")).logits
    ours = torch.stack([plain_logits(made, a, b) for a, b in zip(TEXTS[:3], TEXTS[3:6], strict=True)])
    torch.testing.assert_close(ours, logits, atol=1e-4, rtol=1e-4)
    if kind != "number":
        assert list(theirs.config.id2label.values()) == list(NAMES[kind])
    again = formers.load(tmp_path / "model")
    assert again.kind == kind and len(again.labels) == len(NAMES[kind])
    np.testing.assert_allclose(again.probabilities(TEXTS[:3]), made.probabilities(TEXTS[:3]), atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_other_poolings_are_kept_in_our_own_layout(tmp_path, pooling):
    made = classifier(pooling=pooling)
    made.save(tmp_path / "model")
    again = formers.load(tmp_path / "model")
    assert again.model.config == made.model.config and again.model.config.pooling == pooling
    np.testing.assert_allclose(again.probabilities(TEXTS[:3]), made.probabilities(TEXTS[:3]), atol=1e-6)


@pytest.mark.parametrize("activation", [SIGMOID, "torch.nn.modules.linear.Identity"])
def test_scores_are_those_of_sentence_transformers(tmp_path, activation):
    library = pytest.importorskip("sentence_transformers")
    made = classifier("number", activation=activation)
    made.save(tmp_path / "model")
    theirs = library.CrossEncoder(str(tmp_path / "model"), device="cpu")
    pairs = list(zip(TEXTS[:5], TEXTS[5:10], strict=True))
    np.testing.assert_allclose(made.score(pairs), theirs.predict(pairs), atol=1e-4)
    ranked = theirs.rank(TEXTS[0], TEXTS[1:6])
    assert [each["corpus_id"] for each in ranked] == [each.place for each in made.rerank(TEXTS[0], TEXTS[1:6])]
    assert formers.load(tmp_path / "model").activation == activation
