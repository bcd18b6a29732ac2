"""What the trainer asks for: a `Task` (model, loss, evaluation, saving) and its `Batches` (the data)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

Rows = Sequence[int] | NDArray[np.int64]  # row numbers


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss as a SUM over its targets, and their number: so batches and machines add up to the true mean.

    `parts` are further sums over the same targets, reported as means; `parts["tokens"]`, or "pictures", is what speed
    is counted in. The same task must give the same names for every batch.
    """

    total: Tensor
    count: int | float | Tensor
    parts: Mapping[str, float | Tensor] = field(default_factory=dict)


class Metric(Protocol):
    """One score. `value` is in `unit` ("" for a bare number)."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def lower_is_better(self) -> bool: ...
    @property
    def unit(self) -> str: ...


class Evaluation(Protocol):
    """What an evaluation gives; all that the trainer sees of a report."""

    @property
    def scores(self) -> Sequence[Metric]: ...


class Task(Protocol):
    """Something that can be learned. The trainer sees nothing else of a system."""

    @property
    def model(self) -> nn.Module: ...

    def loss(self, batch: Any) -> Loss:
        """The summed loss of one batch, with gradients; moves the batch to the model's device itself."""

    def evaluate(self) -> Evaluation:
        """Scores on the task's validation data.

        Called without gradients, with `model` in eval mode and its averaged weights, if there are any.
        """

    def sample(self) -> Sequence[tuple[str, str | bytes]]:
        """(input, output) pairs to look at; bytes are a whole PNG or WAV file. Called as `evaluate` is."""

    def save(self, folder: Path) -> None:
        """Write config.json, model.safetensors (the weights of now), tokenizer.json into `folder`."""

    def set_recompute(self) -> None:
        """Recompute activations in the backward pass. Called before training if `config.recompute`."""


class Batches(Protocol):
    """The training data: a plan that is a pure function of (seed, epoch), and batches made of row numbers.

    A thread of its own asks for both while the model learns, is evaluated or saved.
    """

    def epoch(self, epoch: int) -> Sequence[Rows]:
        """The row numbers of every batch of this epoch (0, 1, ...), the same whenever and wherever asked."""

    def collate(self, rows: Rows) -> Any:
        """The batch of these rows: pure, the same whenever and wherever asked.

        What is random in it is drawn from a generator seeded by (seed, epoch, row), never from a global one; a row
        number that is used in several epochs carries its epoch.
        """

    def describe(self, rows: Rows) -> str:
        """These rows in words, for error messages."""
