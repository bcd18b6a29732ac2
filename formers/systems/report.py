"""What the reports before the first step say alike, whatever the system."""

from __future__ import annotations

from typing import Any

from torch import nn


def parameters_of(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def memory_line(model: nn.Module, train: Any, tokens: int, batches: int) -> str:
    """The memory that training takes, at `tokens` a batch, and the steps of an epoch; train: the recipe's section."""
    copies = 4 + bool(train.average)  # weights, gradients, two moments, the average
    return (
        f"memory: {copies * 4 * parameters_of(model) / 2**20:,.0f} MB for weights and optimizer, and the "
        f"activations of {tokens:,} tokens; one epoch: {batches / train.accumulate:,.0f} steps of "
        f"{train.accumulate} batch(es)"
    )
