"""Which of many vectors are alike: the best pairs, communities around a centre, k groups. Block by block.

The matrix of all against all never exists: a block of it is at most `CELLS` numbers, whatever the count of vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from formers.errors import ConfigError

CELLS = 1 << 24  # similarities that exist at once: 64 MB
Vectors = NDArray[np.float32]
Tell = Callable[[int, int], None]  # (done, of how many) rows
ROUNDS = 100  # of k-means at most


@dataclass(frozen=True)
class Pair:
    score: float
    first: int
    second: int
    """Row numbers from 0, the first one is the smaller."""


def blocks(count: int, rows: int) -> Iterator[slice]:
    """Slices of `rows` whose rows against all are at most CELLS numbers."""
    size = max(1, min(4096, CELLS // max(1, count)))
    return (slice(start, min(rows, start + size)) for start in range(0, rows, size))


def unit(vectors: Vectors) -> Tensor:
    """As a tensor of unit vectors. Raises ConfigError for anything but a table of finite numbers."""
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ConfigError(f"vectors of shape {vectors.shape}: expected (texts, dim) of finite numbers")
    return F.normalize(torch.from_numpy(np.ascontiguousarray(vectors, np.float32)), dim=-1)


def mine(
    vectors: Vectors, *, threshold: float = -1.0, top: int = 100, most: int = 500_000, tell: Tell | None = None
) -> list[Pair]:
    """The pairs of different rows with the highest cosine similarity, best first.

    threshold: the least similarity. top: a pair must be among so many best of one of its two (0: all count).
    most: how many pairs at most. The rule of sentence-transformers' paraphrase_mining.
    """
    if top < 0 or most < 1:
        raise ConfigError(f"top ({top}) must be at least 0 (all), most ({most}) at least 1")
    x = unit(vectors)
    count = len(x)
    best, codes, floor = torch.empty(0), torch.empty(0, dtype=torch.int64), threshold
    for block in blocks(count, count):
        # without `top` the pairs before the block have been seen from their other side
        begin = 0 if top else block.start
        scores = x[block] @ x[begin:].T
        own = torch.arange(block.start, block.stop)
        scores[torch.arange(len(own)), own - begin] = -torch.inf
        if top and top < count - 1:
            values, columns = scores.topk(min(top, count), dim=1)
            rows, at = (values >= floor).nonzero(as_tuple=True)
            found, others = values[rows, at], columns[rows, at]
        else:
            rows, others = (scores >= floor).nonzero(as_tuple=True)
            found = scores[rows, others]
        firsts, others = rows + block.start, others + begin
        low, high = torch.minimum(firsts, others), torch.maximum(firsts, others)
        best, codes = merged(torch.cat([best, found]), torch.cat([codes, low * count + high]), most)
        floor = max(floor, float(best[-1])) if len(best) == most else floor
        if tell is not None:
            tell(block.stop, count)
    return [
        Pair(score, code // count, code % count)
        for score, code in zip(best.tolist(), codes.tolist(), strict=True)
        if score > -np.inf
    ]


def merged(scores: Tensor, codes: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Each pair once, the `most` best of them, best first; equal ones in the order of their rows."""
    order = codes.argsort(stable=True)
    codes, scores = codes[order], scores[order]
    new = torch.ones(len(codes), dtype=torch.bool)
    new[1:] = codes[1:] != codes[:-1]
    codes, scores = codes[new], scores[new]
    order = scores.argsort(descending=True, stable=True)[:most]
    return scores[order], codes[order]


