"""`formers train` and `formers data` with text: the tiny recipe, its report and what comes next; documents shown."""

from __future__ import annotations

import pytest

from tests.cli.conftest import fails, works

SMALL = [
    "train.steps=3",
    "train.precision=fp32",
    "data.count=6",
    "rows.vocab=300",
    "model.layers=1",
    "model.dim=32",
    "model.heads=2",
    "model.hidden=32",
    "task.evaluated=4",
    "task.sample_tokens=5",
]
SETS = [part for change in SMALL for part in ("--set", change)]


def test_the_tiny_recipe_trains_from_the_command_line():
    shown = works("train", "language", *SETS)
    for part in (
        "training data: builtin:prose",
        "packing: ",
        "vocabulary: 300 tokens",
        "step 3/3  validation: loss ",
        "bits per character",
        "step 3/3  sample: ",
        "formers generate runs/language 'The function'",
        "runs/language/checkpoints/000003",
    ):
        assert part in shown, shown
    assert "3 steps in" in works("train", "runs/language")


def test_text_files_are_trained_on(tmp_path):
    (tmp_path / "book.txt").write_text("It was a day. " * 200, encoding="utf-8")
    shown = works(
        "train",
        "language/shakespeare",
        *SETS,
        "--set",
        "data.train=book.txt",
        "--set",
        "model.length=16",
        "--set",
        "rows.tokens_per_batch=64",
    )
    assert "windows of 16 tokens at random places" in shown and "unknown 0.000%" in shown


def test_documents_are_shown():
    shown = works("data", "prose", "--examples", "2")
    assert "builtin:prose, train" in shown and "examples: " in shown and "…" in shown
    assert works("data", "language", "--examples", "2") == shown
    assert "examples: 2" in works("data", "language", "--split", "validation", "--count", "2")
    assert "prose" in works("list") and "language/shakespeare" in works("list")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.train=nothing.txt", "nothing.txt: does not exist"),
        ("rows.packing=both", 'rows.packing "both" is not known'),
        ("rows.vocab=100", "vocab (100) must be at least 257"),
        ("data.train=", "data.train is empty"),
    ],
)
def test_faults_are_one_line(change, message):
    assert message in fails("train", "language", "--set", change)


def test_a_setting_that_the_data_does_not_have():
    assert "--source: the data of language has no such setting" in fails("data", "language", "--source", "en")
