"""Which objective sentence vectors learn by, and on what of a batch.

texts -> one encoder for all sides (siamese) -> pool -> vectors (sides, rows, dim) -> objective
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor, nn

from formers.blocks.pooling import Pooling
from formers.errors import ConfigError
from formers.fields import Between, Count, OneOf, check
from formers.systems.embedding.data import LikenessBatch
from formers.training.contrastive import (
    ALL,
    PARTS,
    Losses,
    allowed_negatives,
    cosent,
    cosine,
    in_batch,
    matryoshka,
    softmax,
    triplet,
)

CONCATENATIONS = ("u,v", "|u-v|", "u*v", "|u-v|,u*v", "u,v,u*v", "u,v,|u-v|", "u,v,|u-v|,u*v")  # SBERT, table 6
# Objective -> the kinds of rows (rows.rows) that it learns from.
OBJECTIVES = {
    "softmax": ("labelled",),
    "cosine": ("scored",),
    "cosent": ("scored",),
    "triplet": ("triplets",),
    "in_batch": ("groups", "pairs", "triplets"),
}
TOGETHER = ("cosent", "in_batch")  # those that compare a row with the other rows of its batch


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig:
    """What is learned from texts that are alike or not, and how a text becomes one vector."""

    objective: Annotated[str, OneOf(tuple(OBJECTIVES))] = "in_batch"
    """softmax (classes of pairs), cosine or cosent (scores of pairs), triplet, in_batch (other rows are negatives)."""
    pooling: Pooling = "mean"
    """One vector of all tokens: their mean, their maximum (max), or that of the first or the last."""
    normalise: bool = False
    """Give vectors of length 1."""
    concatenation: str = "u,v,|u-v|"
    """softmax: what of two vectors u and v is put side by side: some of u, v, |u-v|, u*v between commas."""
    scale: Annotated[float, Between(above=0)] = 20.0
    """in_batch, cosent: what cosines are multiplied by."""
    symmetric: bool = False
    """in_batch: also find the anchor of each positive."""
    chunk: Count = 0
    """Texts whose activations are held at a time; their vectors' gradients are cached (0: all texts of a batch)."""
    margin: Annotated[float, Between(0)] = 1.0
    """triplet: how much nearer the positive must be than the negative."""
    distance: Literal["euclidean", "cosine"] = "euclidean"
    """triplet: euclidean or cosine."""
    dims: tuple[int, ...] = ()
    """Matryoshka: also learn on the first so many numbers of every vector, such as [256, 128, 64] (empty: no)."""
    weights: tuple[float, ...] = ()
    """Matryoshka: weight of each of `dims` beside the 1 of the whole vector (empty: 1 each)."""
    samples: tuple[str, ...] = ()
    """Sentences whose nearest among the validation sentences is shown now and then (empty: four of these)."""

    def __post_init__(self) -> None:
        check(self, "task")
        parts = self.concatenation.split(",")
        if len(set(parts)) < len(parts) or not set(parts) <= set(PARTS):
            raise ConfigError(
                f'task.concatenation "{self.concatenation}" must be some of {", ".join(PARTS)} between '
                "commas, each once"
            )
        if any(dim < 1 for dim in self.dims) or len(set(self.dims)) < len(self.dims):
            raise ConfigError(f"task.dims {list(self.dims)} must be different numbers of at least 1")
        if self.weights and (len(self.weights) != len(self.dims) or min(self.weights) <= 0):
            raise ConfigError(
                f"task.weights {list(self.weights)} must be as many positive numbers as task.dims "
                f"{list(self.dims)} has, or none"
            )


def objective(
    config: EmbeddingConfig, batch: LikenessBatch, matrix: nn.Linear | None, own: slice = ALL
) -> Callable[[Tensor], Losses]:
    """The objective of a config as a function of the vectors (sides, rows, dim) of a batch, Matryoshka included.

    matrix: of the softmax; own: which rows' losses are wanted. `batch` must be where the vectors are.
    """
    c, values = config, batch.values
    allowed = allowed_negatives(batch.same, batch.groups) if c.objective == "in_batch" else None

    def losses(x: Tensor) -> Losses:
        if c.objective == "softmax":
            assert matrix is not None and values is not None
            return softmax(x[0], x[1], values, matrix, c.concatenation)
        if c.objective == "triplet":
            return triplet(x[0], x[1], x[2], margin=c.margin, distance=c.distance)
        if c.objective == "in_batch":
            return in_batch(x[0], x[1:].flatten(0, 1), allowed, scale=c.scale, symmetric=c.symmetric, own=own)
        assert values is not None
        if c.objective == "cosine":
            return cosine(x[0], x[1], values)
        return cosent(x[0], x[1], values, scale=c.scale, own=own)

    if not c.dims:
        return losses
    return lambda x: matryoshka(losses, x, c.dims, c.weights or (1.0,) * len(c.dims))
