"""How the events of a training look: a bar, plain lines, JSON lines. Each shows and passes them on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from formers.cli.output import console, duration, note, short
from formers.training.events import Evaluated, Event, Reported, Sampled, Saved, Started, Stepped, Stopped, to_json


def as_json(events: Iterator[Event]) -> Iterator[Event]:
    """Every event as a line of JSON."""
    for event in events:
        note(json.dumps(to_json(event), ensure_ascii=False))
        yield event


def plain(events: Iterator[Event]) -> Iterator[Event]:
    """Every event as a line."""
    steps = 0
    for event in events:
        if isinstance(event, Started):
            steps = event.steps
        for line in lines(event, steps):
            note(line)
        yield event


def live(events: Iterator[Event]) -> Iterator[Event]:
    """A bar that moves, and above it the lines that should stay: report, scores, samples."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    fields: dict[str, Any] = {"loss": "", "score": "", "speed": "", "left": ""}
    columns = [
        MofNCompleteColumn(),
        BarColumn(bar_width=None),
        *(TextColumn(f"{{task.fields[{name}]}}") for name in fields),
    ]
    with Progress(*columns, console=console(), expand=True) as progress:
        bar, steps = None, 0
        for event in events:
            if isinstance(event, Started):
                steps = event.steps
                bar = progress.add_task("training", total=steps, completed=event.step, **fields)
            if isinstance(event, Stepped) and bar is not None:
                progress.update(
                    bar,
                    completed=event.step,
                    loss=f"loss {event.loss:.3f}",
                    left=f"{duration(event.remaining_seconds)} left",
                    speed=f"{event.tokens_per_second:,.0f} tokens/s",
                )
            elif not isinstance(event, Saved):
                for line in lines(event, steps):
                    progress.console.print(line, markup=False, soft_wrap=True)
            if isinstance(event, Evaluated) and bar is not None and "loss" in event.metrics:
                progress.update(bar, score=f"validation {event.metrics['loss']:.3f}")
            yield event


def lines(event: Event, steps: int) -> list[str]:
    """An event for people; none where the end of the command says it all."""
    if isinstance(event, Reported):
        return event.lines
    if isinstance(event, Started):
        return [started(event)]
    at = f"step {event.step:>{len(str(steps))}}/{steps}"
    if isinstance(event, Stepped):
        parts = "".join(f"  {name} {value:.4f}" for name, value in event.parts.items())
        return [
            f"{at}  epoch {event.epoch}  loss {event.loss:.4f}{parts}  rate {event.rate:.2e}  "
            f"{event.tokens_per_second:,.0f} tokens/s  {duration(event.remaining_seconds)} left"
        ]
    if isinstance(event, Evaluated):
        scores = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in event.metrics.items())
        return [f"{at}  validation: {scores}{' (best)' if event.best else ''}"]
    if isinstance(event, Sampled):
        return [f"{at}  sample: {short(source)} -> {short(result)}" for source, result in event.samples]
    if isinstance(event, Saved):
        return [f"{at}  saved {event.folder}"]
    return [event.message] if isinstance(event, Stopped) and event.reason == "patience" else []


def started(event: Started) -> str:
    """On what the training runs, and how long it should take."""
    begin = f"going on after step {event.step:,} of" if event.resumed else "training"
    processes = f" x {event.processes}" if event.processes > 1 else ""
    time = "" if event.estimate_seconds is None else f", about {duration(event.estimate_seconds)} without evaluations"
    learned = (
        "" if event.trainable == event.parameters else f", {event.trainable:,} of {event.parameters:,} weights learn"
    )
    where = f"{event.device}{processes} in {event.precision} ({decision(event)})"
    return f"{begin} {event.steps:,} steps on {where}{learned}{time}"


def decision(event: Started) -> str:
    """Who decided on the precision; of a probe, by how much."""
    if event.gain is None or event.decided != "probe":
        return event.decided
    much = f"{abs(event.gain):.0%}"
    if event.precision == "bf16":
        return f"probe: {much} faster than fp32"
    return f"probe: bf16 is {much} faster, too little" if event.gain > 0 else f"probe: bf16 is {much} slower"
