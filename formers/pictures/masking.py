"""What masked training reads: the original tokens, those that are shown, and those that are to be said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from formers.pictures.figure import BLUE, GREEN, ORANGE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"masked": ORANGE, "random": BLUE, "kept": GREEN}
WIDTH, MARGIN = 150, 12  # characters of a line, and of the names before it
ROWS = ("original", "shown", "to be said")


class MaskedRow(NamedTuple):
    title: str
    original: Sequence[str]
    shown: Sequence[str]
    kinds: Sequence[str]
    """Of each token: "" (left alone), masked, random or kept."""


def draw_masking(rows: Sequence[MaskedRow]) -> Figure:
    """For each row three lines of tokens, one below the other; what stands where a word is hidden is coloured.

    Orange: the mask; blue: a random token; green: kept. Lines go on below where they are too long.
    """
    sheets = [lines_of(row) for row in rows]
    height = sum(1.3 + 3.4 * len(lines) for lines in sheets)
    figure = new_figure(11, max(1.5, 0.17 * height + 0.5))
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set(xlim=(0, WIDTH + MARGIN), ylim=(height + 0.2, -0.5))
    y = 0.3
    for row, lines in zip(rows, sheets, strict=True):
        axes.text(0, y, row.title, fontsize=7, weight="bold", va="center", parse_math=False)
        y += 1.3
        for line in lines:
            for i, name in enumerate(ROWS):
                axes.text(0, y + 0.9 * i, name, fontsize=6, color="0.5", va="center")
            for token, column in line:
                kind = row.kinds[token]
                for i, text in enumerate((row.original[token], row.shown[token], row.original[token] * bool(kind))):
                    colour, weight = (COLOURS[kind], "bold") if kind and i else ("0.35", "normal")
                    look: dict[str, Any] = {"family": "monospace", "color": colour, "weight": weight, "fontsize": 6.5}
                    axes.text(MARGIN + column, y + 0.9 * i, text, va="center", parse_math=False, **look)
            y += 3.4
    return figure


def lines_of(row: MaskedRow) -> list[list[tuple[int, int]]]:
    """(token, column) of every token, line by line."""
    lines: list[list[tuple[int, int]]] = [[]]
    column = 0
    for token, (original, shown) in enumerate(zip(row.original, row.shown, strict=True)):
        width = max(len(original), len(shown)) + 1
        if column + width > WIDTH and lines[-1]:
            lines.append([])
            column = 0
        lines[-1].append((token, column))
        column += width
    return lines
