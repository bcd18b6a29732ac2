"""The learning curve: losses, scores and learning rate of a run over its steps, each unit on an axis of its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from formers.errors import DataError
from formers.pictures.figure import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Entry = Mapping[str, Any]
OF_THE_LOSS = ("loss", "perplexity", "row_perplexity")  # perplexity is the loss once more
COLOURS, MARKS = (GREEN, PURPLE, SKY, RED, BLUE), "os^DvPX"  # unequally many: 35 pairs before one comes again


class Panel(NamedTuple):
    """Scores that share an axis; `scale` times their values are drawn."""

    label: str
    scores: list[str]
    scale: float = 1.0


def draw_curve(events: Iterable[Entry], title: str) -> Figure:
    """The events of a run as `Run.read_events` gives them: loss, scores and learning rate over the steps."""
    record = list(events)
    steps = [event for event in record if event["event"] == "stepped"]
    evaluations = [event for event in record if event["event"] == "evaluated" and event.get("metrics")]
    if not steps and not evaluations:
        raise DataError(f"{title}: nothing was recorded yet, so there is no curve to draw")
    panels = panels_of(evaluations)
    heights = [3.2, *(1.3 + 0.2 * len(panel.scores) for panel in panels), 1.1]
    figure = new_figure(10, 1.2 + sum(heights), title)
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    draw_losses(axes[0], steps, evaluations)
    for place, panel in zip(axes[1:], panels, strict=False):
        for name, colour, mark in zip(panel.scores, itertools.cycle(COLOURS), itertools.cycle(MARKS), strict=False):
            points = series(evaluations, name, panel.scale)
            place.plot(*columns(points), color=colour, marker=mark, markersize=4, label=name.replace("_", " "))
        place.set(ylabel=panel.label)
    draw_star(axes, panels, evaluations)
    rates = [(event["step"], event["rate"]) for event in steps if event.get("rate") is not None]
    axes[-1].plot(*columns(rates), color="#555555", marker=dot(rates))
    axes[-1].set(ylabel="rate", xlabel="step")
    axes[-1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    for place in axes:
        place.grid(alpha=0.3)
        place.spines[["top", "right"]].set_visible(False)
        if place.get_legend_handles_labels()[0]:
            # beside the curves, which fill their panel
            place.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.05), fontsize=9)
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    figure.align_ylabels(axes)
    return figure


def panels_of(evaluations: Sequence[Entry]) -> list[Panel]:
    """A panel for every unit. Bare numbers share one where all lie between -1 and 1, as correlations do."""
    units = units_of(evaluations)
    panels: dict[str, Panel] = {}
    for name in dict.fromkeys(name for event in evaluations for name in event["metrics"] if name not in OF_THE_LOSS):
        unit, words = units.get(name, ""), name.replace("_", " ")
        small = all(abs(value) <= 1 for _, value in series(evaluations, name))
        panel = Panel("score", []) if small else Panel(words, [])
        panel = Panel("%", [], 100.0) if unit == "share" else Panel(unit, []) if unit else panel
        panels.setdefault(panel.label, panel).scores.append(name)
    return list(panels.values())


def units_of(evaluations: Sequence[Entry]) -> dict[str, str]:
    """The units of the scores, which runs of 0.1 did not record."""
    return {name: unit for event in evaluations for name, unit in event.get("units", {}).items()}


def draw_losses(axes: Axes, steps: Sequence[Entry], evaluations: Sequence[Entry]) -> None:
    """parts["floor"] of a step: the loss of guessing, ln n of one among n, as in contrastive training."""
    losses = [(event["step"], event["loss"]) for event in steps if event.get("loss") is not None]
    if losses:
        axes.plot(*columns(losses), color=BLUE, linewidth=1.3, label="training", marker=dot(losses))
    if judged := series(evaluations, "loss"):
        axes.plot(*columns(judged), color=RED, marker="o", markersize=4, label="validation")
    if floors := [(event["step"], value) for event in steps if (value := event.get("parts", {}).get("floor"))]:
        last = floors[-1][1]
        name = f"guessing: ln {math.exp(last):.0f} = {last:.2f}"
        axes.plot(*columns(floors), color="#777777", linestyle="--", linewidth=1.2, label=name)
    unit = units_of(evaluations).get("loss", "")
    axes.set(ylabel=f"loss ({unit})" if unit else "loss")


def draw_star(axes: Sequence[Axes], panels: Sequence[Panel], evaluations: Sequence[Entry]) -> None:
    """Marks the best value of the monitored score on its curve (of perplexity: on that of the loss)."""
    for event in [event for event in evaluations if event.get("best") and event.get("monitor")][-1:]:
        monitor, scores = event["monitor"], event["metrics"]
        places = zip(axes[1:], panels, strict=False)
        place, panel = next(
            ((at, one) for at, one in places if monitor in one.scores), (axes[0], Panel("loss", ["loss"]))
        )
        value, on = scores.get(monitor), scores.get(monitor if monitor in panel.scores else "loss")
        if value is None or on is None:
            continue
        unit = "%" if panel.label == "%" else ""
        name = f"best {monitor.replace('_', ' ')}: {value * panel.scale:.3g}{unit} at step {event['step']:,}"
        star: dict[str, Any] = {"marker": "*", "markersize": 14, "markeredgecolor": "black", "markeredgewidth": 0.6}
        place.plot(event["step"], on * panel.scale, color=ORANGE, linestyle="none", label=name, **star)


def series(evaluations: Sequence[Entry], name: str, scale: float = 1.0) -> list[tuple[int, float]]:
    """(step, value) of a score, where it has one."""
    values = ((event["step"], event["metrics"].get(name)) for event in evaluations)
    return [(step, value * scale) for step, value in values if value is not None]


def columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [step for step, _ in points], [value for _, value in points]


def dot(points: Sequence[Any]) -> str | None:
    """A line of one or two points would hardly be seen."""
    return "." if len(points) < 3 else None
