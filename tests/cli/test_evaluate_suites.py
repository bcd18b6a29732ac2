"""`formers evaluate --suite` and `formers inspect` of encoders, from the command line."""

import json

import numpy as np
import pytest
import torch

import formers
from formers.models.encoder import Encoder
from formers.models.heads import HeadConfig, MaskedWords, SequenceClassifier
from formers.models.sentence import SentenceHead
from formers.pretrained.load import save_model
from formers.pretrained.sentence_folder import SentenceSettings
from formers.systems.classification.system import Classifier
from formers.systems.embedding.system import SentenceEncoder
from formers.systems.sizes import EncoderSizes
from formers.text.training import train_word_pieces
from tests.cli.conftest import call, fails, works

GOOD, BAD, PLAIN = ["fine", "great"], ["awful", "dull"], ["film", "day", "story", "town"]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A few sets: sst2, sts of a year, cola."""
    place, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)

    def opinion(i):
        words = [*random.choice(PLAIN, 2), random.choice(GOOD if i % 2 else BAD)]
        return {"text": " ".join(words), "label": ["negative", "positive"][i % 2]}

    for part, count in (("train", 40), ("validation", 10), ("test", 10)):
        write(place / "sst2" / f"{part}.jsonl", [opinion(i) for i in range(count)])
        write(place / "cola" / f"{part}.jsonl", [{**opinion(i), "label": i % 2} for i in range(count)])
    pairs = [
        {
            "sentence1": " ".join(a := list(random.choice(PLAIN, 3))),
            "score": float(same),
            "sentence2": " ".join(a[:same] + ["dull"] * (3 - same)),
        }
        for same in random.integers(0, 4, 20).tolist()
    ]
    write(place / "sts" / "2012-test.jsonl", pairs)
    return place


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    tokenizer = train_word_pieces([" ".join([*GOOD, *BAD, *PLAIN])] * 3, 70)
    return EncoderSizes(dim=16, heads=2, layers=2, hidden=32, length=24).config(tokenizer.vocab), tokenizer


@pytest.fixture(scope="module")
def model(parts, tmp_path_factory):
    config, tokenizer = parts
    folder = tmp_path_factory.mktemp("models") / "sentences"
    SentenceEncoder(Encoder(config).eval(), tokenizer, SentenceHead(), SentenceSettings()).save(folder)
    return folder


@pytest.fixture(scope="module")
def words(parts, tmp_path_factory):
    config, tokenizer = parts
    folder = tmp_path_factory.mktemp("models") / "words"
    save_model(folder, MaskedWords(HeadConfig(encoder=config)).eval(), tokenizer=tokenizer)
    return folder


def test_sts(model, data):
    shown = works("evaluate", model, "--suite", "sts", "--data-folder", data)
    assert "sts-2012" in shown and "Spearman x 100" in shown and "mean of the hidden states" in shown
    assert "not measured: sick" in shown and "20 pairs, but the published set has 3,108" in shown
    found = json.loads(works("evaluate", model, "--suite", "sts", "--data-folder", data, "--json"))
    assert found["scores"][0]["examples"] == 20 and found["encoding_seconds"] > 0 and "sts-2013" in found["missing"]
    own = json.loads(works("evaluate", model, "--suite", "sts", "--data", data / "sts" / "2012-test.jsonl", "--json"))
    assert own["scores"][0]["scores"] == found["scores"][0]["scores"]


def test_senteval_and_an_encoder_with_another_head(model, words, data):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    done = call("evaluate", model, "--suite", "senteval", "--data-folder", data)
    assert "sst2, test: accuracy %" in done.stderr and "accuracy %" in done.stdout
    assert "not measured: mr: no mr or sentences/mr file" in done.stdout
    found = json.loads(
        works(
            "evaluate", words, "--suite", "glue-like", "--data-folder", data, "--only", "cola", "--folds", "5", "--json"
        )
    )
    assert "MaskedWords, which was not trained for sentence vectors" in found["vectors"]
    assert found["scores"][0]["scores"].keys() == {"matthews", "accuracy"} and not found["missing"]


def test_a_classifier_says_its_own_labels(parts, data, tmp_path):
    config, tokenizer = parts
    torch.manual_seed(1)
    model = SequenceClassifier(HeadConfig(encoder=config, labels=("positive", "negative"))).eval()
    Classifier(model, tokenizer).save(tmp_path / "m")
    found = json.loads(works("evaluate", tmp_path / "m", "--suite", "glue-like", "--data-folder", data, "--json"))
    rows = [json.loads(line) for line in (data / "sst2" / "test.jsonl").read_text().splitlines()]
    said = formers.load(tmp_path / "m").classify([row["text"] for row in rows])
    right = np.mean([one.label == row["label"] for one, row in zip(said, rows, strict=True)])
    assert found["vectors"] == "fine-tuned" and found["scores"][0]["scores"]["accuracy"] == pytest.approx(right)
    assert "are not this model's (positive, negative); --only cola takes them in order" in found["missing"]["cola"]
    assert "fine-tuned classifier; give --suite glue-like" in fails(
        "evaluate", tmp_path / "m", "--suite", "sts", "--data-folder", data
    )


def test_faults_of_suites(model, data, tmp_path):
    assert 'did you mean "senteval"' in fails("evaluate", model, "--suite", "senteva", "--data-folder", data)
    assert "give --data-folder FOLDER" in fails("evaluate", model, "--suite", "sts")
    assert "there is no such folder" in fails("evaluate", model, "--suite", "sts", "--data-folder", tmp_path / "no")
    assert "are of --suite" in fails("evaluate", model, "--data-folder", data)
    assert "is for --suite sts" in fails("evaluate", model, "--suite", "senteval", "--data", "x.csv")
    assert 'no set "sts12"' in fails("evaluate", model, "--suite", "sts", "--data-folder", data, "--only", "sts12")


# ---- inspect -----------------------------------------------------------------------------------------------


def test_attention_positions_and_parameters_of_encoders(model, words, tmp_path):
    out = tmp_path / "a.png"
    works("inspect", model, "attention", "a fine day", "--second", "dull town", "--layer", "1", "--out", out)
    assert out.stat().st_size > 5000
    works("inspect", words, "positions", "--out", out)
    shown = works("inspect", words, "parameters")
    assert "shared: is encoder.embedding.weight" in shown
    count = sum(each.numel() for each in formers.load(words).model.parameters())
    assert f"{count:,}" in shown
    assert "--layer (3) must be 1 to 2" in fails("inspect", model, "attention", "fine", "--layer", "3")
    assert "more than 24 tokens" in fails("inspect", model, "attention", "fine " * 40)
    assert "--target is of translation" in fails("inspect", model, "attention", "fine", "--target", "x")


def test_a_map_of_a_file(model, words, data, tmp_path):
    source, out = data / "sst2" / "train.jsonl", tmp_path / "m.png"
    shown = works("inspect", model, "map", "--file", source, "--labels", "label", "--count", "20", "--out", out)
    assert "20 of 40 texts" in shown and out.stat().st_size > 5000
    assert "map of what?" in fails("inspect", model, "map")
    assert '"lens" is not known' not in fails("inspect", words, "map", "--file", source)
    assert '--method "lda" is not known' in fails("inspect", model, "map", "--file", source, "--method", "lda")
    assert '--file is of "map"' in fails("inspect", model, "parameters", "--file", source)
