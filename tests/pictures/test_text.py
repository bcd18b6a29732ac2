"""Tokens as they are printed, and a text in the colours of its probabilities."""

from itertools import pairwise

import numpy as np

from formers.pictures.figure import label, save, visible
from formers.pictures.text import draw_text, share
from tests.pictures.conftest import picture

START = "<|endoftext|>"


def test_share_has_two_digits():
    cases = {
        1.0: "100%",
        0.9997: "100%",
        0.62: "62%",
        0.0621: "6.2%",
        0.000031: "0.0031%",
        1e-9: "<0.001%",
        0.0: "<0.001%",
    }
    assert {each: share(each) for each in cases} == cases


def test_pieces_are_shown_on_one_line_without_controls():
    assert visible("▁a\n\t\x1b[0m") == " a↵⇥\\x1b[0m"
    assert label("▁") == label(" ") == "␣"
    assert label("▁word") == "word" and label("x" * 20) == "x" * 13 + "…"


def test_coloured_text_stays_on_the_page_and_breaks_its_lines(tmp_path):
    names = [f" {'longer' * (i % 3)}word" for i in range(120)]
    names[7] = "\n"
    drawn = draw_text([START, *names], [None, *np.linspace(1e-9, 1, 120)], ["note"], "title")
    picture(save(drawn, tmp_path / "text.png"))
    page = drawn.axes[0]
    boxes = [(box.get_y(), box.get_x(), box.get_x() + box.get_width()) for box in page.patches]
    assert len(boxes) == 121 and all(0 < left < right < 11 * 72 for _, left, right in boxes)
    for before, after in pairwise(boxes):
        assert after[0] > before[0] or after[1] >= before[2]  # the next line, or to the right
    assert boxes[9][0] > boxes[8][0]  # after the line break
    shown = [text.get_text() for text in page.texts]
    assert "100%" in shown and "<0.001%" in shown and "note" in shown and START in shown
