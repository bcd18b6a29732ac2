"""Sentences whose every word has a tag: read, checked, turned into word pieces, reported on, batched.

A tag is learned at the first piece of its word; the other pieces carry none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import Ragged, bucket, pad
from formers.data.conll import is_conll, read_conll
from formers.data.files import fault, listed, quoted
from formers.data.report import DataReport, LengthReport
from formers.data.sources import Table, read_table
from formers.errors import ConfigError, nearest
from formers.text.reader import Inputs, Reader, Row

NONE = -1  # the label of a piece that carries none


@dataclass(frozen=True, kw_only=True)
class TaggedData:
    """Where the tagged sentences come from and how they are batched."""

    train: str = "builtin:parts"
    """Sentences to learn from: .jsonl .parquet (lists of words and of tags), .conll .conllu, hf:NAME, builtin:parts."""
    validation: str = ""
    """Sentences to watch while training; empty: the source's own validation split, else a part of the training data."""
    test: str = ""
    """Sentences to judge with in the end (formers evaluate); empty: the source's own test split, else `validation`."""
    tokens: str = "tokens"
    """Column with the words of each sentence."""
    tags: str = "tags"
    """Column with the tag of each of these words."""
    count: int = 0
    """How many training sentences to generate (builtin) or to take from the front (0: all there are)."""
    held_out: int = 1000
    """Sentences of each generated validation and test set, and most that are set aside of the training data."""
    vocab: int = 4000
    """Size of the word piece vocabulary that is trained for a new encoder."""
    tokenizer: str = ""
    """Folder with a tokenizer for a new encoder instead of training one."""
    length: int = 0
    """Most tokens of a sentence, which is cut there while training (0: the model's length)."""
    tokens_per_batch: int = 2048
    """Most tokens of a batch, padding included."""
    drop_empty: bool = False
    """Leave out sentences without a word instead of refusing the file."""
    seed: int = 1
    """Seed of the order of the data and of what is generated."""

    def read(self, part: str) -> Table | None:
        """The table of "train", "validation" or "test"; None where a part was not named and the source has none."""
        if not self.train and part == "train":
            raise ConfigError("data.train is empty: say what to learn from, for example --set data.train=tagged.jsonl")
        name = {"train": self.train, "validation": self.validation, "test": self.test}[part]
        if not name and self.train.startswith(("builtin:", "hf:")):
            name = self.train
        if not name:
            return None
        if is_conll(name):
            table = read_conll(name, self.tokens, self.tags)
        else:
            count = (self.count if part == "train" else self.held_out) if name.startswith("builtin:") else None
            table = read_table(
                name,
                columns=[self.tokens, self.tags],
                text=[],
                split=part,
                seed=self.seed,
                count=count or None,
                drop_empty=self.drop_empty,
            )
        table = self.checked(table)
        if part == "train" and self.count and not name.startswith("builtin:"):
            table = table.select(range(min(self.count, len(table))))
        return table

    def checked(self, table: Table) -> Table:
        """The table with lists of words and of as many tags in every row. Raises DataError for the first other row."""
        empty = []
        table.columns[self.tags] = table.named(self.tags)
        for row, (words, tags) in enumerate(zip(table.columns[self.tokens], table.columns[self.tags], strict=True)):
            for column, values in ((self.tokens, words), (self.tags, tags)):
                stray = None if isinstance(values, list) else values
                if isinstance(values, list):
                    stray = next((each for each in values if not isinstance(each, str)), None)
                if stray is not None or not isinstance(values, list):
                    raise fault(
                        table.where(row),
                        f"column {quoted(column)} holds {quoted(stray)} "
                        f"({type(stray).__name__}), expected a list of texts, one for each word",
                    )
            if len(words) != len(tags):
                raise fault(
                    table.where(row),
                    f"got {len(words)} words ({self.tokens}) but {len(tags)} tags "
                    f"({self.tags}), expected a tag for each word",
                )
            if not words:
                empty.append(row)
        if not empty:
            return table
        if not self.drop_empty:
            many = f" (the first of {len(empty):,} such rows of {len(table):,})" if len(empty) > 1 else ""
            raise fault(
                table.where(empty[0]), f"the sentence has no words{many}; remove it or set data.drop_empty = true"
            )
        if len(empty) == len(table):
            raise fault(table.name, f"all {len(table):,} sentences are without a word")
        kept = table.select(sorted(set(range(len(table))) - set(empty)))
        return replace(kept, dropped=table.dropped + len(empty))

    def tables(self) -> tuple[Table, Table]:
        """Training and validation sentences; without a validation source every k-th one is set aside."""
        train = self.read("train")
        assert train is not None
        validation = self.read("validation")
        return train.set_aside(self.held_out, "sentence") if validation is None else (train, validation)

    def labels(self, table: Table) -> tuple[str, ...]:
        """The tags that occur, sorted. Raises DataError where there is one only: nothing could be learned."""
        found = sorted(set(chain.from_iterable(table.columns[self.tags])))
        if len(found) < 2:
            raise fault(
                table.name,
                f"all words of its {len(table):,} sentences have the tag {quoted(found[0])}, "
                "expected at least two tags; is data.tags the right column?",
            )
        return tuple(found)

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

    def __init__(self, table: Table, reader: Reader, labels: Sequence[str], config: TaggedData) -> None:
        self.table, self.reader, self.config = table, reader, config
        sentences = table.columns[config.tokens]
        rows, marked, lengths, cut, lost, bare = [], [], [], 0, 0, 0
        for encoding, numbers in zip(reader.read_words(sentences), config.numbers(table, labels), strict=True):
            firsts = first_pieces(encoding.word_ids)
            mark = np.full(len(encoding), NONE, np.int32)
            mark[list(firsts.values())] = [numbers[word] for word in firsts]
            rows.append(Row(np.asarray(encoding.ids, np.int32), np.asarray(encoding.type_ids, np.int32)))
            marked.append(mark)
            lengths.append(len(encoding))
            missed = len(numbers) - len(firsts)
            rest = {word for each in encoding.overflowing for word in each.word_ids if word is not None}
            beyond = len(rest - firsts.keys())
            cut, lost, bare = cut + bool(rest), lost + beyond, bare + missed - beyond
        self.rows, self.marked = rows, Ragged(marked)
        self.lengths = np.asarray(lengths)[:, None]
        words = sum(map(len, sentences))
        unknown = reader.tokenizer.unk
        missing = 0 if unknown is None else sum(int((np.asarray(row.ids) == unknown).sum()) for row in rows)
        strange = missing / sum(lengths)
        notes = [f"words: {words:,}, tags: {len(labels)} ({listed(labels)})"]
        if cut:
            notes.append(
                f"cut to {reader.length} tokens (data.length): {cut:,} sentences ({cut / len(rows):.2%}), "
                f"whose last {lost:,} words ({lost / words:.2%}) are not learned"
            )
        if bare:
            notes.append(f"words of which the tokenizer leaves nothing, not learned: {bare:,} ({bare / words:.2%})")
        self.report = DataReport(
            len(rows),
            [LengthReport(config.tokens, self.lengths[:, 0], strange)],
            {"without a word (data.drop_empty)": table.dropped},
            notes,
        )

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """Row numbers of every batch."""
        return bucket(self.lengths, self.config.tokens_per_batch, seed=self.config.seed, epoch=epoch)

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> TaggedBatch:
        """The tensors of these rows."""
        labels, _ = pad([self.marked[row] for row in rows], NONE)
        return TaggedBatch(self.reader.batch([self.rows[row] for row in rows]), labels)

    def describe(self, rows: Sequence[int] | NDArray[np.int64]) -> str:
        """The first of these rows with its words, and how many more."""
        first = int(rows[0])
        text = " ".join(self.table.columns[self.config.tokens][first])
        return f'{self.table.where(first)} ("{text[:60]}") and {len(rows) - 1} more'


def first_pieces(word_ids: Sequence[int | None]) -> dict[int, int]:
    """word -> the place of its first piece."""
    found: dict[int, int] = {}
    for place, word in enumerate(word_ids):
        if word is not None:
            found.setdefault(word, place)
    return found
