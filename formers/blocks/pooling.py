"""One vector out of a sequence of vectors."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Pooling = Literal["first", "mean", "max"]


def pool(
    x: Float[Tensor, "batch length dim"], keep: Bool[Tensor, "batch length"] | None = None, how: Pooling = "mean"
) -> Float[Tensor, "batch dim"]:
    """The first real token, or the mean or the maximum of all real tokens; keep: True is one.

    A row without a real token gives zeros for the mean. Source: Reimers and Gurevych 2019 (SBERT), section 3.
    """
    if how == "first":
        if keep is None:
            return x[:, 0]
        return x[torch.arange(len(x), device=x.device), keep.int().argmax(1)]
    if how == "max":
        return (x if keep is None else x.masked_fill(~keep[..., None], torch.finfo(x.dtype).min)).amax(1)
    if keep is None:
        return x.mean(1)
    weight = keep[:, None].to(x.dtype)
    return (weight @ x).squeeze(1) / weight.sum(-1).clamp(min=1)
