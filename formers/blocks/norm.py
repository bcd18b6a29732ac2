"""Normalisations, by name, and a learned factor per channel."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from formers.blocks.dropout import DropPath

NORMS = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}


def make_norm(name: str, dim: int, eps: float) -> nn.Module:
    """`layer` (Ba et al. 2016: weight and bias) or `rms` (Zhang & Sennrich 2019: weight only)."""
    return NORMS[name](dim, eps=eps)


class Scale(nn.Module):
    """x times a learned vector, which starts at `value` (LayerScale, Touvron et al. 2021); then stochastic depth."""

    def __init__(self, dim: int, value: float = 1e-5, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((dim,), value))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return self.drop_path(x * self.weight)
