"""One vector out of a sequence of vectors."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from formers.blocks.attention import Attention
from formers.blocks.feed_forward import FeedForward

Pooling = Literal["first", "mean", "max", "last"]


def pool(
    x: Float[Tensor, "batch length dim"],
    keep: Bool[Tensor, "batch length"] | None = None,
    how: Pooling = "mean",
    *,
    at: Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, "batch dim"]:
    """The first or the last real token, or the mean or the maximum of all real tokens; keep: True is one.

    at: the vector of this position of each row instead, whatever `how` and `keep` say (`first_of`, for CLIP).
    A row without a real token gives zeros for the mean. Source: Reimers and Gurevych 2019 (SBERT), section 3.
    """
    if at is None and how == "first":
        if keep is None:
            return x[:, 0]
        at = keep.int().argmax(1)
    if at is None and how == "last":
        if keep is None:
            return x[:, -1]
        at = keep.shape[1] - 1 - keep.flip(1).int().argmax(1)
    if at is not None:
        return x[torch.arange(x.shape[0], device=x.device), at]
    if how == "max":
        return (x if keep is None else x.masked_fill(~keep[..., None], torch.finfo(x.dtype).min)).amax(1)
    if keep is None:
        return x.mean(1)
    weight = keep[:, None].to(x.dtype)
    return (weight @ x).squeeze(1) / weight.sum(-1).clamp(min=1)


def first_of(tokens: Int[Tensor, "batch length"], token: int) -> Int[Tensor, " batch"]:
    """Where a token stands first in each row, such as the end of a text. Raises ValueError for a row without it."""
    same = tokens == token
    if not bool(same.any(1).all()):
        raise ValueError(f"row {int(same.any(1).int().argmin())} has no token {token}")
    return same.int().argmax(1)


class AttentionPool(nn.Module):
    """What a learned query finds in a sequence, and a residual feed-forward (Zhai et al. 2022, SigLIP's pictures)."""

    def __init__(self, attention: Attention, norm: nn.Module, feed_forward: FeedForward) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.empty(attention.q.in_features))
        nn.init.trunc_normal_(self.probe, std=0.02)
        self.attention, self.norm, self.feed_forward = attention, norm, feed_forward

    def forward(self, x: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch dim"]:
        y = self.attention(self.probe.expand(x.shape[0], 1, -1), x)[:, 0]
        return y + self.feed_forward(self.norm(y))
