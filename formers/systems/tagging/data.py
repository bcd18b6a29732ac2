"""Sentences whose every word has a tag: read, checked, turned into word pieces, reported on, batched.

A tag is learned at the first piece of its word; the other pieces carry none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import Buckets, Ragged, pad
from formers.data.files import fault, listed, quoted
from formers.data.report import DataReport, LengthReport
from formers.data.source import Source, settings_of
from formers.data.sources import Table, read_table
from formers.errors import nearest
from formers.fields import Count, Natural, check
from formers.systems.tagging.conll import is_conll, read_conll
from formers.text.reader import Inputs, Reader, Row

NONE = -1  # the label of a piece that carries none


@dataclass(frozen=True, kw_only=True)
class TaggedRows:
    """Columns of the tagged sentences, their word pieces, and how they are batched."""

    tokens: str = "tokens"
    """Column with the list of words of each sentence (.conll and .conllu files have no names)."""
    tags: str = "tags"
    """Column with the tag of each of these words."""
    vocab: Natural = 4000
    """Size of the word piece vocabulary that is trained for a new encoder."""
    tokenizer: str = ""
    """Folder with a tokenizer for a new encoder instead of training one."""
    length: Count = 0
    """Most tokens of a sentence, which is cut there while training (0: the model's length)."""
    tokens_per_batch: Natural = 2048
    """Most tokens of a batch, padding included."""

    def __post_init__(self) -> None:
        check(self, "rows")

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads the sentences."""
        return {"reader": self.read, "settings": settings_of(self, "tokens", "tags"), "what": "sentence"}

    def read(self, name: str, *, drop_empty: bool, **options: Any) -> Table:
        """What `Source` reads with: a table of lists of words and of as many tags; `options` as in `read_table`.

        Raises DataError for the first other row.
        """
        if is_conll(name):
            table = read_conll(name, self.tokens, self.tags)
        else:
            table = read_table(name, columns=[self.tokens, self.tags], text=[], drop_empty=drop_empty, **options)
        table.columns[self.tags] = table.named(self.tags)
        return self.checked(table.usable(lambda row: self.checked(row, drop_empty=False)), drop_empty=drop_empty)

    def checked(self, table: Table, *, drop_empty: bool) -> Table:
        """The table, without sentences without a word where these are dropped. Raises DataError as `read` does."""
        filled = []
        for row, (words, tags) in enumerate(zip(table.columns[self.tokens], table.columns[self.tags], strict=True)):
            self.check_row(table.where(row), words, tags)
            if words:
                filled.append(row)
        empty = len(table) - len(filled)
        if not empty:
            return table
        if not drop_empty:
            first = next(row for row, words in enumerate(table.columns[self.tokens]) if not words)
            many = f" (the first of {empty:,} such rows of {len(table):,})" if empty > 1 else ""
            raise fault(table.where(first), f"the sentence has no words{many}; remove it or set data.drop_empty = true")
        if not filled:
            raise fault(table.name, f"all {len(table):,} sentences are without a word")
        return replace(table.select(filled), dropped=table.dropped + empty)

    def check_row(self, where: str, words: Any, tags: Any) -> None:
        """Refuse anything but two lists of texts of one length."""
        lengths = []
        for column, values in ((self.tokens, words), (self.tags, tags)):
            is_list = isinstance(values, list)
            strays = [value for value in values if not isinstance(value, str)] if is_list else [values]
            if strays:
                raise fault(
                    where,
                    f"column {quoted(column)} holds {quoted(strays[0])} ({type(strays[0]).__name__}), expected a list "
                    "of texts, one for each word",
                )
            lengths.append(len(values))
        if lengths[0] != lengths[1]:
            raise fault(
                where,
                f"got {lengths[0]} words ({self.tokens}) but {lengths[1]} tags ({self.tags}), expected a tag for each "
                "word",
            )

    def labels(self, table: Table) -> tuple[str, ...]:
        """The tags that occur, sorted. Raises DataError where there is one only: nothing could be learned."""
        labels = sorted(set(chain.from_iterable(table.columns[self.tags])))
        if len(labels) < 2:
            raise fault(
                table.name,
                f"all words of its {len(table):,} sentences have the tag {quoted(labels[0])}, "
                "expected at least two tags; is rows.tags the right column?",
            )
        return tuple(labels)

    def numbers(self, table: Table, labels: Sequence[str]) -> list[list[int]]:
        """The tags as places in `labels`. Raises DataError for the first tag that is not among them."""
        place = {label: number for number, label in enumerate(labels)}
        try:
            return [[place[tag] for tag in tags] for tags in table.columns[self.tags]]
        except KeyError:
            pass
        row, at = next(
            (row, at)
            for row, tags in enumerate(table.columns[self.tags])
            for at, tag in enumerate(tags)
            if tag not in place
        )
        word, tag = table.columns[self.tokens][row][at], table.columns[self.tags][row][at]
        raise fault(
            table.where(row),
            f"word {at + 1} ({quoted(word)}) has the tag {quoted(tag)}, which the training "
            f"data does not have{nearest(tag, labels)}",
        )


class TaggedBatch(NamedTuple):
    inputs: Inputs
    labels: Tensor
    """(rows, longest): the number of the tag at the first piece of each word, NONE elsewhere."""


class TaggedBatches:
    """The batches of a table of tagged sentences, and the report on it."""

    def __init__(self, table: Table, reader: Reader, labels: Sequence[str], config: TaggedRows, *, seed: int) -> None:
        self.reader = reader
        sentences = table.columns[config.tokens]
        rows, marks, cut, lost, bare = [], [], 0, 0, 0
        for encoding, numbers in zip(reader.read_words(sentences), config.numbers(table, labels), strict=True):
            firsts = first_pieces(encoding.word_ids)
            mark = np.full(len(encoding), NONE, np.int32)
            mark[list(firsts.values())] = [numbers[word] for word in firsts]
            rows.append(Row(np.asarray(encoding.ids, np.int32), np.asarray(encoding.type_ids, np.int32)))
            marks.append(mark)
            missed = len(numbers) - len(firsts)
            rest = {word for part in encoding.overflowing for word in part.word_ids if word is not None}
            beyond = len(rest - firsts.keys())
            cut, lost, bare = cut + bool(rest), lost + beyond, bare + missed - beyond
        self.rows, self.marks = rows, Ragged(marks)
        lengths = self.marks.lengths
        order = Buckets(
            lengths, config.tokens_per_batch, seed=seed, where=lambda row: table.where(row, " ".join(sentences[row]))
        )
        self.epoch, self.describe = order.epoch, order.describe
        words = sum(map(len, sentences))
        unknown = reader.tokenizer.unk
        unread = 0 if unknown is None else sum(int((np.asarray(row.ids) == unknown).sum()) for row in rows)
        notes = [f"words: {words:,}, tags: {len(labels)} ({listed(labels)})"]
        if cut:
            notes.append(
                f"cut to {reader.length} tokens (rows.length): {cut:,} sentences ({cut / len(rows):.2%}), "
                f"whose last {lost:,} words ({lost / words:.2%}) are not learned"
            )
        if bare:
            notes.append(f"words of which the tokenizer leaves nothing, not learned: {bare:,} ({bare / words:.2%})")
        self.report = DataReport(
            len(rows),
            [LengthReport(config.tokens, lengths, unread / int(lengths.sum()))],
            {"without a word (data.drop_empty)": table.dropped},
            notes,
        )

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> TaggedBatch:
        """The tensors of these rows."""
        labels, _ = pad([self.marks[row] for row in rows], NONE)
        return TaggedBatch(self.reader.batch([self.rows[row] for row in rows]), labels)


def first_pieces(word_ids: Sequence[int | None]) -> dict[int, int]:
    """word -> the place of its first piece."""
    places: dict[int, int] = {}
    for place, word in enumerate(word_ids):
        if word is not None:
            places.setdefault(word, place)
    return places
