"""A model over many encodings: what it says of every piece, batched by length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from formers.text.reader import Reader, Row

if TYPE_CHECKING:
    from formers.text.reader import Encoding


@torch.no_grad()
def of_pieces(
    model: nn.Module, reader: Reader, encodings: Sequence[Encoding | Row], *, tokens: int = 4096
) -> list[NDArray[np.float32]]:
    """The logits of each encoding, (its length, labels), in order; tokens: most in a batch, padding included."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    found: list[NDArray[np.float32]] = [np.empty((0, 0), np.float32)] * len(encodings)
    order = sorted(range(len(encodings)), key=lambda row: -len(encodings[row].ids))
    begin = 0
    while begin < len(order):
        longest = len(encodings[order[begin]].ids)
        chosen = order[begin : begin + max(1, tokens // max(1, longest))]
        inputs = reader.batch([encodings[row] for row in chosen]).to(device)
        logits = model(inputs.tokens, segments=inputs.segments, keep=inputs.keep).float().cpu().numpy()
        for row, each in zip(chosen, logits, strict=True):
            found[row] = each[: len(encodings[row].ids)]
        begin += len(chosen)
    model.train(was_training)
    return found
