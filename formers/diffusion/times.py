"""Which times of the noise a network learns at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from formers.errors import ConfigError
from formers.fields import check


@dataclass(frozen=True, kw_only=True)
class Times:
    """Which times a painter learns at: how much noise its pictures are hidden in."""

    times: Literal["uniform", "logit-normal"] = "uniform"
    """How they are drawn: all alike, or those in the middle more often, where what a picture holds is decided (Esser et
    al. 2024)."""
    times_shift: float = 0.0
    """Of logit-normal ones, the mean of their logits: above 0 there is more noise."""

    def __post_init__(self) -> None:
        check(self, "task")
        if self.times_shift and self.times != "logit-normal":
            raise ConfigError("task.times_shift is for task.times logit-normal")

    def draw(self, own: torch.Generator, count: int) -> Tensor:
        """(1,), from 0 to count - 1."""
        if self.times == "uniform":
            return torch.randint(count, (1,), generator=own)
        drawn = (torch.randn(1, generator=own) + self.times_shift).sigmoid() * count
        return drawn.long().clamp(max=count - 1)


ALL_ALIKE = Times()
