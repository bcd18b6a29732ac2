"""Lines: how several methods do over the same numbers, a panel for each measure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from formers.pictures.figure import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS, MARKS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY), "os^DvP"
Lines = Mapping[str, Sequence[float]]


def draw_lines(
    places: Sequence[float], panels: Mapping[str, Lines], title: str, across: str, *, doubling: bool = False
) -> Figure:
    """A panel for each measure, {its name: {method: a value at every place}}; what is NaN is left out.

    across: what the places are; doubling: they are about twice as large every time, and stand equally far apart.
    """
    figure = new_figure(0.8 + 5.4 * len(panels), 4.6, title)
    for axes, (measure, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for (name, values), colour, mark in zip(lines.items(), itertools.cycle(COLOURS), itertools.cycle(MARKS)):
            look: dict[str, Any] = {"color": colour, "marker": mark, "markersize": 5, "linewidth": 1.6}
            axes.plot(places, values, label=name, **look)
        axes.set(xlabel=across, ylabel=measure)
        if doubling:
            axes.set_xscale("log", base=2)
            axes.minorticks_off()
            axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9)
    return figure
