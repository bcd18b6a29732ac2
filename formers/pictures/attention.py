"""Attention: who looks at whom in one layer, every head and their mean, and all layers small beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from formers.pictures.figure import MAP, RED, label, new_figure, numbered, token_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

FUTURE = "#e6e6e6"  # what a decoder cannot see
THUMBNAIL = 24  # cells on each side of a map in the overview
LARGE, SMALL = 8.0, 3.0  # inches of all panels of a layer, and of one of many
SHARES = (0, 0.01, 0.05, 0.2, 0.5, 1)


class AttentionMap(NamedTuple):
    """One kind of attention; in the picture the queries are rows and the keys are columns."""

    weights: NDArray[np.float32]
    """(layers, heads, queries, keys)"""
    queries: Sequence[str]
    keys: Sequence[str]
    name: str = ""


class Panels(NamedTuple):
    """The maps of the layer that is drawn, and the inches that they take."""

    weights: NDArray[np.float32]
    names: list[str]
    all: tuple[int, int]
    """Layers and heads."""
    rows: int
    columns: int
    side: float

    @property
    def width(self) -> float:
        return self.columns * self.side + 2.8

    @property
    def height(self) -> float:
        return self.rows * (self.side + 0.3) + 1.6

    @property
    def overview(self) -> float:
        """The width of all layers beside them."""
        layers, heads = self.all
        return min(max(self.height * heads / layers, 1.6), 0.8 * self.height) + 1.0


def draw_attention(
    maps: Sequence[AttentionMap], title: str, *, layer: int = -1, head: int | None = None, first: bool = False
) -> Figure:
    """Every head of one layer (or one head, large), their mean, and small beside them every head of every layer.

    layer and head count from 0. What no head of a square map ever looks at behind its query is grey. first: below the
    first map, what its first token looks at, the one that classifiers read ([CLS]): in every layer (mean of the
    heads), and in every head of the layer.
    """
    layouts = [panels_of(one, layer, head, len(maps)) for one in maps]
    widths = [max(panels.width for panels in layouts), max(panels.overview for panels in layouts)]
    heights = [panels.height + 0.3 * bool(one.name) for one, panels in zip(maps, layouts, strict=True)]
    width, height = sum(widths), sum(heights) + 0.3
    if first:
        layers, heads, length, _ = maps[0].weights.shape
        # two strips of tokens side by side, or one under the other where the text is long
        shape = (1, 2) if length <= 40 else (2, 1)
        width = max(width, 8.5 if shape == (1, 2) else min(16.0, 2.5 + 0.14 * length))
        below = shape[0] * (1.5 + min(3.6, max(1.2, 0.2 * max(layers, heads))))
        figure = new_figure(width, height + below, title)
        parts: Any = figure.subfigures(2, 1, height_ratios=[height, below], hspace=0.02)
        draw_first_token(parts[1].subplots(*shape, squeeze=False).flat, maps[0], layer, head, width / shape[1] - 1.5)
        upper: Figure | SubFigure = parts[0]
    else:
        upper = figure = new_figure(width, height, title)
    pairs: Any = upper.subfigures(len(maps), 2, width_ratios=widths, height_ratios=heights, squeeze=False)
    for one, panels, (grid, beside) in zip(maps, layouts, pairs, strict=True):
        draw_panels(grid, one, panels)
        draw_overview(beside.subplots(), one.weights, layer, head)
    return figure


def panels_of(one: AttentionMap, layer: int, head: int | None, count: int) -> Panels:
    """What is drawn of this map, one of `count`, and how large."""
    layers, heads, *lengths = one.weights.shape
    weights = one.weights[layer] if head is None else one.weights[layer][head : head + 1]
    names = [f"head {i + 1}" for i in range(heads)] if head is None else [f"head {head + 1}"]
    if len(names) > 1:
        weights, names = np.concatenate([weights.mean(0)[None], weights]), [f"mean of {heads} heads", *names]
    square = int(np.ceil(np.sqrt(len(names))))
    columns = min(square, square + 1, key=lambda number: -len(names) % number)  # the fewest empty places
    rows = -(-len(names) // columns)
    alone = LARGE / columns
    side = min(max(SMALL, alone), max(alone, 0.11 * max(lengths), 1.4)) / count**0.5
    return Panels(weights, names, (layers, heads), rows, columns, side)


def draw_panels(part: SubFigure, one: AttentionMap, panels: Panels) -> None:
    grid: Any = part.subplots(panels.rows, panels.columns, squeeze=False, sharex=True, sharey=True)
    weights = past(panels.weights) if is_causal(one.weights) else panels.weights
    for axes in grid.flat[len(weights) :]:
        axes.set_axis_off()
    for number, (axes, name) in enumerate(zip(grid.flat, panels.names, strict=False)):
        aspect = "equal" if weights.shape[1] == weights.shape[2] else "auto"
        image = axes.imshow(weights[number], **attention_look(), aspect=aspect)
        axes.set_title(name, fontsize=10, pad=3)
        axes.spines[["top", "right"]].set_visible(False)
        token_labels(axes, one.queries, one.keys, panels.side)
        low, left = number + panels.columns >= len(weights), number % panels.columns == 0
        axes.tick_params(labelbottom=low, bottom=low, labelleft=left, left=left)
        axes.xaxis.set_in_layout(number // panels.columns == panels.rows - 1)  # others have an empty place below
    if one.name:
        part.suptitle(one.name, fontsize=11)
    part.supxlabel("looked at (key)", fontsize=10)
    part.supylabel("looking (query)", fontsize=10)
    part.colorbar(image, ax=grid, label="attention weight", pad=0.01, aspect=50, ticks=SHARES)


def attention_look() -> dict[str, Any]:
    """Weights of a long text are small: the colours follow the square root."""
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm

    colours = colormaps[MAP].with_extremes(bad=FUTURE, over="white")
    return {"cmap": colours, "norm": PowerNorm(0.5, 0, 1), "interpolation": "nearest"}


def is_causal(weights: NDArray[np.float32]) -> bool:
    """Whether no query looks at a later key."""
    return weights.shape[-2] == weights.shape[-1] > 1 and not np.triu(weights, 1).any()


def past(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., queries, keys) with NaN for what is later than the query."""
    later = np.triu(np.ones(weights.shape[-2:], dtype=bool), 1)
    return np.where(later, np.float32(np.nan), weights)


