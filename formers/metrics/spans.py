"""Entities in sequences of BIO labels, and the F1 of found entities (the convention of conlleval and seqeval)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

MARKS = "BIESLU"  # begin, inside, end and single (E, S) or last and unit (L, U)
ALONE, LAST = "SU", "EL"


class Span(NamedTuple):
    """An entity: words `start` to `end` (exclusive)."""

    kind: str
    start: int
    end: int


def is_bio(labels: Sequence[str]) -> bool:
    """Whether a set of labels marks entities: "O" and "B-PER", "I-PER" ... (IOB, IOB2, BIOES, BILOU)."""
    marked = [label for label in labels if label != "O"]
    return any(label[:2] in ("B-", "I-") for label in marked) and all(
        len(label) > 2 and label[0] in MARKS and label[1] == "-" for label in marked
    )


def spans(tags: Sequence[str]) -> list[Span]:
    """The entities of one sentence, in order.

    B, S and U begin one; I, E and L go on with one of the same kind, else they begin one as well, so that a sequence
    that breaks the rules still has entities. Whatever is not of this form ("O") is outside.
    """
    found: list[Span] = []
    kind, start, open_ = "", 0, False
    for place, tag in enumerate(tags):
        mark, _, name = tag.partition("-")
        inside = bool(name) and mark in MARKS
        goes_on = inside and open_ and name == kind and mark not in "B" + ALONE
        if open_ and not goes_on:
            found.append(Span(kind, start, place))
        if inside and not goes_on:
            kind, start = name, place
        open_ = inside
        if inside and mark in ALONE + LAST:
            found.append(Span(kind, start, place + 1))
            open_ = False
    return [*found, Span(kind, start, len(tags))] if open_ else found


def span_scores(predicted: Sequence[Sequence[str]], expected: Sequence[Sequence[str]]) -> dict[str, float]:
    """Precision, recall and F1 over the entities of all sentences: right are those with the same words and kind.

    0 where nothing could be counted. Raises ValueError where two label sequences are not equally long.
    """
    right = said = true = 0
    for ours, theirs in zip(predicted, expected, strict=True):
        if len(ours) != len(theirs):
            raise ValueError(f"got {len(ours)} predicted labels, expected {len(theirs)}")
        found, wanted = set(spans(ours)), set(spans(theirs))
        right, said, true = right + len(found & wanted), said + len(found), true + len(wanted)
    return {
        "span_precision": right / said if said else 0.0,
        "span_recall": right / true if true else 0.0,
        "span_f1": 2 * right / (said + true) if said + true else 0.0,
    }
