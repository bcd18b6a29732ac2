"""Pictures of attention, positions and learning; matplotlib is imported when the first one is drawn.

Every function takes plain numbers and gives a Figure; `save` writes it. Colours are those of viridis,
PuOr, and Okabe and Ito (2008), which all kinds of sight tell apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from formers.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

MAP = "viridis"
BLUE, ORANGE, GREEN, RED, SKY, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
LONGEST_LABEL = 14
LARGE = 150_000  # bytes of a picture that is worth making smaller
# Tried in this order; DejaVu comes with matplotlib and has no Chinese, Japanese, Korean or Indic letters.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Sans Arabic",
    "Arial Unicode MS",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
)


def figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches; no window, no global state (the backend is Agg)."""
    from matplotlib import font_manager, rcParams
    from matplotlib.figure import Figure

    installed = {font.name for font in font_manager.fontManager.ttflist}
    rcParams["font.family"] = [name for name in FONTS if name in installed]
    return Figure(figsize=(width, height), layout="constrained")


def save(drawn: Figure, path: str | Path) -> Path:
    """Write a PNG (or what the ending says) and give its path; the folder is made."""
    from PIL import Image

    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")  # no font has it: drawn as a box
            drawn.savefig(path, dpi=100)
        if path.suffix.lower() == ".png" and path.stat().st_size > LARGE:
            small = (
                Image.open(path)
                .convert("RGB")
                .quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
            )  # 256 colours are a third of the bytes; this method keeps rare ones
            small.save(path, optimize=True)
    except (OSError, ValueError) as error:  # ValueError: an ending that matplotlib cannot write
        raise DataError(f"cannot write the picture {path}: {error}") from error
    return path


# ---- attention ---------------------------------------------------------------------------------------------


def attention(
    source: Sequence[str], target: Sequence[str], encoder: NDArray[np.float32], cross: NDArray[np.float32], title: str
) -> Figure:
    """What the source looks at in itself and what the target looks at in the source.

    encoder: (heads, source, source), cross: (heads, target, source). Large: the mean; small: each head.
    """
    heads = len(encoder)
    columns = min(heads, 4 if heads <= 8 else 8)
    rows = -(-heads // columns) if heads > 1 else 0
    side = min(9.0, max(4.6, 0.24 * max(len(source), len(target))))
    drawn = figure(2 * side + 1.2, side + rows * side * 0.3 + 0.8)
    drawn.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
    parts: Any = drawn.subfigures(1, 2, wspace=0.03)
    for part, maps, labels, name in (
        (parts[0], encoder, source, "encoder: source looks at source"),
        (parts[1], cross, target, "decoder: translation looks at source"),
    ):
        _heads(part, maps, labels, source, name, rows, columns, side)
    return drawn


def _heads(
    part: SubFigure,
    maps: NDArray[np.float32],
    queries: Sequence[str],
    keys: Sequence[str],
    name: str,
    rows: int,
    columns: int,
    side: float,
) -> None:
    """One large map, the mean over the heads, and below it a small one for each head."""
    large, small = part, None
    if rows:
        halves: Any = part.subfigures(2, 1, height_ratios=[side, rows * side * 0.3])
        large, small = halves
    axes = large.subplots()
    image = axes.imshow(maps.mean(0), cmap=MAP, vmin=0, aspect="auto", interpolation="nearest")
    axes.set_title(name if len(maps) == 1 else f"{name} (mean of {len(maps)} heads)", fontsize=11)
    axes.set_xlabel("looked at (key)")
    axes.set_ylabel("looking (query)")
    token_labels(axes, queries, keys, side)
    large.colorbar(image, ax=axes, label="attention weight", pad=0.02, aspect=40)
    if small is not None:
        for number, place in enumerate(small.subplots(rows, columns, squeeze=False).flat):
            place.set_axis_off()
            if number < len(maps):
                place.imshow(maps[number], cmap=MAP, vmin=0, aspect="auto", interpolation="nearest")
                place.set_title(f"head {number + 1}", fontsize=9, pad=2)


def token_labels(axes: Axes, queries: Sequence[str], keys: Sequence[str], side: float) -> None:
    """Token labels that do not overlap: smaller where there are many, not all where there are too many."""
    for axis, names in ((axes.xaxis, keys), (axes.yaxis, queries)):
        room = side * 72 * 0.75 / len(names)  # points for each label
        every = max(1, int(np.ceil(6.5 / room)))
        places = range(0, len(names), every)
        axis.set_ticks(
            places,
            [label(names[i]) for i in places],
            fontsize=min(10.0, max(5.5, 0.85 * room * every)),
            parse_math=False,
        )
    axes.tick_params(axis="x", rotation=90, length=2)
    axes.tick_params(axis="y", length=2)


def visible(piece: str) -> str:
    """A piece as it can be printed: a word's mark as the space that it is, line breaks and controls as signs."""
    text = piece.replace("▁", " ").replace("\n", "↵").replace("\t", "⇥")
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


def label(piece: str, longest: int = LONGEST_LABEL) -> str:
    """A piece without the space before it, cut when long."""
    text = visible(piece).strip() or "␣"
    return text if len(text) <= longest else text[: longest - 1] + "…"


# ---- positions ---------------------------------------------------------------------------------------------


def positions(tables: NDArray[np.float32] | Mapping[str, NDArray[np.float32]], title: str) -> Figure:
    """The vectors (positions, dim) themselves, and how similar (cosine) those of two positions are.

    tables: one, or one for each kind of layer, by name.
    """
    kinds = tables if isinstance(tables, Mapping) else {"": tables}
    drawn = figure(11, 0.6 + 4.2 * len(kinds))
    drawn.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
    panels = drawn.subplots(len(kinds), 2, squeeze=False)
    for (left, right), (name, table) in zip(panels, kinds.items(), strict=True):
        more = f"\n{name}" if name else ""
        most = float(np.abs(table).max()) or 1.0
        image = left.imshow(table, cmap="PuOr", vmin=-most, vmax=most, aspect="auto")
        left.set(title=f"position vectors{more}", xlabel="dimension", ylabel="position")
        drawn.colorbar(image, ax=left, label="value")
        unit = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)
        image = right.imshow(unit @ unit.T, cmap=MAP, aspect="auto", interpolation="nearest")
        right.set(title=f"similarity of two positions{more}", xlabel="position", ylabel="position")
        drawn.colorbar(image, ax=right, label="cosine")
    return drawn


