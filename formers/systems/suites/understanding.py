"""Sets of the GLUE kind: acceptability, sentiment, questions, paraphrase, likeness; of the models, two kinds.

    a fine-tuned classifier: its own labels        a frozen encoder: logistic regression on its vectors, cosines

The published GLUE scores are of hidden test sets; these are of the sets at hand (Warstadt et al. 2019 for CoLA).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from formers.metrics.classification import accuracy, f1, matthews
from formers.systems.suites import likeness
from formers.systems.suites.logistic import FOLDS, with_folds, with_split
from formers.systems.suites.sets import (
    Encode,
    EncodedOnce,
    Examples,
    Measuring,
    SetScore,
    SuiteResults,
    check_folder,
    dropped,
    not_empty,
    parts,
    read_set,
    selected,
)
from formers.systems.suites.transfer import features_of

# Set -> the parts that are judged; "train" is learned from where the model is frozen.
LABELLED = {"cola": ("validation", "out-of-domain"), "sst2": ("test",), "mrpc": ("test",), "trec": ("test",)}
SCORED = likeness.SETS
SETS = (*LABELLED, *SCORED)
OPTIONAL = ("out-of-domain",)

Classify = Callable[[Sequence[str], Sequence[str] | None], NDArray[np.int64]]
"""Texts, and the second ones of pairs -> the place of each label among the model's."""


def frozen(encode: Encode, folder: Path, *, only: Sequence[str] = (), folds: int = FOLDS) -> Measuring:
    """A frozen encoder: logistic regression on the vectors of a set's training part; of scored pairs, the cosine."""
    results = SuiteResults(
        "glue-like",
        notes=[
            "frozen encoder: logistic regression on its vectors (scikit-learn), cosine "
            "for scored pairs; nothing of the model was trained"
        ],
    )
    vectors = EncodedOnce(encode, results)
    folder, names = check_folder(folder), selected(SETS, only)
    for name in (name for name in names if name in LABELLED):
        read = labelled(results, folder, name, learn=True)
        if read is None:
            continue
        examples, _ = read
        begin = time.perf_counter()
        x = {part: features_of(vectors, each) for part, each in examples.items()}
        y = {part: each.answers.astype(np.int64) for part, each in examples.items()}
        judging = [part for part in LABELLED[name] if part in examples]
        if "validation" in examples and "validation" not in judging:
            how = "strength chosen on validation"
            judged = [
                with_split(x["train"], y["train"], (x["validation"], y["validation"]), (x[part], y[part]))
                for part in judging
            ]
        else:
            how = f"strength chosen by {folds} folds of train"
            judged = with_folds(x["train"], y["train"], [(x[part], y[part]) for part in judging], folds=folds)
        seconds = time.perf_counter() - begin
        for part, each in zip(judging, judged, strict=True):
            scores, detail = scores_of(name, each.predicted, each.true), f"frozen; {how}: C {each.strengths[0]:g}"
            results.scores.append(SetScore(name, part, scores, len(each.true), detail, seconds / len(judging)))
            yield results.scores[-1]
    yield from likened(results, folder, names, lambda pairs: likeness.cosines(vectors, pairs))
    return not_empty(results, folder)


def fine_tuned(
    classify: Classify | None,
    labels: Sequence[str],
    liken: likeness.Liken | None,
    folder: Path,
    *,
    only: Sequence[str] = (),
) -> Measuring:
    """A fine-tuned model: `classify` says labels, `liken` scores pairs; the one that it cannot do is None.

    A set whose labels are not the model's is left out, with a line. One that `only` names is measured if it has as many
    labels: they are then taken in order.
    """
    results = SuiteResults("glue-like", notes=["fine-tuned model: its own labels or numbers"])
    folder, names = check_folder(folder), selected(SETS, only)
    for name in (name for name in names if name in LABELLED):
        if classify is None:
            results.missing[name] = "this model gives a number, not a label"
            continue
        read = labelled(results, folder, name, learn=False)
        if read is None:
            continue
        examples, theirs = read
        places = meeting(labels, theirs, named=name in only)
        if places is None:
            results.missing[name] = f"its labels ({', '.join(theirs)}) are not this model's ({', '.join(labels)})" + (
                "" if name in only or len(theirs) != len(labels) else f"; --only {name} takes them in order"
            )
            continue
        for part, each in examples.items():
            begin = time.perf_counter()
            scores = scores_of(name, places[classify(each.texts, each.seconds)], each.answers)
            seconds = time.perf_counter() - begin
            results.scores.append(SetScore(name, part, scores, len(each), "fine-tuned", seconds))
            yield results.scores[-1]
    if liken is None:
        results.missing |= {name: "this model gives a label, not a number" for name in names if name in SCORED}
    else:
        yield from likened(results, folder, names, liken)
    return not_empty(results, folder)


def likened(results: SuiteResults, folder: Path, names: Sequence[str], liken: likeness.Liken) -> Iterator[SetScore]:
    """The scored sets, whole; sets that are not there are named."""
    wanted = [name for name in names if name in SCORED]
    inner = SuiteResults("sts")
    for score in likeness.measure(inner, liken, folder, wanted):
        if "/" not in score.set:
            results.scores.append(score)
            yield score
    results.missing |= inner.missing
    results.notes += inner.notes


def labelled(
    results: SuiteResults, folder: Path, name: str, *, learn: bool
) -> tuple[dict[str, Examples], tuple[str, ...]] | None:
    """The parts of a set and its labels; None, with a reason in the results, where a part is missing."""
    judged = [part for part in LABELLED[name] if part not in OPTIONAL]
    paths, gone = parts(folder, name, ["train", *judged] if learn else judged)
    if gone:
        results.missing[name] = gone
        return None
    extra = [*LABELLED[name], *(["validation"] if learn else [])]
    paths |= parts(folder, name, extra)[0]
    paths = parts(folder, name, ["train"])[0] | paths  # first: it says what labels there are
    examples, labels = read_set(paths, pairs=name == "mrpc")
    if not learn:
        examples.pop("train", None)
    dropped(results, name, list(examples.values()))
    return examples, labels


def meeting(ours: Sequence[str], theirs: Sequence[str], *, named: bool) -> NDArray[np.int64] | None:
    """For every label of the model its place among the set's; None where they are other labels."""
    lower = {label.lower(): place for place, label in enumerate(theirs)}
    if all(label.lower() in lower for label in ours) and len(ours) == len(theirs):
        return np.array([lower[label.lower()] for label in ours])
    return np.arange(len(ours)) if named and len(ours) == len(theirs) else None


def scores_of(name: str, predicted: NDArray[np.int64], true: NDArray[np.generic]) -> dict[str, float]:
    """What is usual for the set: CoLA Matthews, MRPC F1 and accuracy, else accuracy."""
    right = {"accuracy": accuracy(predicted, true)}
    if name == "cola":
        return {"matthews": matthews(predicted, true)} | right
    return {"f1": f1(predicted, true, average="one")} | right if name == "mrpc" else right
