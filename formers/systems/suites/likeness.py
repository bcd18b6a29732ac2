"""STS: does the cosine of two sentences' vectors order pairs as people do? Spearman x 100 (Reimers and Gurevych 2019).

pairs -> vectors -> cosine -> Spearman (and Pearson) with the scores that people gave
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from formers.metrics.correlation import pearson, spearman
from formers.metrics.retrieval import unit
from formers.systems.suites.sets import (
    ENDINGS,
    Encode,
    EncodedOnce,
    Examples,
    Measuring,
    SetScore,
    SuiteResults,
    by_source,
    check_folder,
    dropped,
    find,
    not_empty,
    read_scored,
    selected,
)

Liken = Callable[[Examples], NDArray[np.float64]]
"""Pairs -> (pairs,): how alike a model holds them."""
YEARS = ("2012", "2013", "2014", "2015", "2016")
SETS = (*(f"sts-{year}" for year in YEARS), "sts-benchmark", "sick")
FEWEST = 10  # pairs of a source that a correlation of its own makes sense for
# Pairs of the published test sets: fewer are another set.
COMPLETE = {"2012": 3108, "2013": 2250, "2014": 3750, "2015": 3000, "2016": 1186}


def sts(encode: Encode, folder: Path, *, only: Sequence[str] = ()) -> Measuring:
    """Measure an encoder on the STS sets of a folder; the average is over the years and sets, as papers give it.

    Looks for sts/YEAR-test.*, sts-benchmark/test.* (or stsb), sick/test.* (else its validation part).
    """
    results = SuiteResults("sts")
    vectors = EncodedOnce(encode, results)
    folder = check_folder(folder)
    yield from measure(results, lambda pairs: cosines(vectors, pairs), folder, selected(SETS, only))
    whole = [score for score in results.scores if "/" not in score.set]
    if len(whole) > 1:
        results.averages = mean(whole)
    years = [score for score in whole if score.set.removeprefix("sts-") in YEARS]
    if 1 < len(years) < len(whole):
        results.averages |= {f"{key} of the years": value for key, value in mean(years).items()}
    return not_empty(results, folder)


def measure(results: SuiteResults, liken: Liken, folder: Path, names: Sequence[str]) -> Iterator[SetScore]:
    """The scores of these sets, which go into the results as what is missing does."""
    for name in names:
        path, part = scored_file(folder, name)
        if path is None:
            results.missing[name] = f"no {part} in {folder} (one of {', '.join(ENDINGS)})"
            continue
        examples = read_scored(path)
        dropped(results, name, [examples])
        for score in correlations(name, part, examples, liken):
            results.scores.append(score)
            yield score
        whole = COMPLETE.get(name.removeprefix("sts-"), len(examples))
        if len(examples) != whole:
            results.notes.append(
                f"{name}: {len(examples):,} pairs, but the published set has {whole:,}: its score is "
                "not comparable with published ones, nor is the average"
            )
        elif part == "validation":
            results.notes.append(f"{name}: its validation part, there is no test part in {folder}")


def scored_file(folder: Path, name: str) -> tuple[Path | None, str]:
    """The file of a set, and what part it is (or what was looked for)."""
    if (year := name.removeprefix("sts-")) in YEARS:
        path = find(folder / "sts", f"{year}-test")
        return path, f"sts/{year}-test" if path is None else "test"
    spellings = ("sts-benchmark", "stsb") if name == "sts-benchmark" else (name,)
    for part in ("test", "validation"):
        for spelling in spellings:
            path = find(folder, spelling, part)
            if path is not None:
                return path, part
    return None, f"{' or '.join(spellings)}/test"


def correlations(name: str, part: str, examples: Examples, liken: Liken) -> Iterator[SetScore]:
    """The score of a whole set, then of each of its sources, as "set/source"."""
    begin = time.perf_counter()
    likenesses = liken(examples)
    seconds = time.perf_counter() - begin
    whole = SetScore(name, part, agreement(likenesses, examples.answers), len(examples), seconds=seconds)
    sources = list(by_source(examples))
    if len(sources) < 2:
        yield whole
        return
    each = [
        SetScore(f"{name}/{source}", part, agreement(likenesses[rows], examples.answers[rows]), len(rows))
        for source, rows in sources
        if len(rows) >= FEWEST
    ]
    yield replace(whole, how=f"all pairs together; mean of its {len(each)} sources: {100 * mean(each)['spearman']:.2f}")
    yield from each


def cosines(vectors: Encode, examples: Examples) -> NDArray[np.float64]:
    """(pairs,) of the two sides."""
    assert examples.seconds is not None
    a, b = np.split(unit(vectors(examples.sentences).astype(np.float64)), 2)
    return np.einsum("nd,nd->n", a, b)


def agreement(likenesses: NDArray[np.float64], scores: NDArray[np.generic]) -> dict[str, float]:
    return {"spearman": spearman(likenesses, scores), "pearson": pearson(likenesses, scores)}


def mean(scores: Sequence[SetScore]) -> dict[str, float]:
    """Of every kind of number that all of them have."""
    return {
        key: float(np.mean([score.scores[key] for score in scores]))
        for key in scores[0].scores
        if all(key in score.scores for score in scores)
    }


def scored_pairs(encode: Encode, path: Path) -> Measuring:
    """Measure an encoder on any file of pairs with two text columns and a score."""
    results = SuiteResults("sts")
    vectors = EncodedOnce(encode, results)
    examples = read_scored(path)
    name = re.sub(r"\.(parquet|jsonl|json|csv|tsv)$", "", path.name)
    dropped(results, name, [examples])
    for score in correlations(name, "", examples, lambda pairs: cosines(vectors, pairs)):
        results.scores.append(score)
        yield score
    return results
