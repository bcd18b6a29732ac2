"""Logistic regression on frozen vectors with the strength of its penalty chosen on held-out data (SentEval).

Conneau and Kiela 2018: three ways to judge, by what a set offers.
  * nested: 10 folds; in each, the strength is chosen by 10 folds of the other nine
  * folds:  training and test set; the strength is chosen by 10 folds of the training set
  * split:  training, validation and test set; the strength is chosen on the validation set
The classifier is scikit-learn's, with the strengths that SentEval has for it. SentEval's default is the same model
trained by SGD in PyTorch; published numbers may be of either.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from formers.errors import DataError
from formers.extras import optional

STRENGTHS = tuple(2.0**power for power in range(-2, 4))  # scikit-learn's C: larger is a weaker penalty
FOLDS, SEED = 10, 1111  # SentEval's
STEPS, TOLERANCE = 2000, 1e-5

Vectors = NDArray[np.float32]
Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """What was predicted of every judged example, the accuracies to be had from it, and how it came about."""

    predicted: Classes
    true: Classes
    accuracy: float
    """The share; of folds, the mean."""
    strengths: tuple[float, ...]
    """The chosen ones, one for each final classifier."""
    chosen_at: float
    """The share right on the data that they were chosen on (mean)."""


def nested(x: Vectors, y: Classes, *, folds: int = FOLDS, seed: int = SEED) -> Judged:
    """Every example is judged once, by a classifier that has not seen it."""
    predicted = np.empty_like(y)
    accuracies, strengths, inner = [], [], []
    for train, test in stratified(y, folds, seed):
        strength, right = best_by_folds(x[train], y[train], folds, seed)
        predicted[test] = fit(x[train], y[train], strength).predict(x[test])
        accuracies.append(float((predicted[test] == y[test]).mean()))
        strengths.append(strength)
        inner.append(right)
    return Judged(predicted, y, float(np.mean(accuracies)), tuple(strengths), float(np.mean(inner)))


def with_folds(
    x: Vectors, y: Classes, tests: list[tuple[Vectors, Classes]], *, folds: int = FOLDS, seed: int = SEED
) -> list[Judged]:
    """One classifier of all training data, judged on each test set."""
    strength, right = best_by_folds(x, y, folds, seed)
    model = fit(x, y, strength)
    return [judged(model.predict(a), b, strength, right) for a, b in tests]


def with_split(x: Vectors, y: Classes, watched: tuple[Vectors, Classes], test: tuple[Vectors, Classes]) -> Judged:
    """One classifier of the training data alone, its strength chosen on `watched`."""
    found = rights(x, y, *watched)
    best = int(np.argmax(found))  # the first of equals: the strongest penalty
    return judged(fit(x, y, STRENGTHS[best]).predict(test[0]), test[1], STRENGTHS[best], found[best])


def judged(predicted: Classes, true: Classes, strength: float, right: float) -> Judged:
    return Judged(predicted, true, float((predicted == true).mean()), (strength,), right)


def best_by_folds(x: Vectors, y: Classes, folds: int, seed: int) -> tuple[float, float]:
    """The strength that is right most often over the folds, and how often (the share)."""
    found = np.mean([rights(x[a], y[a], x[b], y[b]) for a, b in stratified(y, folds, seed)], axis=0)
    best = int(np.argmax(found))
    return STRENGTHS[best], float(found[best])


def rights(x: Vectors, y: Classes, x_watched: Vectors, y_watched: Classes) -> list[float]:
    """The share right on other data for every strength; each fit begins where the last one ended."""
    model = classifier(warm_start=True)
    found = []
    for strength in STRENGTHS:
        model.set_params(C=strength)
        found.append(float((settle(model, x, y).predict(x_watched) == y_watched).mean()))
    return found


def fit(x: Vectors, y: Classes, strength: float) -> Any:
    return settle(classifier(C=strength), x, y)


def settle(model: Any, x: Vectors, y: Classes) -> Any:
    """Fit, and say nothing where the last digits have not settled: predictions do not depend on them."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)


def classifier(**settings: Any) -> Any:
    """scikit-learn's logistic regression. Raises DataError where it is not installed."""
    kind = optional("sklearn.linear_model", "metrics", "a classifier on frozen vectors").LogisticRegression
    return kind(max_iter=STEPS, tol=TOLERANCE, **settings)


def stratified(y: Classes, folds: int, seed: int) -> list[tuple[Classes, Classes]]:
    """(training rows, test rows) of every fold, each with the same share of every class.

    Raises DataError where a class has fewer examples than there are folds.
    """
    classifier()  # its message, where scikit-learn is missing
    from sklearn.model_selection import StratifiedKFold

    fewest = int(np.bincount(y)[np.unique(y)].min()) if len(y) else 0
    if fewest < folds or len(np.unique(y)) < 2:
        raise DataError(
            f"{folds} folds need at least two classes and {folds} examples of each, got "
            f"{len(np.unique(y))} classes, the smallest with {fewest}; give more data or fewer folds"
        )
    return list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(np.zeros(len(y)), y))
