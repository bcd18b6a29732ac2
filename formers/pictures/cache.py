"""What the key-value cache saves: the time of a new token over the length of the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from formers.pictures.figure import BLUE, ORANGE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_cache_times(lengths: Sequence[int], cached: Sequence[float], uncached: Sequence[float], title: str) -> Figure:
    """Milliseconds of a new token, from seconds with and without the cache."""
    figure = new_figure(8.5, 4.8, title)
    axes = figure.subplots()
    for seconds, colour, mark, name in (
        (uncached, ORANGE, "s", "without: the whole text is computed again"),
        (cached, BLUE, "o", "with cache: the new token only"),
    ):
        axes.plot(lengths, [1000 * time for time in seconds], color=colour, marker=mark, markersize=5, label=name)
    axes.set(xlabel="tokens of the text, with the new one", ylabel="milliseconds for a new token")
    axes.set_ylim(0, 1000 * max([*cached, *uncached]) * 1.25)  # room for the legend
    axes.locator_params(axis="x", integer=True)
    gain, place = f"{uncached[-1] / cached[-1]:.1f} times as fast", (lengths[-1], 1000 * cached[-1])
    axes.annotate(gain, place, xytext=(-4, 10), textcoords="offset points", ha="right", color=BLUE)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    return figure
