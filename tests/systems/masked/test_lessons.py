"""What masked training reads, as people check it."""

import pytest

from formers.recipe import load_recipe
from formers.systems.begin import Beginning
from formers.systems.lessons import Lesson, Lessons, evenly
from formers.systems.masked.lessons import lessons

SMALL = ["model.dim=16", "model.heads=2", "model.hidden=16", "model.layers=1", "model.length=48", "rows.vocab=300"]


@pytest.mark.parametrize(("number", "count"), [(9, 3), (9, 9), (3, 8), (5, 1), (5, 0), (0, 4)])
def test_places_lie_evenly_from_the_first_to_the_last(number, count):
    places = evenly(number, count)
    assert len(places) == len(set(places)) == min(number, count) and places == sorted(places)
    assert not places or places[0] == 0
    assert len(places) < 2 or places[-1] == number - 1


def test_marks_in_a_pipe_and_colours_on_a_terminal():
    texts = Lessons([Lesson("a.txt, line 1", ["One", "\n", " two"], [False, True, True])])
    assert texts.line().splitlines() == [
        "a.txt, line 1: loss on 2 of 3 tokens", "One│⟦⏎", "⟧⟦ two⟧", "",
        "loss on ⟦such⟧ tokens, none on those that end in │",
    ]  # fmt: skip
    assert [style for _, style in texts.spans()] == ["bold", "", "dim", "black on green", "black on green", "", ""]
    assert texts.endings == ()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_hidden_tokens_are_told_by_what_stands_there(tmp_path, split):
    recipe = load_recipe("masked", [*SMALL, "data.count=6", "rows.random_share=0.3", "rows.mask_share=0.4"])
    kinds = set()
    for row in lessons(Beginning(recipe.sections, tmp_path), split, 30).lessons:
        for was, now, kind in zip(row.original, row.shown, row.kinds, strict=True):
            kinds.add(kind)
            assert (was != now) == (kind in ("masked", "random")) and (now == "[MASK]") == (kind == "masked")
        hidden = [piece for piece, kind in zip(row.original, row.kinds, strict=True) if kind]
        assert row.line().endswith("to say:   " + " ".join(hidden))
        assert f"{len(hidden)} of {len(row.original)} tokens to be said" in row.summary
        assert "".join(text for text, _ in row.spans()).startswith(row.summary + "\noriginal: [CLS] ")
    assert kinds == {"", "masked", "random", "kept"}
