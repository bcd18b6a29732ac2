"""Pictures of encoders: what each head and [CLS] look at, sentences as points in the plane, confusions of labels.

As in `pictures`: plain numbers in, a Figure out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from formers.studio.language_pictures import attention_look, draw_heads, heads_size, ink
from formers.studio.pictures import BLUE, MAP, figure, label, token_labels, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008) first, then darker and lighter ones that stand apart from them.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A800", "#7A4FB5", "#8C564B")
MARKS = "osD^vP"
MOST_GROUPS = len(COLOURS) * 2  # with a name of their own in a legend
MOST_NAMED = 40  # points that have their text beside them
ROOM_FOR_NUMBERS = 20  # classes whose confusions are written as numbers


# ---- attention ---------------------------------------------------------------------------------------------


def attention(tokens: Sequence[str], maps: NDArray[np.float32], layer: int, head: int | None, title: str) -> Figure:
    """Who looks at whom in one layer (every head, or one), in all layers small, and what the first token looks at.

    maps: (layers, heads, queries, keys); layer and head count from 0. The first token is the one that classifiers
    read ([CLS]): below, its row in every layer (mean of the heads), and in every head of the chosen layer.
    """
    layers, count, length, _ = maps.shape
    shown = maps[layer] if head is None else maps[layer][head : head + 1]
    width, height = heads_size(maps, shown)
    rows = max(layers, count)
    below = 1.5 + min(3.6, max(1.2, 0.2 * rows))
    # two panels of tokens side by side, or one under the other where the text is long
    beside = length <= 40
    below = below if beside else 2 * below
    width = max(width, 8.5 if beside else min(16.0, 2.5 + 0.14 * length))
    drawn = figure(width, height + below)
    drawn.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
    parts: Any = drawn.subfigures(2, 1, height_ratios=[height, below], hspace=0.02)
    upper, lower = parts
    draw_heads(upper, tokens, maps, shown, layer, head, causal=False)
    panels: Any = lower.subplots(*((1, 2) if beside else (2, 1)), squeeze=False)
    left, right = panels.flat
    first = label(tokens[0])
    side = (width / 2 if beside else width) - 1.5
    strip(left, tokens, maps[:, :, 0].mean(1), f"what {first} looks at, mean of {count} heads", "layer", side, layer)
    strip(right, tokens, maps[layer, :, 0], f"what {first} looks at in layer {layer + 1}", "head", side, head)
    return drawn


def strip(
    axes: Axes, tokens: Sequence[str], rows: NDArray[np.float32], title: str, name: str, side: float, chosen: int | None
) -> None:
    """(rows, tokens) in the colours of the maps above; what is chosen has a frame."""
    from matplotlib.patches import Rectangle

    image = axes.imshow(rows, **(attention_look() | {"aspect": "auto"}))
    axes.set_title(title, fontsize=11, parse_math=False)
    token_labels(axes, [""] * len(rows), tokens, side)
    every = max(1, -(-len(rows) // 12))
    axes.set_yticks(range(0, len(rows), every), [str(i + 1) for i in range(0, len(rows), every)], fontsize=8)
    axes.set_ylabel(name)
    axes.spines[:].set_visible(False)
    if chosen is not None and len(rows) > 1:
        frame = Rectangle((-0.5, chosen - 0.5), len(tokens), 1, fill=False, edgecolor="#D55E00", linewidth=2)
        frame.set_clip_on(False)
        axes.add_patch(frame)
    axes.figure.colorbar(image, ax=axes, pad=0.015, aspect=25, ticks=[0, 0.05, 0.2, 0.5, 1])


# ---- sentences in the plane --------------------------------------------------------------------------------


def embedding_map(
    places: NDArray[np.floating[Any]],
    texts: Sequence[str],
    labels: Sequence[str] | None,
    title: str,
    axes_names: tuple[str, str] = ("", ""),
) -> Figure:
    """Points (texts, 2), coloured by label where there are labels; few of them have their text beside them.

    axes_names: what the two directions are ("": they mean nothing, and have no numbers).
    """
    kinds, drawn_kinds = groups(labels, len(texts))
    longest = max((len(name) for name, _ in drawn_kinds), default=0)
    legend = min(3.2, 0.75 + 0.075 * min(longest, 28)) if labels is not None else 0.0
    drawn = figure(8.2 + legend, 7.0)
    drawn.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
    axes = drawn.subplots()
    size = float(np.clip(7000 / max(len(texts), 1), 9, 45))
    for number, (name, rows) in enumerate(drawn_kinds):
        other = name == "" and labels is not None
        axes.scatter(
            places[rows, 0],
            places[rows, 1],
            s=size,
            alpha=0.85 if len(texts) < 500 else 0.6,
            c="#bbbbbb" if other else COLOURS[number % len(COLOURS)] if labels is not None else BLUE,
            marker=MARKS[number // len(COLOURS) % len(MARKS)],
            linewidths=0,
            zorder=1 if other else 2,
            label=f"{len(kinds) - MOST_GROUPS} more labels ({len(rows):,})"
            if other
            else f"{label(name, 28)} ({len(rows):,})",
        )
    axes.set(xlabel=axes_names[0], ylabel=axes_names[1])
    if axes_names == ("", ""):
        axes.set(xticks=[], yticks=[])
    else:
        axes.set_aspect("equal", adjustable="datalim")  # distances mean something
    axes.margins(0.08)
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    if labels is not None:
        made = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
        for mark in made.legend_handles:
            if mark is not None:
                mark.set(sizes=[45], alpha=1)
        for text in made.get_texts():
            text.set_parse_math(False)
    if len(texts) <= MOST_NAMED:
        beside(drawn, axes, places, texts)
    return drawn


def groups(labels: Sequence[str] | None, count: int) -> tuple[list[str], list[tuple[str, NDArray[np.int64]]]]:
    """All labels, most frequent first, and the rows of each that is drawn; those beyond MOST_GROUPS are one, ""."""
    if labels is None:
        return [], [("", np.arange(count))]
    names, which, counts = np.unique(
        np.asarray(labels, dtype=object).astype(str), return_inverse=True, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")
    found = [(str(names[i]), np.flatnonzero(which == i)) for i in order[:MOST_GROUPS]]
    if len(order) > MOST_GROUPS:
        found.append(("", np.flatnonzero(~np.isin(which, order[:MOST_GROUPS]))))
    return [str(names[i]) for i in order], found


def beside(drawn: Figure, axes: Axes, places: NDArray[np.floating[Any]], texts: Sequence[str]) -> None:
    """The text of each point next to it, at the first of some places where it covers nothing; else nowhere."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(drawn).draw()  # the layout is known from now on
    renderer = drawn.canvas.get_renderer()  # type: ignore[attr-defined]
    points = axes.transData.transform(places)
    dots = [(x - 4, y - 4, x + 4, y + 4) for x, y in points]
    frame, taken = axes.get_window_extent(renderer), list[tuple[float, float, float, float]]()
    ways = (
        (7, 0, "left"),
        (-7, 0, "right"),
        (0, 10, "center"),
        (0, -10, "center"),
        (7, 9, "left"),
        (-7, 9, "right"),
        (7, -9, "left"),
        (-7, -9, "right"),
        (0, 20, "center"),
        (0, -20, "center"),
    )
    for number, (place, text) in enumerate(zip(places, texts, strict=True)):
        for x, y, side in ways:
            said = axes.annotate(
                label(text, 30),
                place,
                (x, y),
                textcoords="offset points",
                fontsize=8,
                ha=side,
                va="center",
                color="#333333",
                parse_math=False,
                annotation_clip=False,
            )
            box = said.get_window_extent(renderer)
            mine = (box.x0, box.y0, box.x1, box.y1)
            others = [*taken, *(dot for i, dot in enumerate(dots) if i != number)]
            inside = box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1
            if inside and not any(overlap(mine, other) for other in others):
                taken.append(mine)
                break
            said.remove()


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether two boxes (left, low, right, high) share any place."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


