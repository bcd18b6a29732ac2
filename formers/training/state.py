"""What a checkpoint remembers: numbers (`State`, in training.json) and tensors (in training.safetensors)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from formers.errors import CheckpointError
from formers.training import checkpoint
from formers.training.optimizer import Average, optimizer_tensors, restore_optimizer, trainable


@dataclass
class State:
    """The training.json of a checkpoint: after how many steps, where in the data, what was best."""

    step: int = 0
    epoch: int = 0
    index: int = 0
    """The next batch is number `index` of the plan of `epoch`."""
    seconds: float = 0.0
    """Spent in steps, over all starts."""
    best: dict[str, Any] | None = None
    """{"step", "monitor", "value"} of the best evaluation."""
    stale: int = 0
    """Evaluations since then."""
    precision: dict[str, Any] = field(default_factory=dict)
    frozen: float = 0.0
    """Fingerprint of the weights that do not learn: they are not saved and have to be the same again."""


def tensors_of(model: nn.Module, optimizer: torch.optim.Optimizer, average: Average | None) -> dict[str, Tensor]:
    """Everything that learning changed: weights, buffers, the optimizer's memory, the average."""
    weights = {f"weight.{name}": weight for name, weight in trainable(model).items()}
    buffers = {f"buffer.{name}": buffer for name, buffer in _buffers(model).items()}
    means = {f"average.{name}": mean for name, mean in average.means.items()} if average else {}
    return weights | buffers | means | optimizer_tensors(optimizer, model)


@torch.no_grad()
def restore(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: Average | None) -> State:
    """Put the tensors of a checkpoint back in place; gives its numbers."""
    tensors, facts = checkpoint.read(folder)
    try:
        state = State(**facts)
    except TypeError as error:
        raise CheckpointError(f"{folder}/{checkpoint.FACTS} is not of this version of formers: {error}") from error
    if not math.isclose(state.frozen, fingerprint(model), rel_tol=1e-6):
        raise CheckpointError(f"the weights that do not learn differ from those that {folder} was trained with")
    places: dict[str, Tensor] = {f"weight.{name}": weight for name, weight in trainable(model).items()}
    places |= {f"buffer.{name}": buffer for name, buffer in _buffers(model).items()}
    saved = {name: value for name, value in tensors.items() if name.startswith(("weight.", "buffer."))}
    _compare(places, saved, folder)
    for name, place in places.items():
        place.copy_(saved[name])
    for name, mean in (average.means if average else {}).items():
        mean.copy_(tensors.get(f"average.{name}", tensors[f"weight.{name}"]))
    restore_optimizer(optimizer, model, tensors)
    return state


def improves(value: float, best: float | None, *, lower_is_better: bool) -> bool:
    """Whether `value` of a score beats `best`; NaN never does."""
    if math.isnan(value):
        return False
    if best is None:
        return True
    return value < best if lower_is_better else value > best


@torch.no_grad()
def fingerprint(model: nn.Module) -> float:
    """A number that changes when a weight that does not learn changes."""
    frozen = [weight for weight in model.parameters() if not weight.requires_grad]
    return float(sum(torch.linalg.vector_norm(weight, dtype=torch.float32).item() for weight in frozen))


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that belong to the model's state, a shared one once."""
    kept = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name in kept}


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
