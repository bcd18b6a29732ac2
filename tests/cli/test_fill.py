"""`formers fill`, `formers data --show-loss` and `formers evaluate` of masked words."""

import json
from io import BytesIO

import pytest
import torch
from PIL import Image

from formers.models.causal import CausalLM, CausalSizes
from formers.pretrained.load import save_model
from formers.text.training import train_byte_bpe
from tests.cli.conftest import fails, works

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
def trained(tmp_path_factory):
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


def test_words_come_with_probabilities(trained):
    output = works("fill", trained, "The [MASK] is a value.", "--top", 3)
    assert output.startswith("The [MASK] is a value.") and output.count(" is a value.") == 4
    (line,) = works("fill", trained, "-", "--top", 2, "--json", stdin="A [MASK] and <mask>.\n\n").splitlines()
    found = json.loads(line)
    assert found["text"] == "A [MASK] and <mask>." and [len(gap) for gap in found["masks"]] == [2, 2]
    assert found["masks"][0][0]["probability"] >= found["masks"][0][1]["probability"] > 0
    assert "mask 2" in works("fill", trained, "A [MASK] and [MASK].")


def test_a_discriminator_shows_what_it_suspects(replaced):
    output = works("fill", replaced, "The function returns.")
    assert "probability" in output and "token" in output
    found = json.loads(works("fill", replaced, "The function returns.", "--json"))
    assert "".join(each["word"].removeprefix("##") for each in found["tokens"]) == "thefunctionreturns."


def test_what_cannot_be_filled_is_one_line(trained, tmp_path):
    assert "has no [MASK]" in fails("fill", trained, "Nothing here.")
    assert "no text" in fails("fill", trained, "-", stdin="\n")
    tokenizer = train_byte_bpe(["a b c"], 258)
    torch.manual_seed(0)
    save_model(
        tmp_path / "gpt",
        CausalLM(CausalSizes(dim=8, layers=1, heads=1, hidden=8, length=8).config(258)),
        tokenizer=tokenizer,
    )
    assert "is for language, expected a model for masked" in fails("fill", tmp_path / "gpt", "A [MASK].")


def test_hidden_words_are_shown_and_drawn(tmp_path):
    picture = tmp_path / "sheet.png"
    output = works("data", "masked", "--show-loss", "--examples", 2, "--out", picture, *SETS)
    assert output.count("original: [CLS]") == 2 and output.count("to say:") == 2 and "⟦[MASK]⟧" in output
    assert "the second segment" in output and f"picture: {picture}" in output
    assert Image.open(BytesIO(picture.read_bytes())).size[0] > 500
    assert "--out draws" in fails("data", "masked", "--out", picture)
    assert "--split train, or validation" in fails("data", "masked", "--show-loss", "--split", "test", *SETS)


def test_a_run_is_measured_on_its_own_text_and_on_others(trained, replaced, tmp_path):
    found = json.loads(works("evaluate", trained, "--json", "--count", 4))
    assert found["text"] == "builtin:prose" and found["rows"] == 4 and 0 <= found["next_accuracy"] <= 100
    text = tmp_path / "one.txt"
    text.write_text("A function is an object. It can be called.\n", encoding="utf-8")
    output = works("evaluate", trained, "--text", text)
    assert "masked accuracy" in output and "not judged" in output
    assert "perplexity" in output
    assert "which detects replaced words" in fails("evaluate", replaced, "--text", text)
    assert "--data and --out are not for masked" in fails("evaluate", trained, "--text", text, "--data", text)
