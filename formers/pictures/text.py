"""A text whose tokens are coloured by how likely each of them was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from formers.pictures.figure import MAP, ink, label, new_figure, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST = 0.001  # probabilities below have one colour
GIVEN = "#e6e6e6"  # tokens without a probability
WIDTH, EDGE, LINE, HEAD = 11 * 72.0, 36.0, 34.0, 78.0  # of the page, in points


def share(probability: float) -> str:
    """As per cent with two digits: 62%, 6.2%, 0.0031%."""
    if probability < 1e-5:
        return "<0.001%"
    return np.format_float_positional(100 * probability, precision=2, fractional=False, trim="-") + "%"


def colours(probability: float) -> tuple[str, str]:
    """Paper and ink of a token: bright for likely, dark for unlikely, on a logarithmic scale."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    paper = colormaps[MAP](1 - np.log(max(probability, LEAST)) / np.log(LEAST))
    return to_hex(paper), ink(paper)


def draw_text(pieces: Sequence[str], probabilities: Sequence[float | None], notes: Sequence[str], title: str) -> Figure:
    """The text with every token coloured by its probability, which stands below it; None: it was given.

    notes: lines under the text.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.patches import Rectangle

    figure = new_figure(11, 4)
    figure.set_layout_engine("none")  # everything has its place
    page = figure.add_axes((0, 0, 1, 1))
    page.set_axis_off()
    renderer = FigureCanvasAgg(figure).get_renderer()
    x, y, fresh = EDGE, HEAD, True
    for piece, probability in zip(pieces, probabilities, strict=True):
        paper, letters = (GIVEN, "black") if probability is None else colours(probability)
        number = "" if probability is None else share(probability)
        text = page.text(0, 0, label(piece, 40), fontsize=12, color=letters, va="center", ha="center", parse_math=False)
        below = page.text(0, 0, number, fontsize=6.5, color="#444444", ha="center", va="top")
        width = max(part.get_window_extent(renderer).width * 72 / figure.dpi for part in (text, below)) + 5
        gap = 1.0 if fresh or not visible(piece).startswith(" ") else 5.0  # a word begins
        if x + gap + width > WIDTH - EDGE and not fresh:
            x, y, gap = EDGE, y + LINE, 1.0
        left = x + gap
        page.add_patch(Rectangle((left, y - 13), width, 18, facecolor=paper, edgecolor="white", linewidth=0.8))
        text.set_position((left + width / 2, y - 4))
        below.set_position((left + width / 2, y + 6))
        x, fresh = left + width, "\n" in piece
        if fresh:
            x, y = EDGE, y + LINE
    body = y if fresh else y + LINE
    height = body + 17 * len(notes) + (14 if notes else 0)
    figure.set_size_inches(11, height / 72)
    page.set(xlim=(0, WIDTH), ylim=(height, 0))
    for i, note in enumerate(notes):
        weight = "normal" if i else "bold"
        page.text(EDGE, body + 17 * i, note, fontsize=9.5, fontweight=weight, va="top", parse_math=False)
    page.text(EDGE, 18, label(title, 85), fontsize=13, fontweight="bold", va="top", parse_math=False)
    draw_scale(figure, height)
    return figure


def draw_scale(figure: Figure, height: float) -> None:
    """The colours of the probabilities, at the top."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    place = figure.add_axes((EDGE / WIDTH, 1 - 48 / height, 240 / WIDTH, 8 / height))
    bar = figure.colorbar(ScalarMappable(LogNorm(LEAST, 1), MAP), cax=place, orientation="horizontal")
    ticks = [0.001, 0.01, 0.1, 1.0]
    bar.set_ticks(ticks, labels=["≤" + share(ticks[0]), *map(share, ticks[1:])], fontsize=7.5)
    bar.ax.minorticks_off()
    bar.ax.tick_params(length=0, pad=2)