def relative_positions(biases: Mapping[str, NDArray[np.float32]], title: str) -> Figure:
    """What is added to the scores at each distance: name -> (heads, distances), distance 0 in the middle."""
    drawn = figure(11, 1.6 + 2.4 * len(biases))
    drawn.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
    for axes, (name, bias) in zip(drawn.subplots(len(biases), 1, squeeze=False).flat, biases.items(), strict=True):
        heads, width = bias.shape
        most, reach = float(np.abs(bias).max()) or 1.0, width // 2
        image = axes.imshow(
            bias,
            cmap="PuOr",
            vmin=-most,
            vmax=most,
            aspect="auto",
            interpolation="nearest",
            extent=(-reach - 0.5, reach + 0.5, heads + 0.5, 0.5),
        )
        every = max(1, -(-heads // 8))
        axes.set_yticks(range(1, heads + 1, every))
        axes.set(title=name, xlabel="key position minus query position", ylabel="head")
        drawn.colorbar(image, ax=axes, label="bias")
    return drawn


# ---- learning ----------------------------------------------------------------------------------------------


def learning_curve(events: Iterable[Mapping[str, Any]], title: str) -> Figure:
    """The events of a run as `Run.read_events` gives them: loss, scores and learning rate over the steps."""
    kept = list(events)
    steps = [event for event in kept if event["event"] == "stepped"]
    evaluations = [event for event in kept if event["event"] == "evaluated"]
    if not steps and not evaluations:
        raise DataError(f"{title}: nothing was recorded yet, so there is no curve to draw")
    names = list(dict.fromkeys(name for event in evaluations for name in event["metrics"]))
    names = [name for name in names if name not in ("loss", "perplexity")]
    heights = [3.2, *([2.4] if names else []), 1.1]
    drawn = figure(8.5, 1.2 + sum(heights))
    drawn.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
    panels = drawn.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _losses(panels[0], steps, evaluations)
    for name, color, mark in zip(names, (GREEN, PURPLE, SKY, RED, ORANGE), "os^Dv", strict=False):
        points = [(event["step"], event["metrics"][name]) for event in evaluations if name in event["metrics"]]
        panels[1].plot(*zip(*points, strict=True), color=color, marker=mark, markersize=4, label=name.replace("_", " "))
        panels[1].set(ylabel="validation score")
    _star(panels, names, evaluations)
    panels[-1].plot(
        [e["step"] for e in steps], [e["rate"] for e in steps], color="#555555", marker="." if len(steps) < 3 else None
    )
    panels[-1].set(ylabel="rate", xlabel="step")
    panels[-1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    drawn.align_ylabels(panels)
    return drawn


def _losses(axes: Axes, steps: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]]) -> None:
    told = [event for event in steps if event["loss"] is not None]
    if told:
        axes.plot(
            [e["step"] for e in told],
            [e["loss"] for e in told],
            color=BLUE,
            linewidth=1.3,
            label="training",
            marker="." if len(told) < 3 else None,
        )
    seen = [e for e in evaluations if e["metrics"].get("loss") is not None]
    if seen:
        axes.plot(
            [e["step"] for e in seen],
            [e["metrics"]["loss"] for e in seen],
            color=RED,
            marker="o",
            markersize=4,
            label="validation",
        )
    axes.set(ylabel="loss per token")


def _star(panels: Sequence[Axes], names: Sequence[str], evaluations: Sequence[Mapping[str, Any]]) -> None:
    """Marks the best value of the monitored score on its curve (of perplexity: on that of the loss)."""
    for event in [e for e in evaluations if e["best"] and e.get("monitor")][-1:]:
        monitor, scores = event["monitor"], event["metrics"]
        panels[1 if monitor in names else 0].plot(
            event["step"],
            scores[monitor if monitor in names else "loss"],
            marker="*",
            markersize=14,
            color=ORANGE,
            markeredgecolor="black",
            markeredgewidth=0.6,
            linestyle="none",
            label=f"best {monitor.replace('_', ' ')}: {scores[monitor]:.3g} at step {event['step']:,}",
        )
