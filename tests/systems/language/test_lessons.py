"""What carries loss, taken apart out of the batches of every recipe."""

import json

import pytest

from formers.recipe import load_recipe
from formers.registry import system
from formers.systems.begin import Beginning
from formers.systems.system import resolve
from tests.cli.conftest import fails

TINY = ["model.start=", "model.dim=16", "model.heads=2", "model.hidden=16", "model.layers=1", "model.length=64"]


def show(recipe, folder, *changes, split="train", count=3):
    recipe = load_recipe(recipe, [*TINY, *changes])
    return list(resolve(system(recipe.system).lessons)(Beginning(recipe.sections, folder), split, count).lessons)


def runs(lesson):
    found = [[lesson.counted[0], ""]]
    for piece, counted in zip(lesson.pieces, lesson.counted, strict=True):
        if counted != found[-1][0]:
            found.append([counted, ""])
        found[-1][1] += piece
    return [tuple(each) for each in found]


def test_of_conversations(tmp_path):
    rows = [{"prompt": f"Number {i}?", "answer": f"It is {i}."} for i in range(9)]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = show(
        "language/instruct", tmp_path, f"data.train={path}", f"data.validation={path}", "data.count=0", "rows.vocab=300"
    )
    assert [lesson.title for lesson in found] == [f"{path}, line {line} (token 0)" for line in (1, 5, 9)]
    assert runs(found[1]) == [
        (False, "<|endoftext|>User:\nNumber 4?\n\nAssistant:\n"),
        (True, "It is 4.<|endoftext|>"),
        (False, "\n\n"),
    ]


def test_of_preferences(tmp_path):
    rows = [{"prompt": "hello", "chosen": "a", "rejected": f"b{i}"} for i in range(4)]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = show(
        "language/preferences",
        tmp_path,
        f"data.train={path}",
        f"data.validation={path}",
        "data.count=0",
        "rows.vocab=300",
        split="validation",
        count=1,
    )
    asked = (False, "<|endoftext|>User:\nhello\n\nAssistant:\n")
    assert [lesson.title for lesson in found] == [f"{path}, line 1, chosen", f"{path}, line 1, rejected"]
    assert runs(found[0]) == [asked, (True, "a<|endoftext|>"), (False, "\n\n")]
    assert runs(found[1]) == [asked, (True, "b0<|endoftext|>"), (False, "\n\n")]


@pytest.mark.parametrize("packing", ["documents", "none", "stream"])
def test_of_text(tmp_path, packing):
    path = tmp_path / "x.txt"
    path.write_text("one two three\nfour five six\nseven eight nine\nten" + " eleven" * 60 + "\n")
    found = show(
        "language",
        tmp_path,
        f"data.train={path}",
        f"data.validation={path}",
        "rows.separator=line",
        "rows.tokenizer=characters",
        f"rows.packing={packing}",
    )
    for lesson in found:
        assert lesson.counted == [False] + [True] * (len(lesson.pieces) - 1)
    if packing != "stream":
        assert runs(found[0]) == [(False, "<|endoftext|>"), (True, "one two three<|endoftext|>")]


def test_other_systems_and_splits_are_refused():
    said = fails("data", "translation", "--show-loss")
    assert "it is for " in said and "language, chat, preferences" in said
    assert "--split train, or validation" in fails("data", "language/instruct", "--show-loss", "--split", "test")
