"""A map: vectors as points of the plane, coloured by their labels, few of them with their text beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from formers.pictures.figure import BLUE, label, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008) first, then darker and lighter ones that stand apart from them.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A800", "#7A4FB5", "#8C564B")
MARKS = "osD^vP"
MOST_GROUPS = len(COLOURS) * 2  # with a name of their own in a legend
MOST_NAMED = 40  # points that have their text beside them
SIDES = {7: "left", -7: "right", 0: "center"}  # points to the right of a dot, and where the text then begins


def draw_map(
    places: NDArray[np.floating[Any]],
    texts: Sequence[str],
    labels: Sequence[object] | None,
    title: str,
    axes_names: tuple[str, str] = ("", ""),
) -> Figure:
    """Points (texts, 2), coloured by label where there are labels: names as they are, and numbers as they are.

    axes_names: what the two directions are ("": they mean nothing, and have no numbers).
    """
    figure = new_figure(8.2 + _legend(labels), 7.0, title)
    axes = figure.subplots()
    _scatter(axes, places, labels, legend=labels is not None)
    axes.set(xlabel=axes_names[0], ylabel=axes_names[1])
    if axes_names == ("", ""):
        axes.set(xticks=[], yticks=[])
    else:
        axes.set_aspect("equal", adjustable="datalim")  # distances mean something
    if len(texts) <= MOST_NAMED:
        name_points(figure, axes, places, texts)
    return figure


def draw_maps(maps: Mapping[str, NDArray[np.floating[Any]]], labels: Sequence[object] | None, title: str) -> Figure:
    """Several maps of the same points, each (points, 2) under its name, side by side; far outliers are outside."""
    figure = new_figure(6.0 * len(maps) + _legend(labels), 6.2, title)
    for number, (axes, (name, places)) in enumerate(
        zip(figure.subplots(1, len(maps), squeeze=False)[0], maps.items(), strict=True), 1
    ):
        _scatter(axes, places, labels, legend=labels is not None and number == len(maps))
        low, high = np.quantile(places, (0.005, 0.995), axis=0)
        room = 0.08 * np.maximum(high - low, 1e-6)
        axes.set(xlim=(low[0] - room[0], high[0] + room[0]), ylim=(low[1] - room[1], high[1] + room[1]))
        axes.set_title(name, fontsize=11, parse_math=False)
    return figure


def _legend(labels: Sequence[object] | None) -> float:
    """Inches that the names of the labels take beside a map."""
    return 0.0 if labels is None else min(3.2, 0.75 + 0.075 * min(max(len(str(name)) for name in labels), 28))


def _scatter(axes: Axes, places: NDArray[np.floating[Any]], labels: Sequence[object] | None, *, legend: bool) -> None:
    """The points, a colour for each label, and where asked the names of the labels to the right."""
    count = len(places)
    groups = [("", np.arange(count))] if labels is None else groups_of([str(name) for name in labels])
    size = float(np.clip(7000 / max(count, 1), 4, 45))
    alpha = 0.85 if count < 500 else 0.6
    for number, (name, rows) in enumerate(groups):
        colour = BLUE if labels is None else COLOURS[number % len(COLOURS)]
        look: dict[str, Any] = {"c": colour, "marker": MARKS[number // len(COLOURS) % len(MARKS)], "zorder": 2}
        if number == MOST_GROUPS:  # all that have no colour of their own
            look |= {"c": "#bbbbbb", "zorder": 1}
        else:
            name = label(name, 28)
        x, y = places[rows].T
        axes.scatter(x, y, s=size, alpha=alpha, linewidths=0, label=f"{name} ({len(rows):,})", **look)
    axes.margins(0.08)
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        box = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
        for mark, text in zip(box.legend_handles, box.get_texts(), strict=True):
            mark.set(sizes=[45], alpha=1)  # type: ignore[union-attr]
            text.set_parse_math(False)


def groups_of(labels: Sequence[str]) -> list[tuple[str, NDArray[np.int64]]]:
    """Each label, most frequent first, and its rows; the rows of those beyond MOST_GROUPS are one group more."""
    names, which, counts = np.unique(np.asarray(labels, dtype=object), return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    groups = [(str(names[i]), np.flatnonzero(which == i)) for i in order[:MOST_GROUPS]]
    if others := len(order[MOST_GROUPS:]):
        rows = np.flatnonzero(np.isin(which, order[MOST_GROUPS:]))
        groups.append((f"{others} more label{'s' * (others > 1)}", rows))
    return groups


def name_points(figure: Figure, axes: Axes, places: NDArray[np.floating[Any]], texts: Sequence[str]) -> None:
    """The text of each point next to it, at the first of some places where it covers nothing; else nowhere."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    FigureCanvasAgg(figure).draw()  # the layout is known from now on
    page = axes.get_window_extent()
    dots = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in axes.transData.transform(places)]
    written: list[Bbox] = []
    for number, (place, text) in enumerate(zip(places, texts, strict=True)):
        for y, x in product((0, 9, -9, 20, -20), SIDES):
            if x == y == 0:
                continue
            name = axes.annotate(
                label(text, 30), place, (x, y), textcoords="offset points", fontsize=8, color="#333333",
                ha=SIDES[x], va="center", parse_math=False, annotation_clip=False,
            )  # fmt: skip
            box = name.get_window_extent()
            inside = page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
            if inside and not box.count_overlaps([*written, *dots[:number], *dots[number + 1 :]]):
                written.append(box)
                break
            name.remove()
