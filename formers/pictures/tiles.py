"""Many small pictures edge to edge, as a map of where each stands."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from formers.pictures.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 8.0  # inches


def draw_tiles(
    pictures: NDArray[np.uint8], reach: tuple[NDArray[np.float64], NDArray[np.float64]], title: str = ""
) -> Figure:
    """A square of pictures, (n * n, height, width, 3) or grey (n * n, height, width), row by row from the top.

    reach: (across, up) of the lowest and of the highest place, which the axes show.
    """
    side = math.isqrt(len(pictures))
    if side * side != len(pictures):
        raise ValueError(f"{len(pictures)} pictures fill no square")
    height, width = pictures.shape[1:3]
    rows = pictures.reshape(side, side, *pictures.shape[1:]).swapaxes(1, 2)
    image = rows.reshape(side * height, side * width, *pictures.shape[3:])
    figure = new_figure(SIDE, SIDE * height / width, title)
    axes = figure.subplots()
    (left, bottom), (right, top) = reach
    axes.imshow(image, extent=(left, right, bottom, top), cmap="gray", vmin=0, vmax=255, aspect="auto")
    axes.set(xlabel="first number of the code", ylabel="second number of the code")
    return figure
