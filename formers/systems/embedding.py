"""Objectives for sentence vectors: a few lines each, all on vectors alone; each gives a loss for every row.

    texts -> one encoder for all sides (siamese) -> pool -> vectors (sides, rows, dim) -> objective

Papers: Reimers and Gurevych 2019 (SBERT: softmax over concatenations, cosine regression, triplet); Henderson et al.
2017 (in-batch negatives); Su 2022 (CoSENT); Kusupati et al. 2022 (Matryoshka). What is particular:
  * A text of the batch that is known to be like the anchor is never a negative: see `allowed_negatives`.
  * Matryoshka repeats any objective on the first numbers of all vectors; the softmax uses those columns of its matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from formers.blocks.pooling import Pooling
from formers.data.likeness import LikenessBatch
from formers.errors import ConfigError, nearest

CONCATENATIONS = ("u,v", "|u-v|", "u*v", "|u-v|,u*v", "u,v,u*v", "u,v,|u-v|", "u,v,|u-v|,u*v")  # SBERT, table 6
PARTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "u": lambda u, v: u,
    "v": lambda u, v: v,
    "|u-v|": lambda u, v: (u - v).abs(),
    "u*v": lambda u, v: u * v,
}
# Objective -> the kinds of rows (data.rows) that it learns from.
OBJECTIVES = {
    "softmax": ("labelled",),
    "cosine": ("scored",),
    "cosent": ("scored",),
    "triplet": ("triplets",),
    "in_batch": ("groups", "pairs", "triplets"),
}


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig:
    """What is learned from texts that are alike or not, and how a text becomes one vector."""

    objective: str = "in_batch"
    """softmax (classes of pairs), cosine or cosent (scores of pairs), triplet, in_batch (other rows are negatives)."""
    pooling: str = "mean"
    """One vector of all tokens: their mean, their maximum (max), or that of the first."""
    normalise: bool = False
    """Give vectors of length 1."""
    concatenation: str = "u,v,|u-v|"
    """softmax: what of two vectors u and v is put side by side: some of u, v, |u-v|, u*v between commas."""
    scale: float = 20.0
    """in_batch, cosent: what cosines are multiplied by."""
    symmetric: bool = False
    """in_batch: also find the anchor of each positive."""
    chunk: int = 0
    """Texts whose activations are held at a time; their vectors' gradients are cached (0: all texts of a batch)."""
    margin: float = 1.0
    """triplet: how much nearer the positive must be than the negative."""
    distance: str = "euclidean"
    """triplet: euclidean or cosine."""
    dims: tuple[int, ...] = ()
    """Matryoshka: also learn on the first so many numbers of every vector, such as [256, 128, 64] (empty: no)."""
    weights: tuple[float, ...] = ()
    """Matryoshka: weight of each of `dims` beside the 1 of the whole vector (empty: 1 each)."""
    samples: tuple[str, ...] = ()
    """Sentences whose nearest among the validation sentences is shown now and then (empty: four of these)."""

    def __post_init__(self) -> None:
        known: Sequence[tuple[str, Sequence[str]]] = (
            ("objective", tuple(OBJECTIVES)),
            ("pooling", get_args(Pooling)),
            ("distance", ("euclidean", "cosine")),
        )
        for name, values in known:
            if getattr(self, name) not in values:
                raise ConfigError(
                    f'task.{name} "{getattr(self, name)}" is not known{nearest(getattr(self, name), values)}'
                )
        parts = self.concatenation.split(",")
        if len(set(parts)) < len(parts) or not set(parts) <= set(PARTS):
            raise ConfigError(
                f'task.concatenation "{self.concatenation}" must be some of {", ".join(PARTS)} between '
                "commas, each once"
            )
        for name, least in (("chunk", 0), ("margin", 0)):
            if not getattr(self, name) >= least:
                raise ConfigError(f"task.{name} ({getattr(self, name)}) must be at least {least}")
        if not 0 < self.scale < float("inf"):
            raise ConfigError(f"task.scale ({self.scale}) must be a positive number")
        if any(dim < 1 for dim in self.dims) or len(set(self.dims)) < len(self.dims):
            raise ConfigError(f"task.dims {list(self.dims)} must be different numbers of at least 1")
        if self.weights and (len(self.weights) != len(self.dims) or min(self.weights) <= 0):
            raise ConfigError(
                f"task.weights {list(self.weights)} must be as many positive numbers as task.dims "
                f"{list(self.dims)} has, or none"
            )


Vectors = Float[Tensor, "sides rows dim"]


@dataclass(frozen=True)
class Losses:
    """A loss for every row, and what else is told of every row."""

    each: Float[Tensor, "rows"]
    parts: dict[str, Tensor] = field(default_factory=dict)


def objective(config: EmbeddingConfig, batch: LikenessBatch, matrix: nn.Linear | None) -> Callable[[Tensor], Losses]:
    """The objective of a config as a function of the vectors (sides, rows, dim) of a batch, Matryoshka included.

    matrix: of the softmax. `batch` must be where the vectors are.
    """
    c, values = config, batch.values
    allowed = allowed_negatives(batch) if c.objective == "in_batch" else None

    def losses(x: Tensor) -> Losses:
        if c.objective == "softmax":
            assert matrix is not None and values is not None
            return softmax(x[0], x[1], values, matrix, c.concatenation)
        if c.objective == "triplet":
            return triplet(x[0], x[1], x[2], margin=c.margin, distance=c.distance)
        if c.objective == "in_batch":
            return in_batch(x, allowed, scale=c.scale, symmetric=c.symmetric)
        assert values is not None
        return cosine(x[0], x[1], values) if c.objective == "cosine" else cosent(x[0], x[1], values, scale=c.scale)

    if not c.dims:
        return losses
    return lambda x: matryoshka(losses, x, c.dims, c.weights or (1.0,) * len(c.dims))


