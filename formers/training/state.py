"""What a checkpoint remembers: numbers (`State`, in training.json) and tensors (in training.safetensors)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

import torch
from torch import Tensor, nn

from formers.errors import CheckpointError
from formers.fields import Between
from formers.training import checkpoint
from formers.training.optimizer import Average, Optimizer, buffers, optimizer_tensors, restore_optimizer, trainable
from formers.training.precision import PrecisionFacts


@dataclass
class State:
    """The training.json of a checkpoint: after how many steps, where in the data, what was best."""

    step: int = 0
    epoch: int = 0
    index: int = 0
    """The next batch is number `index` of the plan of `epoch`."""
    seconds: float = 0.0
    """Spent in steps, over all starts."""
    best: checkpoint.Best | None = None
    """{"step", "monitor", "value"} of the best evaluation."""
    stale: int = 0
    """Evaluations since then."""
    precision: dict[str, Any] = field(default_factory=dict)
    frozen: float = 0.0
    """Fingerprint of the weights that do not learn: they are not saved and have to be the same again."""
    tally: dict[str, Any] = field(default_factory=dict)
    """Of the steps since the last report, which the next one covers: see `Tally`."""


class Sums(TypedDict):
    """A `Tally` without its last update, as it is kept."""

    total: float
    count: float
    parts: dict[str, float | None]
    seconds: float
    steps: Annotated[int, Between(0)]


class AfterSteps(TypedDict):
    """What every training.json has."""

    step: Annotated[int, Between(0)]


class Facts(AfterSteps, total=False):
    """The shape of training.json: a `State`."""

    epoch: Annotated[int, Between(0)]
    index: Annotated[int, Between(0)]
    seconds: float
    best: checkpoint.Best | None
    stale: Annotated[int, Between(0)]
    precision: PrecisionFacts
    frozen: float
    tally: Sums


def tensors_of(model: nn.Module, optimizer: Optimizer, average: Average | None) -> dict[str, Tensor]:
    """Everything that learning changed: weights, buffers, the optimizer's memory, the average."""
    weights = {f"weight.{name}": weight for name, weight in trainable(model).items()}
    statistics = {f"buffer.{name}": buffer for name, buffer in buffers(model).items()}
    means = {f"average.{name}": mean for name, mean in average.means.items()} if average else {}
    return weights | statistics | means | optimizer_tensors(optimizer, model)


@torch.no_grad()
def restore(folder: Path, model: nn.Module, optimizer: Optimizer, average: Average | None) -> State:
    """Put the tensors of a checkpoint back in place; gives its numbers."""
    tensors, facts = checkpoint.read(folder, Facts)
    try:
        state = State(**facts)
    except TypeError as error:
        raise CheckpointError(f"{folder}/{checkpoint.FACTS} is not of this version of formers: {error}") from error
    if not math.isclose(state.frozen, fingerprint(model), rel_tol=1e-6):
        raise CheckpointError(f"the weights that do not learn differ from those that {folder} was trained with")
    places: dict[str, Tensor] = {f"weight.{name}": weight for name, weight in trainable(model).items()}
    places |= {f"buffer.{name}": buffer for name, buffer in buffers(model).items()}
    saved = {name: value for name, value in tensors.items() if name.startswith(("weight.", "buffer."))}
    _compare(places, saved, folder)
    for name, place in places.items():
        place.copy_(saved[name])
    for name, mean in (average.means if average else {}).items():
        own = "weight" if f"weight.{name}" in tensors else "buffer"
        mean.copy_(tensors.get(f"average.{name}", tensors[f"{own}.{name}"]))
    restore_optimizer(optimizer, model, tensors)
    return state


def improves(value: float, best: float | None, *, lower_is_better: bool) -> bool:
    """Whether `value` of a score beats `best`; NaN and infinity never do."""
    if not math.isfinite(value):
        return False
    if best is None:
        return True
    return value < best if lower_is_better else value > best


@torch.no_grad()
def fingerprint(model: nn.Module) -> float:
    """A number that changes when a weight that does not learn changes."""
    frozen = [weight for weight in model.parameters() if not weight.requires_grad]
    return float(sum(torch.linalg.vector_norm(weight, dtype=torch.float32).item() for weight in frozen))


def _compare(places: Mapping[str, Tensor], saved: Mapping[str, Tensor], folder: Path) -> None:
    faults = [f"{name} is missing" for name in places.keys() - saved.keys()]
    faults += [f"{name} is unknown to this model" for name in saved.keys() - places.keys()]
    faults += [
        f"{name} is {tuple(saved[name].shape)} there, {tuple(places[name].shape)} here"
        for name in places.keys() & saved.keys()
        if saved[name].shape != places[name].shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        listed = ", ".join(name.replace("weight.", "", 1) for name in sorted(faults)[:3])
        raise CheckpointError(f"{folder} is a checkpoint of another model: {listed}{more}; train in another run folder")
