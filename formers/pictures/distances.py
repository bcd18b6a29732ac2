"""How far heads look: a point for each head over the depth of the network (Dosovitskiy et al. 2021, figure 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from formers.pictures.figure import BLUE, ORANGE, new_figure, numbered

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_distances(distances: NDArray[np.float32], even: float, patch: int, title: str) -> Figure:
    """distances (layers, heads) in pixels; even: of attention to all patches alike; patch: pixels of one's side."""
    layers, heads = distances.shape
    figure = new_figure(8.5, 5.0, title)
    axes = figure.subplots()
    depth = np.arange(1, layers + 1)
    # heads of a layer side by side, the nearest first, so that none covers another
    beside = np.linspace(-0.28, 0.28, heads) if heads > 1 else np.zeros(1)
    axes.scatter(
        depth[:, None] + beside, np.sort(distances, 1), s=26, color=BLUE, alpha=0.8, linewidths=0, label="head"
    )
    axes.plot(
        depth, distances.mean(1), color=ORANGE, marker="_", markersize=14, linewidth=1.4, label="mean of the heads"
    )
    axes.axhline(even, color="#777777", linestyle="--", linewidth=1, label="a head that looks everywhere alike")
    axes.set(xlabel="layer", ylabel="mean distance (pixels)", xlim=(0.4, layers + 0.6))
    axes.set_ylim(0, 1.08 * max(even, float(distances.max())))
    axes.set_xticks([i + 1 for i in numbered(layers, 24)])
    right = axes.secondary_yaxis("right", functions=(lambda x: np.divide(x, patch), lambda x: np.multiply(x, patch)))
    right.set_ylabel("patches")
    axes.grid(alpha=0.3)
    axes.spines[["top"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure
