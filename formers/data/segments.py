"""Documents in sentences, and which of them fill the rows of an epoch: one segment of text each, or two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from formers.data.sentences import split_sentences
from formers.data.sources import Table
from formers.errors import DataError
from formers.text.faults import reading

if TYPE_CHECKING:
    import tokenizers

TOGETHER = 4096  # sentences that are turned into tokens at a time
Ids = NDArray[np.int64]


class Sentences:
    """All tokens of all documents in one array; sentence i is tokens[ends[i - 1] : ends[i]].

    Document d is the sentences from first[d] up to first[d + 1]; `begins`: whether a word begins at a token.
    """

    def __init__(self, table: Table, column: str, rules: tokenizers.Tokenizer, unknown: int | None = None) -> None:
        """rules: those of a `Reader`. Texts without a single token (control characters) give no document."""
        self.table = table
        ids: list[NDArray[np.int32]] = []
        begins: list[NDArray[np.bool_]] = []
        owners: list[int] = []
        rules.no_truncation()
        for row, encoding in _encoded(table.columns[column], rules):
            if len(encoding):
                words = [-1 if word is None else word for word in encoding.word_ids]
                ids.append(np.array(encoding.ids, np.int32))
                begins.append(np.diff(words, prepend=-2) != 0)
                owners.append(row)
        if not ids:
            raise DataError(f"{table.name}: there is no text in it that the tokenizer can read")
        self.tokens, self.begins = np.concatenate(ids), np.concatenate(begins)
        self.ends = np.cumsum([len(sentence) for sentence in ids])
        self.rows, first = np.unique(owners, return_index=True)
        self.first = np.append(first, len(ids))
        self.unknown = 0.0 if unknown is None else float((self.tokens == unknown).mean())

    def __len__(self) -> int:
        """Documents."""
        return len(self.rows)

    def start(self, sentence: int) -> int:
        """The place of its first token; of the sentence after the last: the end."""
        return int(self.ends[sentence - 1]) if sentence else 0

    def where(self, place: int) -> str:
        """The document that a place in `tokens` belongs to."""
        sentence = int(np.searchsorted(self.ends, place, "right"))
        return self.table.where(int(self.rows[np.searchsorted(self.first, sentence, "right") - 1]))


@dataclass(frozen=True)
class SegmentPlan:
    """The rows of an epoch: (rows, 4) places where A begins and ends, and B; and whether B is of elsewhere."""

    places: Ids
    strange: NDArray[np.bool_]
    cut: int
    """Tokens left out of rows that were too long; the next epoch has others."""

    @property
    def sizes(self) -> Ids:
        """Tokens of text in each row."""
        return self.places[:, 1] - self.places[:, 0] + self.places[:, 3] - self.places[:, 2]


def plan_pairs(text: Sentences, room: int, short: float, dice: np.random.Generator) -> SegmentPlan:
    """Segments of whole sentences, cut at their outer or inner ends where both together are longer than `room`.

    Sentences are gathered until the row is full and parted at random into A and what follows. Where B is of another
    document, what followed begins the next row. A sentence alone can only stand beside a strange one; as many of the
    other rows are given what follows, so that this is half of all where the text allows it.
    """
    places: list[tuple[int, int, int, int]] = []
    strange: list[bool] = []
    cut = owed = 0
    for document in range(len(text)):
        at, last = int(text.first[document]), int(text.first[document + 1])
        while at < last:
            target = room if dice.random() >= short else int(dice.integers(2, room + 1))
            stop = _gather(text, at, last, target)
            alone = stop - at == 1
            follows = not alone and (owed > 0 or bool(dice.random() < 0.5))
            owed += alone - (follows and owed > 0)
            middle = stop if alone else at + int(dice.integers(1, stop - at))
            a, b = text.start(at), text.start(middle)
            if follows:
                c, d, at = b, text.start(stop), stop
            else:
                other = int(dice.integers(len(text) - 1))
                other += other >= document
                begin, end = int(text.first[other]), int(text.first[other + 1])
                begin = int(dice.integers(begin, end))
                c, d, at = text.start(begin), text.start(_gather(text, begin, end, target - (b - a))), middle
            over = max(0, d - c + b - a - room)
            cut += over
            places.append(_fit(a, b, c, d, over, dice))
            strange.append(not follows)
    return SegmentPlan(np.array(places, np.int64), np.array(strange), cut)


def plan_texts(text: Sentences, room: int, short: float, dice: np.random.Generator) -> SegmentPlan:
    """Rows of as many whole sentences of a document as fit; a sentence longer than `room` is cut into pieces."""
    places: list[tuple[int, int, int, int]] = []
    for document in range(len(text)):
        at, last = text.start(int(text.first[document])), text.start(int(text.first[document + 1]))
        while at < last:
            target = room if dice.random() >= short else int(dice.integers(2, room + 1))
            fitting = int(np.searchsorted(text.ends, at + target, "right"))
            stop = min(last, text.start(fitting))
            if stop <= at:  # not even one sentence fits
                stop = min(at + room, int(text.ends[np.searchsorted(text.ends, at, "right")]))
            places.append((at, stop, stop, stop))
            at = stop
    return SegmentPlan(np.array(places, np.int64), np.zeros(len(places), bool), 0)


def _gather(text: Sentences, at: int, last: int, target: int) -> int:
    """The sentence up to which those from `at` on have `target` tokens, at least one sentence, at most to `last`."""
    stop = int(np.searchsorted(text.ends, text.start(at) + target, "left")) + 1
    return max(at + 1, min(stop, last))


def _fit(a: int, b: int, c: int, d: int, over: int, dice: np.random.Generator) -> tuple[int, int, int, int]:
    """Take `over` tokens off, from the longer segment first, each from its front or its back at random."""
    if not over:
        return a, b, c, d
    apart = (b - a) - (d - c)
    more = min(over, abs(apart))
    rest = over - more
    first = (more if apart > 0 else 0) + rest // 2 + rest % 2
    second = over - first
    front, fore = int(dice.binomial(first, 0.5)), int(dice.binomial(second, 0.5))
    return a + front, b - (first - front), c + fore, d - (second - fore)


def _encoded(texts: Sequence[str], rules: tokenizers.Tokenizer) -> Iterator[tuple[int, Any]]:
    """(row, encoding) of every sentence, in order."""
    waiting: list[tuple[int, str]] = []
    for row, document in enumerate(texts):
        waiting += [(row, sentence) for sentence in split_sentences(document)]
        if len(waiting) > TOGETHER or row == len(texts) - 1:
            with reading(sentences := [sentence for _, sentence in waiting]):
                encodings = rules.encode_batch(sentences, add_special_tokens=False)
            yield from zip([number for number, _ in waiting], encodings, strict=True)
            waiting = []
