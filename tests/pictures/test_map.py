"""A map of vectors: a colour for each label, texts that do not cover each other, a small file."""

import numpy as np
import pytest

from formers.pictures.map import MOST_GROUPS, draw_map, groups_of
from tests.pictures.conftest import small


def test_a_map_has_a_colour_for_each_label_and_texts_that_do_not_overlap(tmp_path):
    random = np.random.default_rng(0)
    places = random.standard_normal((30, 2))
    drawn = draw_map(places, [f"text number {i}" for i in range(30)], ["a", "b", "b"] * 10, "a map", ("x", "y"))
    axes = drawn.axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["b (20)", "a (10)"]
    assert small(drawn, tmp_path / "m.png")
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) > 10
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    many = draw_map(random.standard_normal((900, 2)), ["t"] * 900, None, "many")
    assert not many.axes[0].texts and many.axes[0].get_legend() is None and small(many, tmp_path / "n.png")


def test_labels_beyond_those_that_colours_tell_apart_are_one_group():
    labels = [f"{i:02d}" for i in range(MOST_GROUPS + 5)] + ["00"]
    found = groups_of(labels)
    assert found[0][0] == "00" and len(found[0][1]) == 2
    assert len(found) == MOST_GROUPS + 1 and found[-1][0] == "5 more labels" and len(found[-1][1]) == 5
    assert sorted(np.concatenate([rows for _, rows in found])) == list(range(len(labels)))


@pytest.mark.parametrize(
    ("labels", "legend"),
    [
        (["sports", "world", "sports"], ["sports (2)", "world (1)"]),
        ([1, 0, 1], ["1 (2)", "0 (1)"]),
        ([0.5, 0.5, 2.0], ["0.5 (2)", "2.0 (1)"]),
        ([np.int64(7), np.int64(7), np.int64(3)], ["7 (2)", "3 (1)"]),
    ],
)
def test_the_legend_shows_names_as_they_are_and_numbers_as_they_are(labels, legend):
    drawn = draw_map(np.eye(3)[:, :2], ["a", "b", "c"], labels, "x")
    assert [text.get_text() for text in drawn.axes[0].get_legend().get_texts()] == legend