# ---- objectives --------------------------------------------------------------------------------------------


def softmax(
    u: Float[Tensor, "rows dim"],
    v: Float[Tensor, "rows dim"],
    classes: Int[Tensor, "rows"],
    matrix: nn.Linear,
    concatenation: str = "u,v,|u-v|",
) -> Losses:
    """Cross-entropy of softmax(W (u, v, |u - v|)), or of another concatenation.

    matrix: classes x (parts * whole dim), no bias as in the paper. Where u and v are the first numbers of longer
    vectors, the same columns of every part are used.
    """
    parts = [PARTS[name](u, v) for name in concatenation.split(",")]
    weight = matrix.weight.unflatten(1, (len(parts), -1))[:, :, : u.shape[1]].flatten(1)
    logits = F.linear(torch.cat(parts, 1), weight)
    right = (logits.argmax(1) == classes).float()
    return Losses(F.cross_entropy(logits, classes, reduction="none"), {"accuracy": right})


def cosine(u: Float[Tensor, "rows dim"], v: Float[Tensor, "rows dim"], scores: Float[Tensor, "rows"]) -> Losses:
    """Squared difference of cosine and score."""
    return Losses((F.cosine_similarity(u, v) - scores).square())


def cosent(
    u: Float[Tensor, "rows dim"], v: Float[Tensor, "rows dim"], scores: Float[Tensor, "rows"], *, scale: float = 20.0
) -> Losses:
    """log(1 + sum exp(scale (cos_j - cos_i))) over all pairs of rows where i should be more alike than j.

    One number for the batch, the same for every row: only the order of the scores matters.
    """
    cosines = scale * F.cosine_similarity(u, v)
    differences = (cosines[None] - cosines[:, None])[scores[:, None] > scores[None]]
    total = torch.cat([differences.new_zeros(1), differences]).logsumexp(0)
    return Losses(total.expand(len(u)))


def triplet(
    anchor: Float[Tensor, "rows dim"],
    positive: Float[Tensor, "rows dim"],
    negative: Float[Tensor, "rows dim"],
    *,
    margin: float = 1.0,
    distance: str = "euclidean",
) -> Losses:
    """max(0, |a - p| - |a - n| + margin), or with cosine distances (1 - cosine) in place of Euclidean ones."""
    if distance == "cosine":
        near, far = (1 - F.cosine_similarity(anchor, other) for other in (positive, negative))
    else:
        near, far = (F.pairwise_distance(anchor, other) for other in (positive, negative))
    return Losses(F.relu(near - far + margin), {"accuracy": (near < far).float()})


def in_batch(
    x: Vectors, allowed: Bool[Tensor, "rows candidates"] | None = None, *, scale: float = 20.0, symmetric: bool = False
) -> Losses:
    """Cross-entropy of finding each anchor's positive among all positives, and all hard negatives, of the batch.

    x: anchors, positives, then hard negatives, side after side; candidates are all sides but the first. allowed: False
    where a candidate must not be taken for a negative. symmetric: half of the loss is to find the anchor of a positive.
    """
    anchors, candidates = F.normalize(x[0], dim=-1), F.normalize(x[1:].flatten(0, 1), dim=-1)
    own = torch.arange(len(anchors), device=x.device)
    scores = scale * anchors @ candidates.T
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    each = F.cross_entropy(scores, own, reduction="none")
    parts = {"accuracy": (scores.argmax(1) == own).float()}
    if symmetric:
        back = scores[:, : len(anchors)].T
        each = (each + F.cross_entropy(back, own, reduction="none")) / 2
    return Losses(each, parts)


def matryoshka(losses: Callable[[Tensor], Losses], x: Vectors, dims: Sequence[int], weights: Sequence[float]) -> Losses:
    """The objective on the whole vectors, plus, weighted, on their first numbers for each of `dims`."""
    whole = losses(x)
    each = whole.each
    for dim, weight in zip(dims, weights, strict=True):
        each = each + weight * losses(x[..., :dim]).each
    return Losses(each, {**whole.parts, "whole": whole.each})


# ---- duplicates --------------------------------------------------------------------------------------------


def allowed_negatives(batch: LikenessBatch) -> Bool[Tensor, "rows candidates"] | None:
    """Which candidate (positives, then hard negatives) may stand beside each anchor's own positive; None: all.

    Not one that is known to be like the anchor: the same text, one that a row of the batch has as the other of the
    two, anchor or positive, or one of a pair of the same group.
    """
    anchors, positives, groups = batch.same[0], batch.same[1], batch.groups
    candidates = batch.same[1:].flatten()
    if len(batch.same.unique()) == batch.same.numel() and len(groups.unique()) == len(groups):
        return None
    grouped = groups[:, None] == groups
    rows = grouped | (anchors[:, None] == anchors)  # (rows, rows): whose positives are like the anchor
    turned = grouped | (anchors[:, None] == positives)  # and whose anchors
    alike = rows.float() @ (positives[:, None] == candidates).float()
    alike += turned.float() @ (anchors[:, None] == candidates).float()
    allowed = (alike == 0) & (anchors[:, None] != candidates)
    return allowed.fill_diagonal_(True)  # the own positive
