"""Evaluation mode for as long as something is read: what every reader and writer does with a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode; afterwards as before, also after an error."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
