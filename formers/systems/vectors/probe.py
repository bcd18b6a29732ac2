"""How much a model's vectors say of labels that it need not know: a linear probe and nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from formers.data.labels import Labels, learn_labels
from formers.data.source import Source
from formers.errors import ConfigError
from formers.metrics.classification import accuracy, confusion
from formers.systems.labelling import confusion_table
from formers.systems.suites.logistic import STRENGTHS, fit, rights
from formers.systems.system import Event, Progress, Report, share

Labelled = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Vectors (rows, dim) and their class numbers."""
VectorsOf = Callable[[Any, Labels], Iterable[tuple[Sequence[int], NDArray[np.float32]]]]
NEAREST, TEMPERATURE = 20, 0.07  # Wu et al. 2018; Caron et al. 2021
ASIDE = 10  # every tenth training row chooses the strength of the penalty
AT_ONCE = 512  # rows that are compared with all others together


def probed(
    name: str, source: Source | None, rows: Any, table: Any, vectors: VectorsOf, word: str
) -> Generator[Event, None, tuple[Report, tuple[str, ...]]]:
    """The report on the vectors of a table by its labels, which are learned from other rows, and these labels.

    name: of the rows to learn from, else those of the run's own `source`; rows: the section [rows] that says how they
    are read; vectors: some rows at a time, and their vectors; word: for a row. Raises ConfigError where there is
    nothing to learn from.
    """
    if not (name := name or (source.train if source is not None else "")):
        raise ConfigError(f"--probe learns from labelled {word}s: give --train SOURCE")
    learning = replace(source or Source(), train=name)
    train = learning.read("train", **rows.reading(learning))
    labels = learn_labels(train.table, rows.label, "one")
    judged: list[Labelled] = []
    for part, what in ((train, f"training {word}s"), (table, f"test {word}s")):
        part = part.usable(lambda row: labels.answers(row, rows.label, rows.separator))
        parts, places = [], list[int]()
        for numbers, some in vectors(part, labels):
            parts.append(some)
            places += numbers
            yield Progress(len(places), len(part), f"encoding {what}")
        judged.append((np.concatenate(parts), labels.answers(part.table, rows.label, rows.separator)[places]))
    return probe(judged[0], judged[1], labels.names, word), labels.names


def probe(train: Labelled, test: Labelled, names: tuple[str, ...], word: str) -> Report:
    """Accuracy on `test` of a logistic regression of standardised vectors, and of the nearest vectors of `train`."""
    (x, y), (a, b) = train, test
    mean, spread = x.mean(0), np.maximum(x.std(0), 1e-6)
    scaled, held_out = (x - mean) / spread, (a - mean) / spread
    aside = np.arange(len(x)) % ASIDE == 0
    found = rights(scaled[~aside], y[~aside], scaled[aside], y[aside])
    strength = STRENGTHS[int(np.argmax(found))]
    predicted = fit(scaled, y, strength).predict(held_out)
    confused = confusion(predicted, b, classes=len(names))
    facts = {f"training_{word}s": len(x), f"{word}s": len(a), "strength": strength, "labels": list(names)}
    return Report(
        [share("linear_probe", accuracy(predicted, b)), share("nearest", accuracy(by_neighbours(x, y, a), b))],
        facts={**facts, "confusion": confused.tolist()},
        tables=[confusion_table(confused, names)],
        remarks={"learned from": f"{len(x):,} training {word}s; penalty 1/{strength:g}"},
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
