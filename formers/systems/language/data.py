"""Text for language models: read, turned into tokens, packed into rows, batched, reported on.

    documents -> Corpus: start d d d end/start d d end ... -> PackedRows (their pieces) or Stream (windows of it all)

Every token of a document, and the end token after it, is to be said once an epoch; the start token never is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from formers.data.batching import first_and_more
from formers.data.documents import read_documents
from formers.data.packing import EVALUATED, PackedRows, Rows, TextBatch, evenly_spread, row_chunks
from formers.data.report import DataReport, LengthReport
from formers.data.source import Source, settings_of
from formers.data.sources import Table
from formers.errors import ConfigError, DataError
from formers.fields import Count, Natural, check

LONG = 100_000  # characters: what is longer is turned into tokens a part at a time, which bounds the memory
SAFE = re.compile(r"(?<=\S)(?=\n)")  # byte-level and character tokenizers have no token across such a place


@dataclass(frozen=True, kw_only=True)
class TextRows:
    """What the documents are, what their tokens are and how these fill the rows of a batch."""

    column: str = "text"
    """Column of a table that holds the text."""
    separator: str = "file"
    """What parts a text file into documents: file (it is one), blank (lines), line, or a mark such as <|endoftext|>."""
    tokenizer: str = "bpe"
    """Trained now: bpe (byte-level, `vocab` tokens) or characters (a token each); or a folder that has a tokenizer."""
    vocab: Natural = 2000
    """Tokens of a byte-level BPE that is trained now."""
    packing: Literal["documents", "stream", "none"] = "documents"
    """Rows of documents that do not see each other, of one endless stream, or none: one (piece of a) document a row."""
    windows: Literal["random", "consecutive"] = "random"
    """Where the rows of a stream begin: at random places, or consecutive ones in random order."""
    length: Count = 0
    """Tokens of a row (0: the model's length)."""
    tokens_per_batch: Natural = 4096
    """Most tokens of a batch, padding included, but at least one row."""

    def __post_init__(self) -> None:
        check(self, "rows")
        if not self.separator:
            raise ConfigError('rows.separator is empty; say "file", "blank", "line" or a mark in the text')

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads the documents, and what it sets aside where there are none to watch."""
        return {
            "reader": read_documents,
            "column": self.column,
            "settings": settings_of(self, "column"),
            "separator": self.separator,
            "set_aside": source.end_of_text(self.column),
        }


class PlainTokenizer(Protocol):
    """What is needed of a tokenizer."""

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]: ...


class Corpus:
    """All documents as one array of tokens: document i is `tokens[first[i] : last[i] + 1]`, from start to end token.

    Where these are the same token, neighbours share it.
    """

    counted: NDArray[np.bool_] | None = None

    def __init__(self, table: Table, column: str, tokenizer: PlainTokenizer, *, start: int, end: int) -> None:
        self.table = table
        texts: list[str] = table.columns[column]
        self.characters = sum(map(len, texts))
        self.sizes = np.zeros(len(texts), np.int64)  # tokens of each text alone
        chunks = []
        for row, ids in _encoded(texts, tokenizer):
            self.sizes[row] += len(ids)
            chunks.append(np.asarray(ids, np.int32))
        shared = int(start == end)
        self.first = np.concatenate([[0], np.cumsum(self.sizes + 2 - shared)])[:-1]
        self.last = self.first + self.sizes + 1
        self.tokens = np.full(int(self.last[-1]) + 1, end, np.int32)
        self.tokens[self.first] = start
        inside = np.ones(len(self.tokens), bool)
        inside[self.first] = inside[self.last] = False
        self.tokens[inside] = np.concatenate(chunks) if chunks else 0

    @property
    def labels(self) -> int:
        """Tokens to be said: those of the texts, and the ends."""
        return int((self.last - self.first).sum())

    def where(self, place: int) -> str:
        """The document that a place in `tokens` belongs to."""
        row = max(0, int(np.searchsorted(self.first, place, "right")) - 1)
        return f"{self.table.where(row)} (token {place - int(self.first[row])})"


class Stream:
    """One endless text, whose windows do not care where documents begin; a row number is its place in the tokens.

    `windows` "random": as many as make up the text, anywhere; "consecutive": side by side, from a new place each epoch.
    """

    def __init__(self, corpus: Corpus, length: int, tokens_per_batch: int, *, seed: int, windows: str) -> None:
        self.corpus, self.length, self.tokens_per_batch = corpus, length, tokens_per_batch
        self.seed, self.windows = seed, windows
        self.spare = len(corpus.tokens) - 1 - length  # the last place where a window may begin
        if self.spare < 0:
            raise DataError(
                f"{corpus.table.name}: {len(corpus.tokens) - 2:,} tokens are too few for a window of {length} and "
                "the token after it; give more text, a shorter model.length or rows.length, or rows.packing=documents"
            )
        self.number = 1 + self.spare // length

    def epoch(self, epoch: int) -> list[Rows]:
        """The row numbers of every batch: a pure function of (seed, epoch)."""
        random = np.random.default_rng([self.seed, epoch])
        if self.windows == "random":
            rows = random.integers(0, self.spare + 1, self.number)
        else:
            start = int(random.integers(0, self.spare % self.length + 1))
            rows = start + self.length * random.permutation(self.number)
        return row_chunks(rows, self.tokens_per_batch // self.length)

    def spread(self, most: int) -> list[Rows]:
        """About `most` windows side by side (0: all), evenly over the text, in batches for evaluation."""
        rows = evenly_spread(self.number, most) * self.length
        return row_chunks(rows, max(self.tokens_per_batch, EVALUATED) // self.length)

    def collate(self, rows: Sequence[int] | Rows) -> TextBatch:
        """The tensors of these rows."""
        places = np.asarray(rows)[:, None] + np.arange(self.length + 1)
        window = torch.from_numpy(self.corpus.tokens[places].astype(np.int64))
        return TextBatch(window[:, :-1], window[:, 1:])

    def describe(self, rows: Sequence[int] | Rows) -> str:
        """Where the first of these rows begins, and how many more."""
        return first_and_more(rows, self.corpus.where, "row(s)")

    def notes(self) -> list[str]:
        """How the rows are filled, for the report."""
        if self.windows == "random":
            return [f"stream: {self.number:,} windows of {self.length} tokens at random places an epoch; no padding"]
        return [
            f"stream: {self.number:,} consecutive windows of {self.length} tokens; no padding; "
            f"{self.spare % self.length} tokens at the borders are left out of an epoch, others each time"
        ]


def rows_of(
    corpus: Corpus, config: TextRows, length: int, *, seed: int, windows: str | None = None
) -> PackedRows[Corpus] | Stream:
    """The rows that a recipe asks for; `windows` instead of its own."""
    if config.packing == "stream":
        return Stream(corpus, length, config.tokens_per_batch, seed=seed, windows=windows or config.windows)
    together = config.packing == "documents"
    return PackedRows(corpus, length, config.tokens_per_batch, seed=seed, together=together)


def report_on(corpus: Corpus, rows: PackedRows[Corpus] | Stream, column: str, unknown: int | None) -> DataReport:
    """What is in the documents and how it is packed; `unknown`: the id of that token, if there is one."""
    tokens = int(corpus.sizes.sum())
    missed = 0 if unknown is None else int((corpus.tokens == unknown).sum())
    share = corpus.characters / max(1, tokens)
    return DataReport(
        len(corpus.sizes),
        [LengthReport(column, corpus.sizes, missed / max(1, tokens))],
        {"empty documents (data.drop_empty)": corpus.table.dropped},
        [f"text: {corpus.characters:,} characters, {tokens:,} tokens ({share:.2f} characters each)", *rows.notes()],
    )


def _encoded(texts: Sequence[str], tokenizer: PlainTokenizer) -> Iterator[tuple[int, list[int]]]:
    """(row, ids) of every text or part of a long one, in order, encoded about ten long parts at a time."""
    waiting: list[tuple[int, str]] = []
    size = 0
    for row, text in enumerate(texts):
        for part in _parts(text):
            waiting.append((row, part))
            size += len(part)
            if size > 10 * LONG:
                yield from _encode(waiting, tokenizer)
                waiting, size = [], 0
    yield from _encode(waiting, tokenizer)


def _encode(parts: list[tuple[int, str]], tokenizer: PlainTokenizer) -> Iterator[tuple[int, list[int]]]:
    return zip([row for row, _ in parts], tokenizer.encode_plain([part for _, part in parts]), strict=True)


def _parts(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > 2 * LONG and (place := SAFE.search(text, start + LONG)):
        yield text[start : place.start()]
        start = place.start()
    yield text[start:]
