"""Every picture of a batch with every caption: how alike they are, and which caption is likely for each picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from formers.pictures.figure import MAP, RED, ink, label, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float32]
NUMBERED = 12  # pictures whose cells have numbers


def draw_matrix(
    pictures: Sequence[NDArray[np.uint8]], captions: Sequence[str], cosines: Floats, probabilities: Floats, title: str
) -> Figure:
    """cosines and probabilities (captions, pictures): a column for each picture (any height, any width, 3).

    The probabilities of a column sum to 1. The likeliest caption of each picture is framed.
    """
    count = len(pictures)
    cell = 0.62 if count <= NUMBERED else max(0.24, 7.5 / count)
    names = [label(caption, 34) for caption in captions]
    side, long = cell * count, 0.078 * max(map(len, names)) + 0.3
    figure = new_figure(2 * side + long + 2.0, cell * (len(captions) + 1) + 1.0, title)
    panels: Any = figure.subplots(1, 2, sharey=True)
    near = float(cosines.max())
    framed = "probability of a caption (framed: the likeliest)"
    looks = ((cosines, "cosine", float(cosines.min()), near, ".2f"), (probabilities, framed, 0.0, 1.0, ".0%"))
    for axes, (table, what, low, high, form) in zip(panels, looks, strict=True):
        image = axes.imshow(table, cmap=MAP, vmin=low, vmax=high, interpolation="nearest")
        axes.set_title(what, fontsize=11)
        draw_heads(axes, pictures, len(captions))
        if count <= NUMBERED:
            for row, column in np.ndindex(table.shape):
                value = float(table[row, column])
                colour = ink(image.cmap(image.norm(value)))
                axes.text(column, row, format(value, form), ha="center", va="center", fontsize=8, color=colour)
        frame_best(axes, probabilities)
        figure.colorbar(image, ax=axes, pad=0.02, aspect=30, shrink=0.85)
    panels[0].set_yticks(range(len(names)), names, fontsize=9 if cell > 0.4 else 7, parse_math=False)
    return figure


def draw_heads(axes: Axes, pictures: Sequence[NDArray[np.uint8]], rows: int) -> None:
    """The pictures above their columns, each as large as a cell."""
    for column, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        tall, wide = 0.45 * height / max(height, width), 0.45 * width / max(height, width)
        axes.imshow(picture, extent=(column - wide, column + wide, -1.05 + tall, -1.05 - tall))
    axes.set(xlim=(-0.5, len(pictures) - 0.5), ylim=(rows - 0.5, -1.55), xticks=[], aspect="equal")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def frame_best(axes: Axes, probabilities: Floats) -> None:
    from matplotlib.patches import Rectangle

    for column, row in enumerate(probabilities.argmax(0)):
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=RED, linewidth=2))
