"""Dropout (Srivastava et al. 2014) that does not cost a tenth of a training step on a CPU, and stochastic depth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """Zero a random `share` of x and scale the rest up, while training.

    On a CPU one random byte decides one number, so `share` is rounded to a multiple of 1/256: PyTorch draws a whole
    random number for each, which is about five times slower.
    """
    if not training or share == 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, share, training)
    threshold = min(255, round(share * 256))
    words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    kept = (words.view(torch.uint8)[: x.numel()] >= threshold).view(x.shape)
    return x * (kept * (256 / (256 - threshold))).to(x.dtype)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training, a random `share` of rows is zero and the rest scaled up."""

    def __init__(self, share: float) -> None:
        """Raises ValueError unless share is in [0, 1)."""
        super().__init__()
        if not 0 <= share < 1:
            raise ValueError(f"share ({share}) must be in [0, 1)")
        self.share = share

    def forward(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        if not self.training or self.share == 0.0:
            return x
        kept = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.share
        return x * kept.to(x.dtype) / (1 - self.share)


def rising(share: float, layers: int) -> list[float]:
    """The share of each layer: from 0 in the first evenly to `share` in the last (Huang et al. 2016)."""
    return [share * layer / max(1, layers - 1) for layer in range(layers)]
