"""`formers fill`, `formers data --show-loss` and `formers evaluate` of masked words."""

import json
from io import BytesIO

import pytest
from PIL import Image

from tests.cli.conftest import call, fails, works

SMALL = [
    "model.dim=16",
    "model.hidden=32",
    "model.heads=2",
    "model.layers=1",
    "model.length=48",
    "rows.vocab=300",
    "data.count=4",
    "rows.tokens_per_batch=2048",
    "train.steps=2",
    "train.precision=fp32",
    "train.warmup=1",
    "train.evaluate_every=0",
    "train.sample_every=0",
    "task.samples=[]",
]
SETS = [part for change in SMALL for part in ("--set", change)]


@pytest.fixture(scope="module")
def filler(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fill") / "run"
    works("train", "masked", "--run", folder, *SETS)
    return folder


@pytest.fixture(scope="module")
def replaced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fill") / "electra"
    works(
        "train",
        "masked",
        "--run",
        folder,
        *SETS,
        "--set",
        "task.objective=replaced",
        "--set",
        "rows.next_sentence=false",
        "--set",
        "model.form=electra",
    )
    return folder


def test_words_come_with_probabilities(filler):
    output = works("fill", filler, "The [MASK] is a value.", "--top", 3)
    assert output.startswith("The [MASK] is a value.") and output.count(" is a value.") == 4
    (line,) = works("fill", filler, "-", "--top", 2, "--json", stdin="A [MASK] and <mask>.\n\n").splitlines()
    found = json.loads(line)
    assert found["text"] == "A [MASK] and <mask>." and [len(gap) for gap in found["masks"]] == [2, 2]
    assert found["masks"][0][0]["probability"] >= found["masks"][0][1]["probability"] > 0
    assert "mask 2" in works("fill", filler, "A [MASK] and [MASK].")


def test_a_discriminator_shows_what_it_suspects(replaced):
    output = works("fill", replaced, "The function returns.")
    assert "probability" in output and "token" in output
    found = json.loads(works("fill", replaced, "The function returns.", "--json"))
    assert "".join(each["word"].removeprefix("##") for each in found["tokens"]) == "thefunctionreturns."


def test_what_cannot_be_filled_is_one_line(filler, trained, tmp_path):
    assert "has no [MASK]" in fails("fill", filler, "Nothing here.")
    assert "no text" in fails("fill", filler, "-", stdin="\n")
    assert "line 3: the text is longer than the 48 tokens" in fails(
        "fill", filler, stdin="\na [MASK]\n[MASK] " + "a " * 48
    )
    assert "is for translation, expected a model for masked" in fails("fill", trained.folder, "A [MASK].")


def test_a_file_and_out(filler, tmp_path):
    (tmp_path / "in.txt").write_text("A [MASK].\n\nAn <mask> [MASK].\n", encoding="utf-8")
    assert works("fill", filler, "--file", "in.txt", "--top", 1, "--out", "out.txt") == ""
    lines = [line.split("\t") for line in (tmp_path / "out.txt").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 3 and all(0 < float(probability) < 1 and len(rest) == 2 for probability, *rest in lines)


def test_hidden_words_are_shown_and_drawn(tmp_path):
    picture = tmp_path / "sheet.png"
    output = works("data", "masked", "--show-loss", "--examples", 2, *SETS)
    assert output.count("original: [CLS]") == 2 and output.count("to say:") == 2 and "⟦[MASK]⟧" in output
    assert "the second segment" in output
    assert output.splitlines()[-1] == "⟦[MASK]⟧ hidden, ⟦~such⟧ a random token, ⟦=such⟧ kept: all to be said"
    result = call("data", "masked", "--show-loss", "--examples", 2, "--out", picture, *SETS)
    assert result.stdout == "" and f"wrote {picture}" in result.stderr
    assert Image.open(BytesIO(picture.read_bytes())).size[0] > 500
    works("data", "masked", "--show-loss", "--examples", 2, "--out", tmp_path / "rows.jsonl", *SETS)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 2 and set(rows[0]["kinds"]) <= {"", "masked", "random", "kept"}
    assert "expected a name that ends in .png" in fails("data", "masked", "--show-loss", "--out", "sheet.x", *SETS)
    assert "these rows are texts" in fails("data", "masked", "--out", picture)
    assert "--split train, or validation" in fails("data", "masked", "--show-loss", "--split", "test", *SETS)


def test_a_run_is_measured_on_its_own_text_and_on_others(filler, replaced, tmp_path):
    found = json.loads(works("evaluate", filler, "--json", "--count", 4))
    assert found["text"] == "builtin:prose" and found["rows"] == 4 and 0 <= found["next_accuracy"] <= 1
    text = tmp_path / "one.txt"
    text.write_text("A function is an object. It can be called.\n", encoding="utf-8")
    output = works("evaluate", filler, "--text", text)
    assert "masked accuracy" in output and "not judged" in output
    assert "perplexity" in output
    assert "which detects replaced words" in fails("evaluate", replaced, "--text", text)
    assert "--data does not go with a masked model" in fails("evaluate", filler, "--text", text, "--data", text)
    assert "this report has no such file" in fails("evaluate", filler, "--text", text, "--out", "scores.txt")
