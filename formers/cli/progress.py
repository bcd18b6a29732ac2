"""How the events of a training look: a bar, plain lines, JSON lines. Each shows and passes them on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from formers.cli.output import console, note
from formers.phrases import duration
from formers.training.events import Evaluated, Event, Saved, Started, Stepped, to_json
from formers.training.lines import lines


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
                    speed=f"{event.tokens_per_second:,.0f} {event.unit}/s",
                )
            elif not isinstance(event, Saved):
                for line in lines(event, steps):
                    progress.console.print(line, markup=False, soft_wrap=True)
            if isinstance(event, Evaluated) and bar is not None and "loss" in event.metrics:
                progress.update(bar, score=f"validation {event.metrics['loss']:.3f}")
            yield event
