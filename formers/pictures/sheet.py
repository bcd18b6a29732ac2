"""A contact sheet: many pictures beside each other, each with a line or two below it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from formers.errors import shortened
from formers.pictures.figure import new_figure, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TILE = 1.5  # inches of a side
GAP = 0.06  # of a tile, between pictures
LINE = 0.1  # of a tile, for each line below
LETTERS = 23  # of such a line
LINES = 4


def draw_sheet(
    pictures: Sequence[NDArray[np.uint8]], titles: Sequence[str], title: str = "", *, columns: int = 0
) -> Figure:
    """Pictures, (height, width, 3) or grey (height, width), each whole, with their titles below, row by row.

    columns: of a row; 0: about as many as make it twice as wide as high.
    """
    count = len(pictures)
    if not count or len(titles) != count:
        raise ValueError(f"{count} pictures need as many titles, at least one; got {len(titles)}")
    columns = min(columns or max(1, math.ceil(math.sqrt(1.8 * count))), count)
    written = [lines(text) for text in titles]
    below = LINE * max(map(len, written)) + (0.03 if any(written) else 0)
    high, rows = 1 + GAP + below, math.ceil(count / columns)
    figure = new_figure(TILE * columns + 0.2, TILE * high * rows + (0.45 if title else 0.15), title)
    axes = figure.subplots()
    for place, (picture, text) in enumerate(zip(pictures, written, strict=True)):
        top, left = place // columns * high, place % columns * (1 + GAP)
        height, width = picture.shape[0] / max(picture.shape[:2]), picture.shape[1] / max(picture.shape[:2])
        across, down = left + (1 - width) / 2, top + (1 - height) / 2
        extent = (across, across + width, down + height, down)
        axes.imshow(reduced(picture), extent=extent, cmap="gray", vmin=0, vmax=255)  # the last three: where it is grey
        axes.text(
            left + 0.5, top + 1.02, "\n".join(text), ha="center", va="top", fontsize=7, linespacing=1.05,
            parse_math=False,
        )  # fmt: skip
    axes.set(xlim=(0, columns * (1 + GAP) - GAP), ylim=(rows * high, 0), aspect="equal")
    axes.axis("off")
    return figure


def lines(text: str) -> list[str]:
    """A title in at most four lines."""
    wrapped = textwrap.wrap(visible(text), LETTERS)
    return (
        wrapped
        if len(wrapped) <= LINES
        else [*wrapped[: LINES - 1], shortened(" ".join(wrapped[LINES - 1 :]), LETTERS)]
    )


def reduced(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture of at most twice the pixels that its tile has: what is drawn soon, and without moiré."""
    from PIL import Image

    most = int(TILE * 200)
    if max(picture.shape[:2]) <= most:
        return picture
    image = Image.fromarray(picture)
    image.thumbnail((most, most))
    return np.asarray(image)
