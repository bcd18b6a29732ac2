"""Normalisations, by name."""

from __future__ import annotations

from torch import nn

NORMS = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}


def make_norm(name: str, dim: int, eps: float) -> nn.Module:
    """`layer` (Ba et al. 2016: weight and bias) or `rms` (Zhang & Sennrich 2019: weight only)."""
    return NORMS[name](dim, eps=eps)
