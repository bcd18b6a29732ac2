"""Maps of places over the picture that they are of: attention, roll-out, what a label rests on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from formers.pictures.figure import new_figure, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float32]
HEAT = "inferno"
COVER = 0.65  # how much of the picture a map covers
LARGE, SMALL = 8.5, 2.3  # inches of all panels of a row, and of one of many
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def draw_overlays(
    picture: Floats,
    maps: Floats,
    names: Sequence[str],
    title: str,
    unit: str,
    *,
    most: float | None = None,
    first: str = "what the model reads",
) -> Figure:
    """picture (height, width, 3), 0 to 1; maps (count, rows, columns) of at least 0, on one scale; a name for each.

    The first panel, so named, is the picture itself; below each map it is grey. most: the end of the scale; without it
    colours follow the square root, and the strongest one place in two hundred is all alike: few would leave the rest
    dark.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm

    height, width = picture.shape[:2]
    count = len(maps) + 1
    columns = min(count, 4) if count <= 4 else min(5, int(np.ceil(np.sqrt(count * height / width))))
    rows = -(-count // columns)
    wide = max(SMALL, LARGE / columns)
    tall = wide * height / width
    figure = new_figure(columns * wide + 1.2, rows * (tall + 0.32) + 0.6, title)
    panels: Any = figure.subplots(rows, columns, squeeze=False)
    grey = np.repeat((picture @ GREY)[..., None], 3, -1)
    power, highest = (1.0, most) if most else (0.5, float(np.quantile(maps, 0.995)) or float(maps.max()) or 1.0)
    norm = PowerNorm(power, 0, highest)
    for axes in panels.flat:
        axes.set_axis_off()
    for axes, name in zip(panels.flat, [first, *names], strict=False):
        axes.set_title(visible(name), fontsize=10, pad=3, parse_math=False)
    panels.flat[0].imshow(picture)
    look: dict[str, Any] = {"cmap": HEAT, "norm": norm, "alpha": COVER, "interpolation": "bilinear"}
    for axes, heat in zip(panels.flat[1:], maps, strict=False):
        axes.imshow(grey)
        axes.imshow(heat, **look, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    more = "max" if maps.max() > highest else "neither"
    colours = ScalarMappable(norm, HEAT)
    figure.colorbar(colours, ax=panels, label=unit, pad=0.015, aspect=30, shrink=0.9, extend=more)
    return figure
