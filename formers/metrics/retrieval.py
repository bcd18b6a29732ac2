"""How well a search finds what belongs to a query: ranks and recall."""

from __future__ import annotations

from collections.abc import Sequence

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
