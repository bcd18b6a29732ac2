"""Events of a training as lines for people."""

from __future__ import annotations

from formers.phrases import duration, short
from formers.training.events import Evaluated, Event, Reported, Sampled, Saved, Started, Stepped, Stopped


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
            f"{event.tokens_per_second:,.0f} {event.unit}/s  {duration(event.remaining_seconds)} left"
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