def communities(
    vectors: Vectors, *, threshold: float = 0.75, smallest: int = 10, tell: Tell | None = None
) -> list[list[int]]:
    """Groups of rows that are at least `threshold` like the centre of their group, its first row; largest first.

    A row is in one group at most: rows with many neighbours become centres first, and take those that are still free,
    where these are at least `smallest`. The rule of sentence-transformers' community_detection.
    """
    if smallest < 1:
        raise ConfigError(f"smallest ({smallest}) must be at least 1")
    x = unit(vectors)
    count = len(x)
    neighbours = torch.zeros(count, dtype=torch.int64)
    for block in blocks(count, count):
        neighbours[block] = (x[block] @ x.T >= threshold).sum(1)
        if tell is not None:
            tell(block.stop, 2 * count)
    order = neighbours.argsort(descending=True, stable=True)
    order = order[neighbours[order] >= smallest]
    free = torch.ones(count, dtype=torch.bool)
    groups: list[list[int]] = []
    for block in blocks(count, len(order)):
        centres = order[block][free[order[block]]]
        for centre, scores in zip(centres.tolist(), x[centres] @ x.T, strict=True):
            if not free[centre]:
                continue
            members = ((scores >= threshold) & free).nonzero().squeeze(1)
            if len(members) < smallest:
                continue
            members = members[scores[members].argsort(descending=True, stable=True)]
            groups.append([centre, *(row for row in members.tolist() if row != centre)])
            free[members] = False
            free[centre] = False  # its likeness to itself may round to less than 1
        if tell is not None:
            tell(count + block.stop * count // max(1, len(order)), 2 * count)
    return sorted(groups, key=len, reverse=True)


def k_means(vectors: Vectors, k: int, *, seed: int = 0, tries: int = 4, tell: Tell | None = None) -> list[list[int]]:
    """k groups of rows around their means, each row in one, nearest to its mean first; largest group first.

    On unit vectors; the best of `tries` beginnings (greedy k-means++, Arthur and Vassilvitskii 2007).
    The same seed gives the same groups.
    """
    x = unit(vectors)
    if not 1 <= k <= len(x):
        raise ConfigError(f"k ({k}) must be from 1 to the {len(x)} texts")
    generator = torch.Generator().manual_seed(seed)
    best: tuple[float, Tensor, Tensor] | None = None
    for _ in range(tries):
        means = beginning(x, k, generator)
        last = torch.full((len(x),), -1)
        for number in range(ROUNDS):
            distances, chosen = nearest_mean(x, means)
            if torch.equal(chosen, last):
                break
            last = chosen
            means = moved(x, means, chosen, distances)
            if tell is not None:
                tell(number + 1, ROUNDS)
        total = float(distances.double().sum())
        if best is None or total < best[0]:
            best = total, chosen, distances
    assert best is not None
    _, chosen, distances = best
    groups = [
        rows[distances[rows].argsort(stable=True)].tolist()
        for group in range(k)
        if len(rows := (chosen == group).nonzero().squeeze(1))
    ]
    return sorted(groups, key=len, reverse=True)


def beginning(x: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """k rows far from each other: each the best of a few that are drawn by their squared distance from those before."""
    rows = torch.randint(len(x), (1,), generator=generator)
    distances = ((x - x[rows[0]]) ** 2).sum(1)
    draws = 2 + int(math.log(k))
    for _ in range(k - 1):
        left = distances.double().cumsum(0)
        drawn = torch.rand(draws, generator=generator, dtype=torch.float64) * left[-1]
        candidates = torch.searchsorted(left, drawn).clamp(max=len(x) - 1)
        nearer = torch.stack([torch.minimum(distances, ((x - x[each]) ** 2).sum(1)) for each in candidates])
        best = nearer.double().sum(1).argmin()
        rows, distances = torch.cat([rows, candidates[best, None]]), nearer[best]
    return x[rows].clone()


def nearest_mean(x: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance of every row to its nearest mean, and which that is."""
    distances, chosen = torch.empty(len(x)), torch.empty(len(x), dtype=torch.int64)
    for block in blocks(len(means), len(x)):
        apart = (x[block] ** 2).sum(1, keepdim=True) - 2 * x[block] @ means.T + (means**2).sum(1)
        distances[block], chosen[block] = apart.min(1)
    return distances.clamp(min=0), chosen


def moved(x: Tensor, means: Tensor, chosen: Tensor, distances: Tensor) -> Tensor:
    """The mean of each group; an empty group begins anew at the row that is farthest from its own mean."""
    counts = torch.bincount(chosen, minlength=len(means))
    sums = torch.zeros_like(means).index_add_(0, chosen, x)
    new = sums / counts.clamp(min=1)[:, None]
    empty = (counts == 0).nonzero().squeeze(1)
    if len(empty):
        new[empty] = x[distances.topk(len(empty)).indices]
    return new
