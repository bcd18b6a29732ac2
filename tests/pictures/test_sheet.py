"""Contact sheets: every picture whole, its title below, the file small."""

import numpy as np
import pytest

from formers.pictures.sheet import LETTERS, LINES, draw_sheet
from tests.pictures.conftest import picture, small

RANDOM = np.random.default_rng(0)


def noise(*shape):
    return RANDOM.integers(0, 255, shape, np.uint8)


def test_pictures_of_all_shapes_keep_their_proportions(tmp_path):
    pictures = [noise(20, 20, 3), noise(10, 40, 3), noise(900, 300, 3), noise(8, 8)]
    drawn = draw_sheet(pictures, ["square", "wide", "high", "grey"], "a $title$", columns=2)
    axes = drawn.axes[0]
    sides = []
    for image in axes.images:
        left, right, bottom, top = image.get_extent()
        sides.append((right - left, bottom - top))
    assert np.allclose(sides, [(1, 1), (1, 0.25), (1 / 3, 1), (1, 1)])
    assert [text.get_text() for text in axes.texts] == ["square", "wide", "high", "grey"]
    assert drawn.get_suptitle() == "a $title$" and small(drawn, tmp_path / "s.png")
    picture(tmp_path / "s.png")


def test_long_titles_are_cut_and_pictures_do_not_overlap():
    drawn = draw_sheet([noise(9, 9, 3)] * 7, ["word " * 50] * 6 + [""], columns=3)
    texts = [text.get_text() for text in drawn.axes[0].texts]
    assert len(texts[0].split("\n")) == LINES and texts[0].endswith("…") and texts[-1] == ""
    assert max(map(len, texts[0].split("\n"))) <= LETTERS
    corners = [(image.get_extent()[0], image.get_extent()[3]) for image in drawn.axes[0].images]
    assert len(set(corners)) == 7 and corners[3][0] == corners[0][0] and corners[3][1] > corners[0][1] + 1


def test_one_picture_and_none():
    assert len(draw_sheet([noise(5, 5, 3)], ["x"]).axes[0].images) == 1
    with pytest.raises(ValueError, match="as many titles"):
        draw_sheet([noise(5, 5, 3)], [])
    with pytest.raises(ValueError, match="at least one"):
        draw_sheet([], [])
