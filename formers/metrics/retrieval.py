"""How well a search finds what belongs to a query: ranks and recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 512  # queries whose scores are held at a time


def ranks(
    queries: NDArray[np.float32],
    candidates: NDArray[np.float32],
    wanted: Sequence[NDArray[np.int64]],
    there: Sequence[NDArray[np.int64]],
) -> NDArray[np.int64]:
    """From 1: the rank of the best right candidate of each query, by dot products; of equals a wrong one goes first.

    A candidate is right where any of the numbers of a query, (queries,) each, is that of the candidate.
    """
    places = []
    for start in range(0, len(queries), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        scores = queries[rows] @ candidates.T
        pairs = zip(wanted, there, strict=True)
        right = np.logical_or.reduce([mine[rows, None] == theirs[None] for mine, theirs in pairs])
        best = np.where(right, scores, -np.inf).max(1, keepdims=True)
        places.append(1 + (~right & (scores >= best)).sum(1))
    return np.concatenate(places)


def recall(ranked: NDArray[np.int64], most: int) -> float:
    """Share of the queries whose right candidate is among the first `most`."""
    return float((ranked <= most).mean())


RETRIEVED = tuple(2**power - 1 for power in range(1, 11))  # 1, 3, 7 ... 1023, as Hinton and Salakhutdinov (2006) plot


def unit(rows: NDArray[Any]) -> NDArray[Any]:
    """Vectors, (rows, dim), of length one; those of nothing stay as they are."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def of_same_class(
    vectors: NDArray[np.floating], labels: NDArray[np.int64], *, cosine: bool = False, counts: Sequence[int] = RETRIEVED
) -> dict[int, float]:
    """number retrieved -> the share of them that have the class of the query, meaned over queries.

    Each of the vectors, (rows, dim), is a query to all others: the nearest by Euclidean distance, or by cosine. Counts
    above rows - 1 are left out. The share at 1 is the agreement of nearest neighbours.
    """
    rows = np.asarray(vectors, np.float32)
    if cosine:
        rows = unit(rows)
    else:
        rows = rows - rows.mean(0)  # nearer to 0, where squared lengths lose less
    counts = [count for count in counts if count < len(rows)]
    if not counts:
        return {}
    half, sums = (rows * rows).sum(1) / 2, np.zeros(counts[-1])
    for start in range(0, len(rows), AT_ONCE):
        part = np.arange(start, min(start + AT_ONCE, len(rows)))
        scores = rows[part] @ rows.T - half
        scores[np.arange(len(part)), part] = -np.inf  # no query finds itself
        near = np.argpartition(-scores, counts[-1] - 1, axis=1)[:, : counts[-1]]
        order = np.argsort(-np.take_along_axis(scores, near, 1), axis=1, kind="stable")
        sums += (labels[np.take_along_axis(near, order, 1)] == labels[part, None]).sum(0)
    shares = np.cumsum(sums) / len(rows)
    return {count: float(shares[count - 1] / count) for count in counts}
