"""Tagging: windows, first pieces, entities; learned by heart; folders that the reference opens and that it writes."""

import json
import math

import numpy as np
import pytest
import torch

import formers
from formers.errors import ConfigError
from formers.models.heads import HeadConfig, TokenClassifier
from formers.systems.sizes import EncoderSizes
from formers.systems.tagging.system import Tag, Tagger, clearest, joined, word_places
from formers.text.training import train_word_pieces
from formers.training.events import Evaluated

TEXTS = ["Anna Karin lives in New York.", "The unbelievable cats sleep in Rome!"]
LABELS = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")


def shaken(model):
    """Every parameter random: default initialisation hides faults."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            torch.nn.init.normal_(weight, mean=1.0 if "norm" in name and name.endswith("weight") else 0.0, std=0.3)
    return model.eval()


@pytest.fixture(scope="module")
def tagger():
    torch.manual_seed(0)
    tokenizer = train_word_pieces(["a b c d e f g h i k l m n o p r s t u v w y . !", *TEXTS, *TEXTS], 90)
    config = EncoderSizes(dim=32, layers=2, heads=2, hidden=48, length=24, dropout=0.0).config(tokenizer.vocab)
    return Tagger(shaken(TokenClassifier(HeadConfig(encoder=config, labels=LABELS))), tokenizer)


def test_raw_text_and_words_give_offsets_labels_and_probabilities(tagger):
    for text in TEXTS:
        tags = tagger.tag(text, join=False)
        assert [tag.text for tag in tags] == [text[tag.start : tag.end] for tag in tags]
        assert "".join(tag.text for tag in tags) == text.replace(" ", "")
        words = [tag.text for tag in tags]
        given = tagger.tag(words, join=False)
        assert [(tag.text, tag.label) for tag in given] == [(tag.text, tag.label) for tag in tags]
        assert [tag.score for tag in given] == pytest.approx([tag.score for tag in tags], abs=1e-5)
        assert [" ".join(words)[tag.start : tag.end] for tag in given] == words
    batched = tagger.tag_all([TEXTS[0], TEXTS[1].split(), "", TEXTS[1]], join=False)
    assert [len(each) for each in batched] == [7, 6, 0, 7]
    alone = tagger.tag(TEXTS[1], join=False)
    assert [(tag.text, tag.label) for tag in batched[3]] == [(tag.text, tag.label) for tag in alone]
    assert [tag.score for tag in batched[3]] == pytest.approx([tag.score for tag in alone], abs=1e-5)


def test_the_label_is_that_of_the_first_piece(tagger):
    encoding = tagger.reader.read([TEXTS[1]])[0]
    logits = tagger.model(torch.tensor([encoding.ids]))[0].detach()
    chances = logits.softmax(-1)
    for word, tag in enumerate(tagger.tag(TEXTS[1], join=False)):
        piece = encoding.word_ids.index(word)
        assert tag.label == LABELS[int(logits[piece].argmax())]
        assert tag.score == pytest.approx(float(chances[piece].max()), abs=1e-5)


def test_a_long_text_is_read_in_windows_and_every_word_has_one_label(tagger):
    words = (TEXTS[1].split() * 12)[:50]
    for stride in (0, 1, 7):
        tags = tagger.tag(words, join=False, stride=stride)
        assert [tag.text for tag in tags] == words and all(tag.label and 0.2 <= tag.score <= 1 for tag in tags)
    windows = tagger.windows([words], 7)[0]
    assert len(windows) > 3 and all(len(each) <= 24 for each in windows)
    for word, (number, place) in clearest(windows).items():
        assert windows[number].word_ids[place] == word and windows[number].offsets[place][0] == 0
        seen = [
            min(at, len(each) - 1 - at)
            for each in windows
            for at, (other, offset) in enumerate(zip(each.word_ids, each.offsets, strict=True))
            if other == word and offset[0] == 0
        ]
        assert min(place, len(windows[number]) - 1 - place) == max(seen)
    text = " ".join(words)
    assert "".join(tag.text for tag in tagger.tag(text, join=False)) == text.replace(" ", "")
    with pytest.raises(ConfigError, match=r"stride \(22\) must be less than the 22 tokens"):
        tagger.tag(words, stride=22)


def test_a_word_of_which_nothing_is_left_has_no_label(tagger):
    tags = tagger.tag(["Anna", "\u200b\x00", "sleeps"], join=False)
    assert [bool(tag.label) for tag in tags] == [True, False, True] and tags[1].score == 0.0
    report, predicted = tagger.evaluate([["Anna", "\u200b\x00"]], [["O", "O"]])
    assert predicted[0][1] == "" and report.value("accuracy") <= 0.5 and math.isfinite(report.value("loss"))


def test_bio_labels_become_entities():
    text = "Anna Karin saw New York"
    places = word_places(text.split(), [])
    labels, scores = ["B-PER", "I-PER", "O", "B-LOC", "I-LOC"], [0.9, 0.7, 1.0, 0.5, 1.0]
    words = [Tag(text[a:b], label, score, a, b) for (a, b), label, score in zip(places, labels, scores, strict=True)]
    found = joined(words, text)
    assert [(each.text, each.label, each.start, each.end) for each in found] == [
        ("Anna Karin", "PER", 0, 10),
        ("New York", "LOC", 15, 23),
    ]
    assert [each.score for each in found] == pytest.approx([0.8, 0.75])


def test_scores_of_a_sentence_are_worked_by_hand(tagger):
    words = TEXTS[0].split()
    tags = tagger.tag(words, join=False)
    truth = [tag.label for tag in tags]
    truth[0] = next(label for label in LABELS if label != truth[0])
    ((_, logits),) = tagger.read([words])
    expected = -np.mean([logits[i, LABELS.index(label)] for i, label in enumerate(truth)])
    report, predicted = tagger.evaluate([words], [truth])
    scores = report.values()
    assert scores["accuracy"] == pytest.approx(1 - 1 / len(words))
    assert scores["loss"] == pytest.approx(expected, abs=1e-5)
    assert predicted == [[tag.label for tag in tags]] and "span_f1" in scores
    assert np.exp(logits).sum(1) == pytest.approx(np.ones(len(words)), abs=1e-5)


def test_reading_puts_training_mode_back_after_a_fault_too(tagger, monkeypatch):
    expected = tagger.tag_all(TEXTS, join=False)
    tagger.model.train()
    try:
        assert tagger.tag_all(TEXTS, join=False) == expected and tagger.model.training
        modes = []

        def broken(x):
            modes.append(tagger.model.training)
            raise MemoryError

        monkeypatch.setattr(tagger.model.out, "forward", broken)
        with pytest.raises(MemoryError):
            tagger.tag_all(TEXTS)
        assert modes == [False] and tagger.model.training
    finally:
        tagger.model.eval()


def test_the_reference_opens_our_folder_and_we_open_its(tagger, tmp_path):
    transformers = pytest.importorskip("transformers")
    tagger.save(tmp_path / "ours")
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "ours").eval()
    assert type(theirs).__name__ == "BertForTokenClassification"
    assert tuple(theirs.config.id2label[i] for i in range(5)) == LABELS
    reader = tagger.reader
    inputs = reader.batch(reader.read(TEXTS))
    with torch.no_grad():
        ours = tagger.model(inputs.tokens, segments=inputs.segments, keep=inputs.keep)
        other = theirs(
            input_ids=inputs.tokens,
            token_type_ids=inputs.segments,
            attention_mask=None if inputs.keep is None else inputs.keep.long(),
        ).logits
    real = torch.ones_like(inputs.tokens, dtype=torch.bool) if inputs.keep is None else inputs.keep
    torch.testing.assert_close(ours[real], other[real], atol=1e-4, rtol=1e-4)
    tokens = transformers.AutoTokenizer.from_pretrained(tmp_path / "ours")
    assert tokens(TEXTS[0])["input_ids"] == reader.read(TEXTS[:1])[0].ids
    theirs.save_pretrained(tmp_path / "theirs")
    tokens.save_pretrained(tmp_path / "theirs")
    again = formers.load(tmp_path / "theirs")
    assert isinstance(again, Tagger) and again.tag(TEXTS[0], join=False) == tagger.tag(TEXTS[0], join=False)


def test_eight_sentences_are_learned_by_heart_and_a_run_goes_on_from_its_head(tmp_path):
    rows = [
        ("Anna lives in New York", "B-PER O O B-LOC I-LOC"),
        ("Ben saw Rome", "B-PER O B-LOC"),
        ("the cat saw Anna", "O O O B-PER"),
        ("Rome likes Ben", "B-LOC O B-PER"),
        ("cats sleep", "O O"),
        ("in New York cats sleep", "O B-LOC I-LOC O O"),
        ("Paul Karin works", "B-PER I-PER O"),
        ("the old Ben", "O O B-PER"),
    ]
    path = tmp_path / "eight.jsonl"
    path.write_text("".join(json.dumps({"tokens": a.split(), "tags": b.split()}) + "\n" for a, b in rows))
    changes = [
        f"data.train={path}",
        f"data.validation={path}",
        "model.dim=32",
        "model.hidden=64",
        "model.dropout=0.0",
        "rows.vocab=100",
        "train.steps=60",
        "train.rate=0.01",
        "train.warmup=5",
        "train.evaluate_every=60",
        "train.precision=fp32",
        "train.sample_every=0",
        "task.samples=[]",
    ]
    events = list(formers.train("tagging", changes, run=tmp_path / "run"))
    metrics = next(each for each in events if isinstance(each, Evaluated)).metrics
    assert metrics["accuracy"] == 1.0 and metrics["span_f1"] == 1.0 and metrics["loss"] < 0.05
    found = formers.load(tmp_path / "run")
    assert [(tag.text, tag.label) for tag in found.tag("Anna lives in New York")] == [
        ("Anna", "PER"),
        ("New York", "LOC"),
    ]
    more = [change for change in changes if not change.startswith(("model.", "train.rate"))]
    events = list(
        formers.train(
            "tagging",
            [*more, f"model.start={tmp_path / 'run'}", "train.steps=1", "train.rate=0.000001"],
            run=tmp_path / "more",
        )
    )
    assert next(each for each in events if isinstance(each, Evaluated)).metrics["accuracy"] == 1.0
