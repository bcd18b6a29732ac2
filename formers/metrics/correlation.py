"""How well numbers agree with those that people gave: Pearson (straight line) and Spearman (same order)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pearson(predicted: ArrayLike, expected: ArrayLike) -> float:
    """Correlation of two lists of numbers, -1 to 1; 0 where one is constant, NaN where a number is."""
    a, b = np.asarray(predicted, np.float64), np.asarray(expected, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"predicted {a.shape} and expected {b.shape} must be lists of one length")
    if len(a) < 2 or (a == a[0]).all() or (b == b[0]).all():
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)  # each alone: the product of two tiny norms may be 0
    return float(np.clip(a @ b, -1, 1))


def spearman(predicted: ArrayLike, expected: ArrayLike) -> float:
    """Pearson of the ranks; equal numbers share the mean of their ranks. Usually reported times 100."""
    a, b = np.asarray(predicted, np.float64), np.asarray(expected, np.float64)
    if np.isnan(a).any() or np.isnan(b).any():
        return float("nan")
    return pearson(ranks(a), ranks(b))


def ranks(numbers: ArrayLike) -> NDArray[np.float64]:
    """The place of each number in order, from 1; equal ones have the mean of their places."""
    _, which, counts = np.unique(np.asarray(numbers, np.float64), return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[which]
