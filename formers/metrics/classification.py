"""How well labels were told: accuracy, F1, Matthews' correlation, the table of confusions.

Everywhere `predicted` and `expected` are whole numbers, one for each example; where an example may have any number of
labels they are 0/1 tables (examples, labels). Shares lie between 0 and 1, and are 0 where nothing could be counted.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray


def accuracy(predicted: ArrayLike, expected: ArrayLike) -> float:
    """Share of examples that are right; of several labels, all of them."""
    said, true = _pair(predicted, expected)
    right = said == true
    return float((right.all(1) if right.ndim == 2 else right).mean()) if len(said) else 0.0


def f1(
    predicted: ArrayLike, expected: ArrayLike, *, average: Literal["macro", "micro", "one"] = "macro", positive: int = 1
) -> float:
    """Harmonic mean of precision and recall, 2 hits / (predicted + expected).

    macro: mean over the classes that occur on either side; micro: over all counts together (with one label for each
    example, that is accuracy); one: of the class `positive` alone, which is how MRPC is scored.
    """
    said, true = _pair(predicted, expected)
    if said.ndim == 2:
        hits, sums = (said & true).sum(0), said.sum(0) + true.sum(0)
    else:
        table = confusion(said, true)
        hits, sums = table.diagonal(), table.sum(0) + table.sum(1)
    if average == "one":
        return float(2 * hits[positive] / sums[positive]) if positive < len(sums) and sums[positive] else 0.0
    if not sums.any():
        return 0.0
    if average == "micro":
        return float(2 * hits.sum() / sums.sum())
    # a label column without any 1 counts as 0, as in scikit-learn; a class that occurs nowhere is no class
    there = np.ones(len(sums), bool) if said.ndim == 2 else sums > 0
    return float((2 * hits[there] / np.maximum(sums[there], 1)).mean())


def matthews(predicted: ArrayLike, expected: ArrayLike) -> float:
    """Matthews' correlation of two or more classes (Gorodkin 2004), -1 to 1; 0 where one side is constant."""
    table = confusion(predicted, expected).astype(np.float64)
    count, right, said, true = table.sum(), table.trace(), table.sum(0), table.sum(1)
    spread = (count**2 - said @ said) * (count**2 - true @ true)
    return float((right * count - said @ true) / np.sqrt(spread)) if spread > 0 else 0.0


def confusion(predicted: ArrayLike, expected: ArrayLike, *, classes: int | None = None) -> NDArray[np.int64]:
    """How often class `row` was taken for class `column`, (classes, classes); classes: at least so many."""
    said, true = _pair(predicted, expected)
    if said.ndim == 2:
        raise ValueError("a table of confusions needs one label for each example")
    size = max(classes or 0, int(max(said.max(), true.max())) + 1 if len(said) else 0)
    return np.bincount(true * size + said, minlength=size * size).reshape(size, size)


def _pair(predicted: ArrayLike, expected: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    said, true = np.asarray(predicted).astype(np.int64), np.asarray(expected).astype(np.int64)
    if said.shape != true.shape or said.ndim not in (1, 2):
        raise ValueError(f"predicted {said.shape} and expected {true.shape} must have one shape")
    return said, true


def top(scores: ArrayLike, expected: ArrayLike, count: int) -> float:
    """Share of examples whose class is among the `count` with the highest of (examples, classes) scores; of equal
    scores the class with the lower number comes first."""
    table, true = np.asarray(scores), np.asarray(expected).astype(np.int64)
    own = table[np.arange(len(table)), true][:, None]
    before = (table > own).sum(1) + ((table == own) & (np.arange(table.shape[1]) < true[:, None])).sum(1)
    return float((before < count).mean()) if len(table) else 0.0


def d_prime(scores: ArrayLike, expected: ArrayLike) -> float:
    """How far apart two normal distributions of deviation 1 lie that give the mean area under the ROC curve, over the
    labels that some example has and some lacks (Hershey et al. 2017); (examples, labels) scores and 0 or 1.

    0 is chance; an area is at most that of half a pair in the wrong order, so that no score is infinite.
    """
    table, true = np.asarray(scores, np.float64), np.asarray(expected).astype(bool)
    areas, most = [], 0.5
    for column, positive in zip(table.T, true.T, strict=True):
        if positive.all() or not positive.any():
            continue
        places = np.unique(column, return_inverse=True)[1]
        ties = np.bincount(places)
        ranks = (np.cumsum(ties) - (ties - 1) / 2)[places]  # of equal scores their mean
        have, pairs = positive.sum(), positive.sum() * (~positive).sum()
        areas.append((ranks[positive].sum() - have * (have + 1) / 2) / pairs)
        most = max(most, 1 - 0.5 / pairs)
    area = float(np.clip(np.mean(areas), 1 - most, most)) if areas else 0.5
    return math.sqrt(2) * NormalDist().inv_cdf(area)


def average_precision(scores: ArrayLike, expected: ArrayLike) -> float:
    """The mean, over the labels that some example has, of the sum of precision times the step in recall down the list
    of examples; (examples, labels) scores and 0 or 1. Equal scores count together, as in scikit-learn."""
    table, true = np.asarray(scores, np.float64), np.asarray(expected).astype(bool)
    if table.shape != true.shape or table.ndim != 2:
        raise ValueError(f"scores {table.shape} and expected {true.shape} must have one shape, (examples, labels)")
    precisions = []
    for column, positive in zip(table.T, true.T, strict=True):
        if not positive.any():
            continue
        order = np.argsort(-column, kind="stable")
        hits = np.cumsum(positive[order])
        ends = np.append(np.flatnonzero(np.diff(column[order])), len(column) - 1)  # the last of equal scores
        steps = np.diff(hits[ends], prepend=0)
        precisions.append(float((steps * hits[ends] / (ends + 1)).sum() / hits[-1]))
    return float(np.mean(precisions)) if precisions else 0.0