def draw_overview(axes: Axes, weights: NDArray[np.float32], layer: int, head: int | None) -> None:
    """All layers and heads as thumbnails of one image: the strongest weight in each of at most 24 x 24 fields."""
    small = weights
    for dimension in (2, 3):
        length = weights.shape[dimension]
        starts = np.linspace(0, length, min(length, THUMBNAIL), endpoint=False).astype(int)
        small = np.maximum.reduceat(small, starts, axis=dimension)
    scale = max(1, THUMBNAIL // max(small.shape[2:]))
    small = small.repeat(scale, 2).repeat(scale, 3)
    layers, heads, rows, columns = small.shape
    gap = max(rows, columns) // 8
    between = 2.0  # above every weight: white
    tiles = past(small) if is_causal(weights) else small
    tiles = np.pad(tiles, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=between)
    high, wide = rows + gap, columns + gap
    axes.imshow(tiles.transpose(0, 2, 1, 3).reshape(layers * high, heads * wide), **attention_look(), aspect="equal")
    left, width = (0, heads * wide) if head is None else (head * wide, wide)
    frame(axes, left - gap / 2 - 0.5, layer % layers * high - gap / 2 - 0.5, width, high)
    for axis, count, size, inside in ((axes.xaxis, heads, wide, columns), (axes.yaxis, layers, high, rows)):
        places = numbered(count, 16)
        axis.set_ticks([size * i + inside / 2 - 0.5 for i in places], [str(i + 1) for i in places], fontsize=8)
    axes.tick_params(length=0, pad=7)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="head", ylabel="layer")
    axes.set_title("every layer and head", fontsize=10)


def frame(axes: Axes, left: float, low: float, width: float, height: float) -> None:
    """A frame around what is drawn large."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((left, low), width, height, fill=False, edgecolor=RED, linewidth=2.5, clip_on=False))


def draw_first_token(panels: Sequence[Axes], one: AttentionMap, layer: int, head: int | None, side: float) -> None:
    """The first query's row of every layer (mean of the heads), and of every head of one layer."""
    layers, heads, *_ = one.weights.shape
    name, layer = label(one.queries[0]), layer % layers
    mean, own = one.weights[:, :, 0].mean(1), one.weights[layer, :, 0]
    for axes, rows, title, kind, framed in (
        (panels[0], mean, f"what {name} looks at, mean of {heads} heads", "layer", layer),
        (panels[1], own, f"what {name} looks at in layer {layer + 1}", "head", head),
    ):
        image = axes.imshow(rows, **attention_look(), aspect="auto")
        axes.set_title(title, fontsize=11, parse_math=False)
        token_labels(axes, [""] * len(rows), one.keys, side)
        places = numbered(len(rows), 12)
        axes.set_yticks(places, [str(i + 1) for i in places], fontsize=8)
        axes.set_ylabel(kind)
        axes.spines[:].set_visible(False)
        if framed is not None and len(rows) > 1:
            frame(axes, -0.5, framed - 0.5, len(one.keys), 1)
        axes.figure.colorbar(image, ax=axes, pad=0.015, aspect=25, ticks=[0, *SHARES[2:]])
