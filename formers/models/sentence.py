"""Hidden states of a text -> its vector: pooled in one way or in several beside each other, then perhaps projected.

    hidden states -> pool (first | mean | max | mean_sqrt ...) -> (Dense | Normalise) ... -> vector

Paper: Reimers and Gurevych 2019 (SBERT). The steps after pooling are those of published sentence encoders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from formers.blocks.feed_forward import ACTIVATIONS
from formers.blocks.pooling import pool

POOLINGS = ("first", "mean", "max", "mean_sqrt", "last")
BENDS: dict[str, Callable[[Tensor], Tensor]] = {
    **ACTIVATIONS,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
}


class Dense(nn.Module):
    """activation(W x + b)."""

    def __init__(self, dim: int, out: int, *, bias: bool = True, activation: str = "tanh") -> None:
        super().__init__()
        self.linear = nn.Linear(dim, out, bias=bias)
        self.activation = activation

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch out"]:
        return BENDS[self.activation](self.linear(x))


class Normalise(nn.Module):
    """To length one; a vector of zeros stays."""

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return F.normalize(x, dim=-1)


class SentenceHead(nn.Module):
    """From hidden states to the vector of a text."""

    def __init__(self, poolings: Sequence[str] = ("mean",), steps: Sequence[Dense | Normalise] = ()) -> None:
        """poolings: of `POOLINGS`, their vectors one behind the other; steps: what follows, in this order."""
        super().__init__()
        self.poolings = tuple(poolings)
        self.steps = nn.ModuleList(steps)

    def forward(
        self, x: Float[Tensor, "batch length dim"], keep: Bool[Tensor, "batch length"] | None = None
    ) -> Float[Tensor, "batch out"]:
        """keep: True is a token that counts."""
        vectors = [pooled(x, keep, how) for how in self.poolings]
        y = vectors[0] if len(vectors) == 1 else torch.cat(vectors, -1)
        for step in self.steps:
            y = step(y)
        return y

    def width(self, dim: int) -> int:
        """Numbers of a vector, of hidden states of `dim`."""
        sizes = [step.linear.out_features for step in self.steps if isinstance(step, Dense)]
        return sizes[-1] if sizes else dim * len(self.poolings)

    @property
    def normalised(self) -> bool:
        """Whether its vectors have length one."""
        return len(self.steps) > 0 and isinstance(self.steps[-1], Normalise)


def pooled(
    x: Float[Tensor, "batch length dim"], keep: Bool[Tensor, "batch length"] | None, how: str
) -> Float[Tensor, "batch dim"]:
    """`pool`, and "mean_sqrt": the sum over the square root of how many there are (longer texts, longer vectors)."""
    if how == "mean_sqrt":
        count = torch.tensor(float(x.shape[1])) if keep is None else keep.sum(1, keepdim=True).clamp(min=1)
        return pool(x, keep, "mean") * count.to(x).sqrt()
    return pool(x, keep, how)  # type: ignore[arg-type]
