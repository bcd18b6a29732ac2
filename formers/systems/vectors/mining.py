"""Which of many vectors are alike: the best pairs, communities around a centre, k groups. Block by block.

The matrix of all against all never exists: a block of it is at most `CELLS` numbers, whatever the count of vectors.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from formers.errors import ConfigError
from formers.extras import optional
from formers.systems.system import Progress

CELLS = 1 << 24  # similarities that exist at once: 64 MB
Vectors = NDArray[np.float32]
TRIES = 4  # beginnings of k-means


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
    vectors: Vectors, *, threshold: float = -1.0, top: int = 100, most: int = 500_000
) -> Generator[Progress, None, list[Pair]]:
    """Returns the pairs of different rows with the highest cosine similarity, best first.

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
            likenesses, others = values[rows, at], columns[rows, at]
        else:
            rows, others = (scores >= floor).nonzero(as_tuple=True)
            likenesses = scores[rows, others]
        firsts, others = rows + block.start, others + begin
        low, high = torch.minimum(firsts, others), torch.maximum(firsts, others)
        best, codes = merged(torch.cat([best, likenesses]), torch.cat([codes, low * count + high]), most)
        floor = max(floor, float(best[-1])) if len(best) == most else floor
        yield Progress(block.stop, count, "comparing")
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
    vectors: Vectors, *, threshold: float = 0.75, smallest: int = 10
) -> Generator[Progress, None, list[list[int]]]:
    """Returns groups of rows at least `threshold` like the centre of their group, its first row; largest first.

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
        yield Progress(block.stop, 2 * count, "grouping")
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
        yield Progress(count + block.stop * count // max(1, len(order)), 2 * count, "grouping")
    return sorted(groups, key=len, reverse=True)


def k_means(vectors: Vectors, k: int, *, seed: int = 0) -> list[list[int]]:
    """k groups of rows around their means, each row in one, nearest to its mean first; largest group first.

    scikit-learn's, on unit vectors; the same seed gives the same groups. Raises DataError where it is not installed.
    """
    x = unit(vectors).numpy()
    if not 1 <= k <= len(x):
        raise ConfigError(f"k ({k}) must be from 1 to the {len(x)} texts")
    cluster = optional("sklearn.cluster", "metrics", "k-means")
    with warnings.catch_warnings():  # fewer different rows than groups: some groups are empty, and left out
        warnings.simplefilter("ignore", optional("sklearn.exceptions", "metrics", "k-means").ConvergenceWarning)
        means = cluster.KMeans(k, n_init=TRIES, random_state=seed).fit(x)
    distances = means.transform(x)[np.arange(len(x)), means.labels_]
    groups = [
        rows[distances[rows].argsort(kind="stable")].tolist()
        for group in range(k)
        if len(rows := np.flatnonzero(means.labels_ == group))
    ]
    return sorted(groups, key=len, reverse=True)
