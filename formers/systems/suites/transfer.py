"""SentEval: what a simple classifier can read from frozen sentence vectors (Conneau and Kiela 2018).

texts -> vectors, never trained -> logistic regression -> accuracy
pairs -> (|u - v|, u * v)       -> logistic regression -> accuracy and F1
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from formers.metrics.classification import f1
from formers.systems.suites.logistic import FOLDS, Judged, nested, with_folds, with_split
from formers.systems.suites.sets import (
    ENDINGS,
    Encode,
    EncodedOnce,
    Examples,
    Measuring,
    SetScore,
    SuiteResults,
    check_folder,
    dropped,
    find,
    not_empty,
    parts,
    read_set,
    selected,
)

# Sets whose every sentence is judged in turn, and those with parts of their own.
WHOLE = ("mr", "cr", "subj", "mpqa")
SPLIT = {"sst2": ("train", "validation", "test"), "trec": ("train", "test"), "mrpc": ("train", "test")}
SETS = (*WHOLE, *SPLIT)
CLASSIFIER = (
    "scikit-learn's logistic regression on frozen vectors (SentEval's default is the same model trained by "
    "SGD in PyTorch); 6 strengths of L2"
)


def senteval(encode: Encode, folder: Path, *, only: Sequence[str] = (), folds: int = FOLDS) -> Measuring:
    """Measure an encoder on the SentEval sets of a folder; the average is over the accuracies.

    Raises ConfigError where no set is there.
    """
    results = SuiteResults("senteval", notes=[CLASSIFIER])
    vectors = EncodedOnce(encode, results)
    folder = check_folder(folder)
    for name in selected(SETS, only):
        paths, gone = files(folder, name)
        if gone:
            results.missing[name] = gone
            continue
        examples, _ = read_set(paths, pairs=name == "mrpc")
        dropped(results, name, list(examples.values()))
        results.scores.append(score(name, examples, vectors, folds))
        yield results.scores[-1]
    if len(results.scores) > 1:
        results.averages = {"accuracy": float(np.mean([each.scores["accuracy"] for each in results.scores]))}
    return not_empty(results, folder)


def files(folder: Path, name: str) -> tuple[dict[str, Path], str]:
    """The files of a set, and what is missing ("": nothing)."""
    if name in SPLIT:
        paths, gone = parts(folder, name, SPLIT[name])
        watched = find(folder, name, "validation")
        if name == "mrpc" and watched is not None:
            paths["validation"] = watched  # SentEval's training set holds both
        return paths, gone
    path = find(folder, name)
    return (
        ({}, f"no {name} or sentences/{name} file in {folder} (one of {', '.join(ENDINGS)})")
        if path is None
        else ({"all": path}, "")
    )


def score(name: str, examples: dict[str, Examples], vectors: Encode, folds: int = FOLDS) -> SetScore:
    """One set by its protocol."""
    features = {part: features_of(vectors, each) for part, each in examples.items()}
    answers = {part: each.answers.astype(np.int64) for part, each in examples.items()}
    begin = time.perf_counter()
    if "all" in examples:
        judged, part = nested(features["all"], answers["all"], folds=folds), f"{folds}-fold"
        how = f"strength chosen by {folds} folds inside each"
    elif name == "sst2":
        judged = with_split(
            features["train"],
            answers["train"],
            (features["validation"], answers["validation"]),
            (features["test"], answers["test"]),
        )
        part, how = "test", "strength chosen on validation; trained on sentences, not phrases"
    else:
        seen = [part for part in ("train", "validation") if part in examples]
        x, y = (np.concatenate([some[part] for part in seen]) for some in (features, answers))
        judged = with_folds(x, y, [(features["test"], answers["test"])], folds=folds)[0]
        part, how = "test", f"strength chosen by {folds} folds of {' and '.join(seen)}"
    scores = {"accuracy": judged.accuracy} | (
        {"f1": f1(judged.predicted, judged.true, average="one")} if name == "mrpc" else {}
    )
    return SetScore(name, part, scores, len(judged.true), f"{how}: {strengths(judged)}", time.perf_counter() - begin)


def features_of(vectors: Encode, examples: Examples) -> NDArray[np.float32]:
    """The vectors of texts; of pairs, what differs and what agrees in theirs."""
    x = vectors(examples.sentences)
    if examples.seconds is None:
        return x
    u, v = np.split(x, 2)
    return np.concatenate([np.abs(u - v), u * v], 1)


def strengths(judged: Judged) -> str:
    """C = 4, or C = 2 to 8, and how many were right where it was chosen."""
    low, high = min(judged.strengths), max(judged.strengths)
    return f"C {low:g}{f' to {high:g}' if high > low else ''}, {100 * judged.chosen_at:.1f} there"
