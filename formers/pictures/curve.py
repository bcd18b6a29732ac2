"""The learning curve: losses, scores and learning rate of a run over its steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from formers.errors import DataError
from formers.pictures.figure import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_curve(events: Iterable[Mapping[str, Any]], title: str) -> Figure:
    """The events of a run as `Run.read_events` gives them: loss, scores and learning rate over the steps."""
    record = list(events)
    steps = [event for event in record if event["event"] == "stepped"]
    evaluations = [event for event in record if event["event"] == "evaluated"]
    if not steps and not evaluations:
        raise DataError(f"{title}: nothing was recorded yet, so there is no curve to draw")
    names = list(dict.fromkeys(name for event in evaluations for name in event["metrics"]))
    names = [name for name in names if name not in ("loss", "perplexity")]
    heights = [3.2, *([2.4] if names else []), 1.1]
    figure = new_figure(8.5, 1.2 + sum(heights), title)
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    draw_losses(panels[0], steps, evaluations)
    for name, colour, mark in zip(names, (GREEN, PURPLE, SKY, RED, ORANGE), "os^Dv", strict=False):
        points = [(event["step"], event["metrics"][name]) for event in evaluations if name in event["metrics"]]
        panels[1].plot(*columns(points), color=colour, marker=mark, markersize=4, label=name.replace("_", " "))
        panels[1].set(ylabel="validation score")
    draw_star(panels, names, evaluations)
    rates = [(event["step"], event["rate"]) for event in steps]
    panels[-1].plot(*columns(rates), color="#555555", marker=dot(rates))
    panels[-1].set(ylabel="rate", xlabel="step")
    panels[-1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    figure.align_ylabels(panels)
    return figure


def draw_losses(axes: Axes, steps: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]]) -> None:
    losses = [(event["step"], event["loss"]) for event in steps if event["loss"] is not None]
    if losses:
        axes.plot(*columns(losses), color=BLUE, linewidth=1.3, label="training", marker=dot(losses))
    judged = [event for event in evaluations if event["metrics"].get("loss") is not None]
    if judged:
        points = [(event["step"], event["metrics"]["loss"]) for event in judged]
        axes.plot(*columns(points), color=RED, marker="o", markersize=4, label="validation")
    axes.set(ylabel="loss per token")


def draw_star(panels: Sequence[Axes], names: Sequence[str], evaluations: Sequence[Mapping[str, Any]]) -> None:
    """Marks the best value of the monitored score on its curve (of perplexity: on that of the loss)."""
    for event in [event for event in evaluations if event["best"] and event.get("monitor")][-1:]:
        monitor, scores = event["monitor"], event["metrics"]
        panel, value = (panels[1], scores[monitor]) if monitor in names else (panels[0], scores["loss"])
        name = f"best {monitor.replace('_', ' ')}: {scores[monitor]:.3g} at step {event['step']:,}"
        star: dict[str, Any] = {"marker": "*", "markersize": 14, "markeredgecolor": "black", "markeredgewidth": 0.6}
        panel.plot(event["step"], value, color=ORANGE, linestyle="none", label=name, **star)


def columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [step for step, _ in points], [value for _, value in points]


def dot(points: Sequence[Any]) -> str | None:
    """A line of one or two points would hardly be seen."""
    return "." if len(points) < 3 else None
