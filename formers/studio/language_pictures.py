"""Pictures of what a language model does with a text: its heads, its layers' opinions, probabilities, the cache.

As in `pictures`: plain numbers in, a Figure out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from formers.studio.pictures import BLUE, MAP, ORANGE, RED, figure, label, token_labels, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

FUTURE = "#e6e6e6"  # what a decoder cannot see
LEAST = 0.001  # probabilities below have one colour
THUMBNAIL = 24  # cells on each side of a map in the overview


def share(probability: float) -> str:
    """As per cent with two digits: 62%, 6.2%, 0.0031%."""
    if probability < 1e-5:
        return "<0.001%"
    return np.format_float_positional(100 * probability, precision=2, fractional=False, trim="-") + "%"


def colours(probability: float) -> tuple[str, str]:
    """Paper and ink of a token: bright for likely, dark for unlikely, on a logarithmic scale."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    paper = colormaps[MAP](1 - np.log(max(probability, LEAST)) / np.log(LEAST))
    return to_hex(paper), ink(paper)


def ink(paper: Sequence[float]) -> str:
    """Black or white, whichever is read better on this colour."""
    red, green, blue = paper[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


# ---- attention ---------------------------------------------------------------------------------------------


def heads(tokens: Sequence[str], maps: NDArray[np.float32], layer: int, head: int | None, title: str) -> Figure:
    """Every head of one layer (or one head, large), and small beside it every head of every layer.

    maps: (layers, heads, queries, keys); layer and head count from 0.
    """
    shown = maps[layer] if head is None else maps[layer][head : head + 1]
    drawn = figure(*heads_size(maps, shown))
    drawn.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
    draw_heads(drawn, tokens, maps, shown, layer, head, causal=True)
    return drawn


def _sides(maps: NDArray[np.float32], shown: NDArray[np.float32]) -> tuple[int, int, float, float, float]:
    """Rows and columns of the grid, the side of a map, the height of all, the width of the overview; in inches."""
    layers, count, length, _ = maps.shape
    columns = int(np.ceil(np.sqrt(len(shown))))
    rows = -(-len(shown) // columns)
    side = max(9.0 / rows, 0.15 * length) if rows == 1 else min(3.4, max(9.0 / columns, 0.11 * length, 1.4))
    side = min(side, 9.0)
    height = max(rows * side, 4.0)
    return rows, columns, side, height, min(max(height * count / layers, 1.6), 0.8 * height)


def heads_size(maps: NDArray[np.float32], shown: NDArray[np.float32]) -> tuple[float, float]:
    """Width and height in inches that `draw_heads` wants."""
    _, columns, side, height, width = _sides(maps, shown)
    return columns * side + width + 2.6, height + 1.3


def draw_heads(
    place: Figure | SubFigure,
    tokens: Sequence[str],
    maps: NDArray[np.float32],
    shown: NDArray[np.float32],
    layer: int,
    head: int | None,
    *,
    causal: bool,
) -> None:
    """The maps that are `shown`, and the overview. causal: what is later is never looked at, and is grey."""
    rows, columns, side, _, width = _sides(maps, shown)
    parts: Any = place.subfigures(1, 2, width_ratios=[columns * side + 1.6, width + 1.0], wspace=0.02)
    left, right = parts
    _grid(left, tokens, _past(shown) if causal else shown, rows, columns, side, head)
    _overview(right.subplots(), maps, layer, head, causal)


def _grid(
    part: SubFigure,
    tokens: Sequence[str],
    maps: NDArray[np.float32],
    rows: int,
    columns: int,
    side: float,
    head: int | None,
) -> None:
    panels: Any = part.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for number, axes in enumerate(panels.flat):
        if number >= len(maps):
            axes.set_axis_off()
            continue
        image = axes.imshow(maps[number], **attention_look())
        axes.set_title(f"head {number + 1 if head is None else head + 1}", fontsize=10, pad=3)
        axes.spines[["top", "right"]].set_visible(False)
        token_labels(axes, tokens, tokens, side)
        last = number + columns >= len(maps)
        axes.tick_params(labelbottom=last, bottom=last, labelleft=number % columns == 0, left=number % columns == 0)
    part.supxlabel("looked at (key)", fontsize=10)
    part.supylabel("looking (query)", fontsize=10)
    part.colorbar(image, ax=panels, label="attention weight", pad=0.01, aspect=50, ticks=[0, 0.01, 0.05, 0.2, 0.5, 1])


def attention_look() -> dict[str, Any]:
    """Weights of a long text are small: the colours follow the square root."""
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm

    return {
        "cmap": colormaps[MAP].with_extremes(bad=FUTURE),
        "norm": PowerNorm(0.5, 0, 1),
        "aspect": "equal",
        "interpolation": "nearest",
    }


def _past(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., queries, keys) with NaN for what is later than the query."""
    later = np.triu(np.ones(weights.shape[-2:], dtype=bool), 1)
    return np.where(later, np.float32(np.nan), weights)


def _overview(axes: Axes, maps: NDArray[np.float32], layer: int, head: int | None, causal: bool) -> None:
    """All layers and heads as thumbnails of one image: the strongest weight in each of at most 24 x 24 fields."""
    from matplotlib.patches import Rectangle

    layers, count, length, _ = maps.shape
    size = min(length, THUMBNAIL)
    starts = np.linspace(0, length, size, endpoint=False).astype(int)
    small = np.maximum.reduceat(np.maximum.reduceat(maps, starts, axis=-1), starts, axis=-2)
    gap = max(1, size // 8)
    between = 2.0  # above every weight: white
    tile = np.pad(_past(small) if causal else small, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=between)
    mosaic = tile.transpose(0, 2, 1, 3).reshape(layers * (size + gap), count * (size + gap))
    look = attention_look()
    look["cmap"] = look["cmap"].with_extremes(bad=FUTURE, over="white")
    axes.imshow(mosaic, **look)
    if head is None:
        place, wide = -gap / 2 - 0.5, count * (size + gap)
    else:
        place, wide = head * (size + gap) - gap / 2 - 0.5, size + gap
    frame = Rectangle(
        (place, layer * (size + gap) - gap / 2 - 0.5), wide, size + gap, fill=False, edgecolor=RED, linewidth=2.5
    )
    frame.set_clip_on(False)
    axes.add_patch(frame)
    for axis, number in ((axes.xaxis, count), (axes.yaxis, layers)):
        every = max(1, -(-number // 16))
        ticks = range(0, number, every)
        axis.set_ticks([(size + gap) * i + size / 2 for i in ticks], [str(i + 1) for i in ticks], fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="head", ylabel="layer")
    axes.set_title("every layer and head", fontsize=10)


# ---- logit lens --------------------------------------------------------------------------------------------


def lens(
    tokens: Sequence[str],
    following: Sequence[str],
    said: Sequence[Sequence[str]],
    probabilities: NDArray[np.float32],
    title: str,
) -> Figure:
    """What each layer would say after each token: said[layer][position] and its probability.

    Layer 0 is the embedding; following: what the text goes on with after each token ("" for the last).
    """
    rows, columns = probabilities.shape
    drawn = figure(max(6.5, 0.78 * columns + 2.2), 0.25 * rows + 2.2)
    drawn.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
    axes = drawn.subplots()
    image = axes.imshow(probabilities, cmap=MAP, vmin=0, vmax=1, aspect="auto", origin="lower")
    for row in range(rows):
        for column in range(columns):
            name = label(said[row][column], 10)
            axes.text(
                column,
                row,
                name,
                ha="center",
                va="center",
                fontsize=8 if any(each.isalnum() for each in name) else 11,
                color=ink(image.cmap(float(probabilities[row, column]))),
                parse_math=False,
            )
    axes.set_xticks(range(columns), [label(each, 10) for each in tokens], fontsize=9, parse_math=False)
    axes.set_xlabel("token that was read")
    top = axes.secondary_xaxis("top")
    top.set_xticks(
        range(columns), [label(each, 10) if each else "?" for each in following], fontsize=9, parse_math=False
    )
    top.set_xlabel("token that the text goes on with")
    every = max(1, -(-rows // 40))
    names = ["embedding", *(str(i) for i in range(1, rows - 1)), f"{rows - 1}: output"]
    places = sorted({*range(0, rows, every), rows - 1})
    axes.set_yticks(places, [names[i] for i in places], fontsize=8)
    axes.set_ylabel("after layer")
    axes.set_xticks(np.arange(columns - 1) + 0.5, minor=True)
    axes.grid(which="minor", axis="x", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    top.tick_params(length=0)
    axes.spines[:].set_visible(False)
    drawn.colorbar(image, ax=axes, label="probability of the token shown", pad=0.01, aspect=40)
    return drawn


# ---- probabilities -----------------------------------------------------------------------------------------


def coloured_text(
    pieces: Sequence[str], probabilities: Sequence[float | None], notes: Sequence[str], title: str
) -> Figure:
    """The text with every token coloured by its probability, which stands below it; None: it was given.

    notes: lines under the text.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.patches import Rectangle

    drawn = figure(11, 4)
    drawn.set_layout_engine("none")  # everything has its place
    page = drawn.add_axes((0, 0, 1, 1))
    page.set_axis_off()
    renderer = FigureCanvasAgg(drawn).get_renderer()
    width, edge, line = 11 * 72 - 36, 36.0, 34.0  # all in points
    boxes = []
    x, y, fresh = edge, 0.0, True
    for piece, probability in zip(pieces, probabilities, strict=True):
        paper, ink = (FUTURE, "black") if probability is None else colours(probability)
        name = label(piece, 40)
        text = page.text(0, 0, name, fontsize=12, color=ink, va="center", ha="center", parse_math=False)
        number = "" if probability is None else share(probability)
        below = page.text(0, 0, number, fontsize=6.5, color="#444444", ha="center", va="top")
        wide = max(part.get_window_extent(renderer).width * 72 / drawn.dpi for part in (text, below)) + 5
        gap = 1.0 if fresh or not visible(piece).startswith(" ") else 5.0  # a word begins
        if x + gap + wide > width and not fresh:
            x, y, gap = edge, y + line, 1.0
        boxes.append((text, below, x + gap, y, wide, paper))
        x, fresh = x + gap + wide, False
        if "\n" in piece:
            x, y, fresh = edge, y + line, True
    body = y if fresh else y + line
    height = 78 + body + 17 * len(notes) + (14 if notes else 0)
    drawn.set_size_inches(11, height / 72)
    page.set(xlim=(0, 11 * 72), ylim=(height, 0))
    for text, below, left, row, wide, paper in boxes:
        up = row + 74
        page.add_patch(Rectangle((left, up - 9), wide, 18, facecolor=paper, edgecolor="white", linewidth=0.8))
        text.set_position((left + wide / 2, up))
        below.set_position((left + wide / 2, up + 10))
    for i, note in enumerate(notes):
        weight = "normal" if i else "bold"
        page.text(edge, 78 + body + 17 * i, note, fontsize=9.5, fontweight=weight, va="top", parse_math=False)
    page.text(edge, 18, title, fontsize=13, fontweight="bold", va="top", parse_math=False)
    _scale(drawn, height)
    return drawn


def _scale(drawn: Figure, height: float) -> None:
    """The colours of the probabilities, at the top."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    place = drawn.add_axes((36 / 792, 1 - 48 / height, 240 / 792, 8 / height))
    bar = drawn.colorbar(ScalarMappable(LogNorm(LEAST, 1), MAP), cax=place, orientation="horizontal")
    ticks = [0.001, 0.01, 0.1, 1.0]
    bar.set_ticks(ticks, labels=["≤" + share(ticks[0]), *map(share, ticks[1:])], fontsize=7.5)
    bar.ax.minorticks_off()
    bar.ax.tick_params(length=0, pad=2)


# ---- cache -------------------------------------------------------------------------------------------------


def cache_times(lengths: Sequence[int], cached: Sequence[float], uncached: Sequence[float], title: str) -> Figure:
    """Milliseconds of a new token over the length of the text, with and without the cache."""
    drawn = figure(8.5, 4.8)
    drawn.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
    axes = drawn.subplots()
    for seconds, color, mark, name in (
        (uncached, ORANGE, "s", "without: the whole text is computed again"),
        (cached, BLUE, "o", "with cache: the new token only"),
    ):
        axes.plot(lengths, [1000 * each for each in seconds], color=color, marker=mark, markersize=5, label=name)
    axes.set(xlabel="tokens of the text, with the new one", ylabel="milliseconds for a new token")
    axes.set_ylim(0, 1000 * max([*cached, *uncached]) * 1.08)
    axes.locator_params(axis="x", integer=True)
    axes.annotate(
        f"{uncached[-1] / cached[-1]:.1f} times as fast",
        (lengths[-1], 1000 * cached[-1]),
        xytext=(-4, 10),
        textcoords="offset points",
        ha="right",
        color=BLUE,
    )
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    return drawn
