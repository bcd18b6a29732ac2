"""What a training run has to tell, as frozen dataclasses. Consumers print, plot, stream or ignore them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from formers.fields import Between


@dataclass(frozen=True, kw_only=True)
class Reported:
    """Before the first step: what is in the data, and how large the model is, line by line."""

    step: int
    lines: list[str]


@dataclass(frozen=True, kw_only=True)
class Started:
    """Training begins or goes on after `step`; `precision` was `decided` by the "recipe" or a "probe"."""

    step: int
    steps: int
    resumed: bool
    device: str
    processes: int
    parameters: int
    trainable: int
    precision: str
    decided: str
    batch_seconds: float | None
    """Measured seconds of one batch forward and backward, before compilation."""
    estimate_seconds: float | None
    """What all the remaining steps should take, evaluation and saving not counted."""
    gain: float | None = None
    """How much faster bf16 was in the probe, as a share: 0.5 is half as fast again, below 0 slower."""


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """Every `log_every` steps: means over the targets since the last report."""

    step: int
    epoch: int
    loss: float
    parts: dict[str, float] = field(default_factory=dict)
    norm: float
    """Global norm of the last step's mean gradient, before clipping."""
    rate: float
    tokens_per_second: float
    seconds: float
    """Seconds spent in the steps since the last report."""
    remaining_seconds: float
    unit: str = "tokens"
    """What `tokens_per_second` counts."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """Scores on the validation data; `best` if no earlier one of the score `monitor` was better."""

    step: int
    metrics: dict[str, float]
    best: bool
    monitor: str = ""
    units: dict[str, str] = field(default_factory=dict)
    """Of the scores: "share" is a number from 0 to 1, "" a bare number."""
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """(input, output) pairs; pictures and sounds are files, named relative to the run folder."""

    step: int
    samples: list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint is complete in `folder`."""

    step: int
    folder: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """Training ended before its last step: "signal" (can be continued) or "patience"."""

    step: int
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Finished:
    """Training is over. `already`: there was nothing left to do; `message` says what to change to go on."""

    step: int
    seconds: float
    """Seconds spent in steps, over all starts of this run."""
    folder: str | None
    """The best checkpoint, or the last where nothing was evaluated."""
    best_step: int | None
    best_value: float | None
    peak_memory: int
    """Most bytes that this process held; `peak_device_memory` of the GPU's."""
    peak_device_memory: int = 0
    already: bool = False
    message: str = ""


Event = Reported | Started | Stepped | Evaluated | Sampled | Saved | Stopped | Finished
KINDS: dict[str, type] = {kind.__name__.lower(): kind for kind in Event.__args__}


class AtStep(TypedDict):
    """What every line of events.jsonl has."""

    event: str
    step: Annotated[int, Between(0)]


class Recorded(AtStep, total=False):
    """The shape of a line of events.jsonl: what is read of it again."""

    loss: float | None
    rate: float | None
    parts: dict[str, float | None]
    metrics: dict[str, float | None]
    units: dict[str, str]
    best: bool
    monitor: str
    best_step: int | None
    seconds: float | None


def to_json(event: Event) -> dict[str, Any]:
    """The event as a JSON object, its kind under "event"; NaN and infinity, unknown to JSON, become null."""
    return {"event": type(event).__name__.lower(), **_plain(dataclasses.asdict(event))}


def from_json(line: dict[str, Any]) -> Event:
    """The event of an object that `to_json` made; keys that it does not have (as "time") are left out."""
    kind = KINDS[line["event"]]
    return kind(**{field.name: line[field.name] for field in dataclasses.fields(kind) if field.name in line})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