# ---- confusions --------------------------------------------------------------------------------------------


def confusion(matrix: ArrayLike, labels: Sequence[str], *, title: str = "") -> Figure:
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
    right = float(table.trace() / table.sum()) if table.sum() else 0.0
    drawn = figure(side + long + 2.3, side + long * (0.75 if count > 3 else 0.3) + 1.4)
    heading = f"{visible(title)}: {right:.1%} right" if title else f"{right:.1%} right"
    drawn.suptitle(wrapped(heading, side + long + 2.0), fontsize=12, fontweight="bold", parse_math=False)
    axes = drawn.subplots()
    image = axes.imshow(shares, cmap=MAP, vmin=0, vmax=1, interpolation="nearest")
    size = 9 if count <= 30 else float(np.clip(72 * side / count * 0.6, 4.5, 9))
    axes.set_xticks(
        range(count),
        names,
        fontsize=size,
        rotation=0 if count <= 3 else 45,
        ha="center" if count <= 3 else "right",
        rotation_mode="anchor",
        parse_math=False,
    )
    axes.set_yticks(
        range(count),
        [f"{name} ({total:,})" for name, total in zip(names, sums, strict=True)] if count <= 30 else names,
        fontsize=size,
        parse_math=False,
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="said", ylabel="is")
    if count <= ROOM_FOR_NUMBERS:
        for row, column in zip(*np.nonzero(table), strict=True):
            axes.text(
                column,
                row,
                f"{table[row, column]:,}",
                ha="center",
                va="center",
                parse_math=False,
                fontsize=min(10.0, 72 * cell * 1.5 / max(4, len(f"{table.max():,}"))),
                color=ink(image.cmap(float(shares[row, column]))),
            )
    bar = drawn.colorbar(image, ax=axes, pad=0.02, aspect=30, label="share of the row")
    bar.ax.tick_params(labelsize=8)
    return drawn


def wrapped(text: str, inches: float) -> str:
    """A heading in as many lines as it needs."""
    import textwrap

    return "\n".join(textwrap.wrap(text, max(20, int(inches * 9)), break_long_words=True))
