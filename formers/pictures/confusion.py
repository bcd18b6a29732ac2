"""Confusions: how often each class was taken for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from formers.pictures.figure import MAP, ink, label, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOM_FOR_NUMBERS = 20  # classes whose confusions are written as numbers


def draw_confusion(matrix: ArrayLike, labels: Sequence[str], *, title: str = "") -> Figure:
    """How often each class (row) was taken for each (column): colours are shares of the row, numbers are counts."""
    table = np.asarray(matrix)
    count = len(table)
    if table.shape != (count, count) or len(labels) != count:
        raise ValueError(f"a table {table.shape} of confusions needs as many labels, got {len(labels)}")
    sums = table.sum(1)
    shares = table / np.maximum(sums, 1)[:, None]
    cell = 0.62 if count <= 8 else 0.5 if count <= ROOM_FOR_NUMBERS else max(0.16, 10 / count)
    side = max(2.6, cell * count)
    names = [label(name, 24) for name in labels]
    long = 0.085 * max(map(len, names))
    right = f"{float(table.trace() / table.sum()) if table.sum() else 0.0:.1%} right"
    height = side + long * (0.75 if count > 3 else 0.3) + 1.4
    figure = new_figure(side + long + 2.3, height, f"{title}: {right}" if title else right)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap=MAP, vmin=0, vmax=1, interpolation="nearest")
    size = 9 if count <= 30 else float(np.clip(72 * side / count * 0.6, 4.5, 9))
    turn: dict[str, Any] = {"rotation": 90}
    if count <= ROOM_FOR_NUMBERS:
        turn = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if count > 3 else {}
    axes.set_xticks(range(count), names, fontsize=size, parse_math=False, **turn)
    totals = [f"{name} ({total:,})" for name, total in zip(names, sums, strict=True)]
    axes.set_yticks(range(count), totals if count <= 30 else names, fontsize=size, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="said", ylabel="is")
    if count <= ROOM_FOR_NUMBERS:
        size = min(10.0, 72 * cell * 1.5 / max(4, len(f"{table.max():,}")))
        for row, column in zip(*np.nonzero(table), strict=True):
            colour = ink(image.cmap(float(shares[row, column])))
            axes.text(column, row, f"{table[row, column]:,}", ha="center", va="center", fontsize=size, color=colour)
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=30, label="share of the row")
    bar.ax.tick_params(labelsize=8)
    return figure
