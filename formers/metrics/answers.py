"""Exact match and F1 of answers, as SQuAD defines them (Rajpurkar et al. 2016; without an answer: 2018)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, single spaces."""
    text = text.lower().translate(PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact(answer: str, truth: str) -> float:
    return float(normalised(answer) == normalised(truth))


def overlap(answer: str, truth: str) -> float:
    """F1 of the words of two answers; where either has none, whether both have none."""
    ours, theirs = normalised(answer).split(), normalised(truth).split()
    if not ours or not theirs:
        return float(ours == theirs)
    same = (Counter(ours) & Counter(theirs)).total()
    return 2 * same / (len(ours) + len(theirs))


def answer_scores(answers: Sequence[str], truths: Sequence[Sequence[str]]) -> dict[str, float]:
    """Means over all questions, each compared with the one of its true answers that suits it best.

    No true answer: the question has none, and "" is the right one. Where questions of both kinds are there, the scores
    of each kind are given too (`..._answered`, `..._unanswerable`). Shares between 0 and 1.
    """
    rows = []
    for answer, right in zip(answers, truths, strict=True):
        right = [truth for truth in right if normalised(truth)] or [""]
        scores = max(exact(answer, truth) for truth in right), max(overlap(answer, truth) for truth in right)
        rows.append((right != [""], *scores))
    kinds = {"": rows}
    if len({has for has, _, _ in rows}) == 2:
        kinds |= {"_answered": [row for row in rows if row[0]], "_unanswerable": [row for row in rows if not row[0]]}
    return {
        f"{name}{kind}": sum(row[at] for row in part) / max(1, len(part))
        for kind, part in kinds.items()
        for at, name in ((1, "exact_match"), (2, "f1"))
    }
