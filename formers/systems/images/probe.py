"""How much a model's vectors say of labels that it need not know: a linear probe and nearest neighbours."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from formers.metrics.classification import accuracy, confusion
from formers.systems.labelling import confusion_table
from formers.systems.suites.logistic import STRENGTHS, fit, rights
from formers.systems.system import Report, share

Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Vectors (pictures, dim) and their class numbers."""
NEAREST, TEMPERATURE = 20, 0.07  # Wu et al. 2018; Caron et al. 2021
ASIDE = 10  # every tenth training picture chooses the strength of the penalty
AT_ONCE = 512  # pictures that are compared with all others together


def probe(train: Labelled, test: Labelled, names: tuple[str, ...]) -> Report:
    """Accuracy on `test` of a logistic regression of standardised vectors, and of the nearest vectors of `train`."""
    (x, y), (a, b) = train, test
    mean, spread = x.mean(0), np.maximum(x.std(0), 1e-6)
    scaled, held_out = (x - mean) / spread, (a - mean) / spread
    aside = np.arange(len(x)) % ASIDE == 0
    found = rights(scaled[~aside], y[~aside], scaled[aside], y[aside])
    strength = STRENGTHS[int(np.argmax(found))]
    predicted = fit(scaled, y, strength).predict(held_out)
    confused = confusion(predicted, b, classes=len(names))
    facts = {"training_pictures": len(x), "pictures": len(a), "strength": strength, "labels": list(names)}
    return Report(
        [share("linear_probe", accuracy(predicted, b)), share("nearest", accuracy(by_neighbours(x, y, a), b))],
        facts={**facts, "confusion": confused.tolist()},
        tables=[confusion_table(confused, names)],
        remarks={"learned from": f"{len(x):,} training pictures; penalty 1/{strength:g}"},
    )


def by_neighbours(x: NDArray[np.float32], y: NDArray[np.int64], queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """The class of each query that its nearest vectors vote for, the nearer the more, by cosine."""
    known = torch.nn.functional.normalize(torch.from_numpy(x), dim=1)
    classes = torch.nn.functional.one_hot(torch.from_numpy(y)).float()
    parts = []
    for some in torch.nn.functional.normalize(torch.from_numpy(queries), dim=1).split(AT_ONCE):
        likeness, places = (some @ known.T).topk(min(NEAREST, len(known)))
        votes = (likeness / TEMPERATURE).exp()
        parts.append((votes[..., None] * classes[places]).sum(1).argmax(1))
    return torch.cat(parts).numpy()
