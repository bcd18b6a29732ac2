"""Objectives that compare vectors: rows of one encoder or of two towers, of this process or of all of them.

    inputs -> tower (in chunks) -> vectors (rows, dim) -> gather over processes -> objective -> a loss for every row

Papers: Reimers and Gurevych 2019 (SBERT: softmax over concatenations, cosine regression, triplet); Henderson et al.
2017 (in-batch negatives); Su 2022 (CoSENT); Kusupati et al. 2022 (Matryoshka); Gao et al. 2021 (gradient cache);
Radford et al. 2021 (CLIP: a learnt scale, at most 100). What is particular:
  * All take vectors alone, so any tower will do; `gather` first, where a row is compared with those of other rows.
  * A row that is known to be like the anchor is never a negative: see `allowed_negatives`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from formers.training.task import Loss

PARTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "u": lambda u, v: u,
    "v": lambda u, v: v,
    "|u-v|": lambda u, v: (u - v).abs(),
    "u*v": lambda u, v: u * v,
}
Scale = float | Tensor
ALL = slice(None)


@dataclass(frozen=True)
class Losses:
    """A loss for every row, and what else is told of every row."""

    each: Float[Tensor, "rows"]
    parts: dict[str, Tensor] = field(default_factory=dict)

    def sum(self, weights: Float[Tensor, "rows"] | None = None, **parts: float | Tensor) -> Loss:
        """What the trainer adds up; weights: how much each row counts (a graded judgement); parts: further sums."""
        counts = torch.ones_like(self.each) if weights is None else weights
        own = {name: (counts * value.detach()).sum() for name, value in self.parts.items()}
        return Loss((counts * self.each).sum(), counts.sum(), {**parts, **own})


# ---- vectors -----------------------------------------------------------------------------------------------


def chunked(encode: Callable[..., Tensor], size: int, inputs: Tensor, keep: Tensor | None = None) -> Tensor:
    """encode(inputs[, keep]) of all rows, with the activations of at most `size` rows at a time (0: of all).

    The vectors of all are computed first; then, their gradients known, each chunk is computed again and learns from
    them. keep (rows, length): real tokens, on the left; what no row of a chunk has is cut off. Random states are put
    back, so that dropout is the same the second time.
    """
    if not size or not torch.is_grad_enabled() or len(inputs) <= size:
        return encode(inputs) if keep is None else encode(inputs, keep)
    vectors = []
    for start in range(0, len(inputs), size):
        rows: tuple[Tensor, ...] = (inputs[start : start + size],)
        if keep is not None:
            real = keep[start : start + size]
            longest = int(real.sum(1).max())
            rows = (rows[0][:, :longest], real[:, :longest])
        vectors.append(checkpoint(encode, *rows, use_reentrant=False))
    return torch.cat(vectors)


def learnt_scale(logarithm: Tensor, most: float = 100.0) -> Tensor:
    """exp of a learnt number, which is first set back, in place, to where this is at most `most`.

    Cut afterwards instead, it would have no gradient to come back by.
    """
    with torch.no_grad():
        logarithm.clamp_(max=math.log(most))
    return logarithm.exp()


def allowed_negatives(same: Int[Tensor, "sides rows"], groups: Int[Tensor, "rows"]) -> Bool[Tensor, "rows all"] | None:
    """Which candidate (positives, then hard negatives) may stand beside each anchor's own positive; None: all.

    same: equal numbers are equal inputs; groups: equal numbers are rows of one group. Not allowed is one that is known
    to be like the anchor: the same input, one that a row of the batch has as the other of the two, anchor or positive,
    or one of a pair of the same group.
    """
    anchors, positives = same[0], same[1]
    candidates = same[1:].flatten()
    if len(same.unique()) == same.numel() and len(groups.unique()) == len(groups):
        return None
    grouped = groups[:, None] == groups
    rows = grouped | (anchors[:, None] == anchors)  # (rows, rows): whose positives are like the anchor
    turned = grouped | (anchors[:, None] == positives)  # and whose anchors
    alike = rows.float() @ (positives[:, None] == candidates).float()
    alike += turned.float() @ (anchors[:, None] == candidates).float()
    allowed = (alike == 0) & (anchors[:, None] != candidates)
    return allowed.fill_diagonal_(True)  # the own positive


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
    u: Float[Tensor, "rows dim"],
    v: Float[Tensor, "rows dim"],
    scores: Float[Tensor, "rows"],
    *,
    scale: Scale = 20.0,
    own: slice = ALL,
) -> Losses:
    """log(1 + sum exp(scale (cos_j - cos_i))) over all pairs of rows where i should be more alike than j.

    One number for the batch, the same for every row (`own`: of this process): only the order of the scores matters.
    """
    cosines = scale * F.cosine_similarity(u, v)
    differences = (cosines[None] - cosines[:, None])[scores[:, None] > scores[None]]
    total = torch.cat([differences.new_zeros(1), differences]).logsumexp(0)
    return Losses(total.expand(len(u[own])))


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
    u: Float[Tensor, "rows dim"],
    v: Float[Tensor, "candidates dim"],
    weights: Float[Tensor, "rows candidates"] | Bool[Tensor, "rows candidates"] | None = None,
    *,
    scale: Scale = 20.0,
    symmetric: bool = False,
    own: slice = ALL,
) -> Losses:
    """Cross-entropy of finding each anchor's positive among all candidates of the batch, by scaled cosines.

    u: anchors; v: their positives, in their order, then hard negatives. weights: how often each candidate counts for
    each anchor (harder ones more, duplicates not: 0 or False), 1 for the own positive; what they are computed from
    must be detached. symmetric: half of the loss is to find the anchor of a positive. own: the rows to give losses of.
    """
    anchors, candidates = F.normalize(u, dim=-1), F.normalize(v, dim=-1)
    place = torch.arange(len(u), device=u.device)[own]
    scores = scale * anchors[own] @ candidates.T
    if weights is not None:
        logarithms = weights.to(scores.dtype).log()
        scores = scores + logarithms[own]
    each = F.cross_entropy(scores, place, reduction="none")
    parts = {"accuracy": (scores.argmax(1) == place).float()}
    if symmetric:
        back = scores[:, : len(u)] if own == ALL else scale * anchors @ candidates[place].T
        if weights is not None and own != ALL:
            back = back + logarithms[:, place]
        each = (each + F.cross_entropy(back.T, place, reduction="none")) / 2
    return Losses(each, parts)


def matryoshka(
    losses: Callable[[Tensor], Losses], x: Float[Tensor, "... dim"], dims: Sequence[int], weights: Sequence[float]
) -> Losses:
    """The objective on the whole vectors, plus, weighted, on their first numbers for each of `dims`."""
    whole = losses(x)
    each = whole.each
    for dim, weight in zip(dims, weights, strict=True):
        each = each + weight * losses(x[..., :dim]).each
    return Losses(each, {**whole.parts, "whole": whole.each})


def sigmoid(
    u: Float[Tensor, "rows dim"],
    v: Float[Tensor, "rows dim"],
    allowed: Bool[Tensor, "rows rows"] | None,
    *,
    scale: Scale,
    bias: Tensor,
    own: slice = ALL,
) -> Losses:
    """Whether each anchor and each positive belong together, every pair by itself (Zhai et al. 2023, SigLIP).

    allowed: False where a pair is neither right nor wrong, such as a duplicate.
    """
    anchors, candidates = F.normalize(u, dim=-1), F.normalize(v, dim=-1)
    scores = scale * anchors[own] @ candidates.T + bias
    place = torch.arange(len(u), device=u.device)[own]
    right = F.one_hot(place, len(v)).bool()
    each = -F.logsigmoid(torch.where(right, scores, -scores))
    each = each if allowed is None else each * allowed[own]
    return Losses(each.sum(1), {"accuracy": (scores.argmax(1) == place).float()})
