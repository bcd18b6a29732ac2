"""A picture of what masked training reads: the original tokens, those that are shown, and those that are to be said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from formers.studio.pictures import BLUE, GREEN, ORANGE, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from formers.systems.masked_lessons import MaskedLesson

COLOURS = {"masked": ORANGE, "random": BLUE, "kept": GREEN}
WIDTH = 150  # characters of a line
ROWS = ("original", "shown", "to be said")


def masking_sheet(lessons: Sequence[MaskedLesson]) -> Figure:
    """For each row three lines of tokens, one below the other; what stands where a word is hidden is coloured.

    Orange: the mask; blue: a random token; green: kept. Lines go on below where they are too long.
    """
    blocks = [list(lines(lesson)) for lesson in lessons]
    height = sum(1.3 + 3.4 * len(block) for block in blocks)
    drawn = figure(11, max(1.5, 0.17 * height + 0.5))
    axes = drawn.subplots()
    axes.set_axis_off()
    axes.set(xlim=(0, WIDTH + 12), ylim=(height + 0.2, -0.5))
    at = 0.3
    for lesson, block in zip(lessons, blocks, strict=True):
        axes.text(0, at, lesson.summary(), fontsize=7, weight="bold", va="center")
        at += 1.3
        for places in block:
            draw_line(axes, lesson, places, at)
            at += 3.4
    return drawn


def lines(lesson: MaskedLesson) -> list[list[tuple[int, int]]]:
    """(token, column) of every token, line by line."""
    found: list[list[tuple[int, int]]] = [[]]
    at = 0
    for token, (was, now) in enumerate(zip(lesson.original, lesson.shown, strict=True)):
        width = max(len(was), len(now)) + 1
        if at + width > WIDTH and found[-1]:
            found.append([])
            at = 0
        found[-1].append((token, at))
        at += width
    return found


def draw_line(axes: Axes, lesson: MaskedLesson, places: Sequence[tuple[int, int]], at: float) -> None:
    kinds = lesson.kinds
    for row, name in enumerate(ROWS):
        axes.text(0, at + 0.9 * row, name, fontsize=6, color="0.5", va="center")
    for token, column in places:
        kind = kinds[token]
        colour = COLOURS.get(kind, "0.35")
        texts = (lesson.original[token], lesson.shown[token], lesson.original[token] if kind else "")
        for row, text in enumerate(texts):
            loud = bool(kind) and row > 0
            axes.text(
                12 + column,
                at + 0.9 * row,
                text.replace("$", r"\$"),
                fontsize=6.5,
                va="center",
                family="monospace",
                color=colour if loud else "0.35",
                weight="bold" if loud else "normal",
            )
