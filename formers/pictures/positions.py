"""Positions: the vectors that tell them apart and how alike these are, in a line or a grid, or what is added to the
scores by distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from formers.pictures.figure import MAP, new_figure, numbered

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

Tables = Mapping[str, NDArray[np.float32]]
VECTORS, BIASES = 4.2, 2.4  # inches
MOST_TILES = 16  # places of a grid's side that have a tile of their own


def draw_positions(vectors: Tables, biases: Tables, title: str) -> Figure:
    """vectors: name -> (positions, dim), with the cosine of every two; biases: name -> (heads, distances), distance 0
    in the middle. The name says which layers ("": all of them)."""
    heights = [VECTORS] * len(vectors) + [BIASES] * len(biases)
    figure = new_figure(11, 0.8 + sum(heights), title)
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
    for number, ((name, table), part) in enumerate(zip([*vectors.items(), *biases.items()], parts.flat, strict=True)):
        most = float(np.abs(table).max()) or 1.0
        look = {"cmap": "PuOr", "vmin": -most, "vmax": most, "aspect": "auto", "interpolation": "nearest"}
        (draw_vectors if number < len(vectors) else draw_biases)(part, name, table, look)
    return figure


def draw_vectors(part: SubFigure, name: str, table: NDArray[np.float32], look: dict[str, Any]) -> None:
    panels: Any = part.subplots(1, 2)
    unit = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)
    alike = look | {"cmap": MAP, "vmin": None, "vmax": None}
    for axes, numbers, colours, title, across, unit_of in (
        (panels[0], table, look, "position vectors", "dimension", "value"),
        (panels[1], unit @ unit.T, alike, "similarity of two positions", "position", "cosine"),
    ):
        image = axes.imshow(numbers, **colours)
        axes.set(title=f"{title}\n{name}" if name else title, xlabel=across, ylabel="position")
        part.colorbar(image, ax=axes, label=unit_of)


def draw_biases(part: SubFigure, name: str, bias: NDArray[np.float32], look: dict[str, Any]) -> None:
    (heads, width), axes = bias.shape, part.subplots()
    reach = width // 2
    image = axes.imshow(bias, **look, extent=(-reach - 0.5, reach + 0.5, heads + 0.5, 0.5))
    axes.set_yticks([i + 1 for i in numbered(heads, 8)])
    axes.set(title=name, xlabel="key position minus query position", ylabel="head")
    part.colorbar(image, ax=axes, label="bias")


def draw_position_grid(similarity: NDArray[np.float32], title: str) -> Figure:
    """similarity (rows, columns, rows, columns): a tile for each place, how alike it is to every other place.

    Of a long side every second or third place has a tile.
    """
    rows, columns = similarity.shape[:2]
    high, wide = (places_of(length) for length in (rows, columns))
    tiles = similarity[high][:, wide]
    gap = max(1, round(max(rows, columns) / 10))
    tiles = np.pad(tiles, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=np.nan)
    sheet = tiles.transpose(0, 2, 1, 3).reshape(len(high) * (rows + gap), len(wide) * (columns + gap))[:-gap, :-gap]
    scale = 7.5 / max(sheet.shape)
    figure = new_figure(scale * sheet.shape[1] + 1.9, max(scale * sheet.shape[0], 1.2) + 1.1, title)
    axes = figure.subplots()
    image = axes.imshow(sheet, cmap=MAP, interpolation="nearest")
    for axis, places, size in ((axes.xaxis, wide, columns), (axes.yaxis, high, rows)):
        middles = (size + gap) * np.arange(len(places)) + size / 2 - 0.5
        axis.set_ticks(middles, [str(place + 1) for place in places], fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="column of the patch", ylabel="row of the patch")
    figure.colorbar(image, ax=axes, label="cosine of two positions", pad=0.02, aspect=30)
    return figure


def places_of(length: int) -> NDArray[np.int64]:
    """At most MOST_TILES places, evenly, in the middle of what they stand for."""
    step = -(-length // MOST_TILES)
    return np.arange((length - 1) % step // 2, length, step)
