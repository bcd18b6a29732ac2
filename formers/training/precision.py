"""fp32 or bf16: which of the two is faster here is measured on the task's own first batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypedDict

import torch
from torch import nn

from formers.fields import Between
from formers.training.seeding import preserved
from formers.training.task import Task

WORTH = 0.1  # bf16 has to be this share faster: it costs accuracy, and a measurement is not exact
BUDGET = 1.0  # seconds to spend on repetitions of one measurement
LONG = 5.0  # a first batch of so many seconds is its own measurement; a shorter one only warms up


class PrecisionFacts(TypedDict):
    """A `Precision`, as it is kept."""

    name: Literal["fp32", "bf16"]
    decided: str
    device: str
    seconds: dict[str, Annotated[float, Between(above=0)]]


@dataclass(frozen=True)
class Precision:
    """What was decided, by whom ("recipe" or "probe"), the seconds per batch, forward and backward."""

    name: str
    decided: str
    device: str
    seconds: dict[str, float]

    @property
    def gain(self) -> float | None:
        """How much faster bf16 was, as a share; None where only one was measured."""
        seconds = self.seconds
        return seconds["fp32"] / seconds["bf16"] - 1 if {"fp32", "bf16"} <= seconds.keys() else None

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of the forward pass."""
        return autocast(self.name, self.device)


def autocast(name: str, device: str) -> AbstractContextManager[Any]:
    """The forward pass in `name` on a kind of device."""
    return torch.autocast(device, dtype=torch.bfloat16) if name == "bf16" else nullcontext()


def decide(wanted: str, task: Task, collate: Callable[[], Any], device: torch.device) -> Precision:
    """Measure a batch in the wanted precision, or for "auto" in both, and take bf16 if that is `WORTH` it."""
    names = ("fp32", "bf16") if wanted == "auto" else (wanted,)
    seconds = {}
    with undisturbed(task.model):
        batch = collate()
        for name in names:
            seconds[name] = _measure(task, batch, name, device)
    if wanted != "auto":
        return Precision(wanted, "recipe", device.type, seconds)
    probed = Precision("fp32", "probe", device.type, seconds)
    assert probed.gain is not None
    return replace(probed, name="bf16") if probed.gain >= WORTH else probed


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Gradients, buffers (batch-norm statistics) and random states are put back afterwards."""
    gradients = [(weight, weight.grad) for weight in model.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    for weight, _ in gradients:
        weight.grad = None
    try:
        with preserved():
            yield
    finally:
        for weight, gradient in gradients:
            weight.grad = gradient
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def _measure(task: Task, batch: Any, name: str, device: torch.device) -> float:
    first = _once(task, batch, name, device)
    if first > LONG:
        return first
    best, spent = float("inf"), 0.0
    for _ in range(5):
        seconds = _once(task, batch, name, device)
        best, spent = min(best, seconds), spent + seconds
        if spent > BUDGET:
            break
    return best


def _once(task: Task, batch: Any, name: str, device: torch.device) -> float:
    task.model.zero_grad(set_to_none=True)
    start = time.perf_counter()
    with autocast(name, device.type):
        loss = task.loss(batch)
    loss.total.backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
