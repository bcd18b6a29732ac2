"""How a picture becomes a sequence: as it is, as the model reads it and cuts it, and the tokens one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from formers.pictures.figure import BLUE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

Floats = NDArray[np.float32]
SIDE = 4.6  # inches of the longer side of a panel
TOKENS = 12  # in a row, before the last one


def draw_patches(
    original: NDArray[np.uint8], picture: Floats, grid: tuple[int, int], front: Sequence[str], title: str
) -> Figure:
    """original (any height, any width, 3); picture (height, width, 3), 0 to 1, cut into a grid (rows, columns).

    front: the tokens before the patches.
    """
    (height, width), (rows, columns) = picture.shape[:2], grid
    tall, wide = height // rows, width // columns
    patches = picture.reshape(rows, tall, columns, wide, 3).transpose(0, 2, 1, 3, 4)
    high = SIDE * min(1.0, max(height / width, original.shape[0] / original.shape[1]))
    figure = new_figure(2 * SIDE + 0.6, high + 2.4, title)
    parts: Any = figure.subfigures(2, 1, height_ratios=(high + 0.7, 1.3))
    panels: Any = parts[0].subplots(1, 2)
    panels[0].imshow(original)
    panels[0].set_title(f"the picture: {original.shape[1]} x {original.shape[0]} pixels", fontsize=11)
    panels[0].set_axis_off()
    gap = max(1, round(min(tall, wide) / 8))
    apart = np.pad(patches, ((0, 0), (0, 0), (gap, 0), (gap, 0), (0, 0)), constant_values=1)
    sheet = apart.transpose(0, 2, 1, 3, 4).reshape(rows * (tall + gap), columns * (wide + gap), 3)
    panels[1].imshow(sheet, interpolation="nearest" if max(sheet.shape) < 400 else None)
    count = rows * columns
    what = f"{columns} x {rows} = {count:,} patches of {wide} x {tall}"
    panels[1].set_title(f"what the model reads: {width} x {height}\n{what}", fontsize=11)
    for axis, number, size in ((panels[1].xaxis, columns, wide), (panels[1].yaxis, rows, tall)):
        places = sorted({0, number - 1})
        axis.set_ticks([(size + gap) * i + gap + size / 2 for i in places], [str(i + 1) for i in places], fontsize=8)
    panels[1].tick_params(length=0)
    panels[1].spines[:].set_visible(False)
    draw_tokens(parts[1], patches.reshape(count, tall, wide, 3), front)
    return figure


def draw_tokens(part: SubFigure, patches: Floats, front: Sequence[str]) -> None:
    """The tokens in front by name, the first patches, and the last one."""
    from matplotlib.patches import Rectangle

    count, axes, place = len(patches), part.subplots(), 0.0
    first = min(count, max(1, TOKENS - len(front)))
    axes.set_axis_off()
    for name in front:
        axes.add_patch(Rectangle((place, 0), 1, 1, color=BLUE))
        words = name.replace(" ", "\n")
        axes.text(place + 0.5, 0.5, words, ha="center", va="center", fontsize=7, color="white", parse_math=False)
        place += 1.15
    for i in sorted({*range(first), count - 1}):
        if i > first:
            axes.text(place + 0.2, 0.4, "...", ha="center", va="center", fontsize=13)
            place += 0.55
        axes.imshow(patches[i], extent=(place, place + 1, 0, 1), interpolation="nearest")
        axes.text(place + 0.5, -0.12, f"{i + 1:,}", ha="center", va="top", fontsize=8)
        place += 1.15
    axes.set(xlim=(-0.2, place), ylim=(-0.5, 1.1), aspect="equal")
    axes.set_title(f"the sequence of {len(front) + count:,} tokens, row by row", fontsize=11)
