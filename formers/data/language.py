"""Text for language models: read, turned into tokens, packed into rows, batched, reported on.

    documents -> Corpus: start d d d end/start d d end ... -> Packed (pieces of documents) or Stream (windows of it all)

Every token of a document, and the end token after it, is to be said once an epoch; the start token never is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import bucket, pack
from formers.data.documents import cut, read_documents
from formers.data.report import DataReport, LengthReport
from formers.data.sources import Table
from formers.errors import ConfigError, DataError, nearest

PACKINGS = ("documents", "stream", "none")
WINDOWS = ("random", "consecutive")
LONG = 100_000  # characters: what is longer is turned into tokens a part at a time, which bounds the memory
SAFE = re.compile(r"(?<=\S)(?=\n)")  # byte-level and character tokenizers have no token across such a place
EVALUATED = 8192  # tokens of a batch that needs no gradients
Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class TextData:
    """Where the text comes from, what its tokens are and how they fill the rows of a batch."""

    train: str = "builtin:prose"
    """Text to learn from: .txt, a pattern or folder of them, .jsonl .csv .parquet, hf:owner/name, builtin:prose."""
    validation: str = ""
    """Text to watch while training; empty: the source's own validation split, or else the end of the training text."""
    test: str = ""
    """Text to judge with in the end (formers evaluate); empty: the source's own test split, or else `validation`."""
    column: str = "text"
    """Column of a table that holds the text."""
    separator: str = "file"
    """What parts a text file into documents: file (it is one), blank (lines), line, or a mark such as <|endoftext|>."""
    count: int = 0
    """How many training documents to take from the front (0: all there are)."""
    held_out: float = 0.1
    """Share of the training text that is set aside, from its end, where there is no validation text."""
    tokenizer: str = "bpe"
    """Trained now: bpe (byte-level, `vocab` tokens) or characters (a token each); or a folder that has a tokenizer."""
    vocab: int = 2000
    """Tokens of a byte-level BPE that is trained now."""
    packing: str = "documents"
    """Rows of documents that do not see each other, of one endless stream, or none: one (piece of a) document a row."""
    windows: str = "random"
    """Where the rows of a stream begin: at random places, or consecutive ones in random order."""
    length: int = 0
    """Tokens of a row (0: the model's length)."""
    tokens_per_batch: int = 4096
    """Most tokens of a batch, padding included, but at least one row."""
    drop_empty: bool = False
    """Leave out empty documents instead of refusing them."""
    seed: int = 1
    """Seed of the order of the data."""

    def __post_init__(self) -> None:
        for name, known in (("packing", PACKINGS), ("windows", WINDOWS)):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f'data.{name} "{getattr(self, name)}" is not known{nearest(getattr(self, name), known)}'
                )
        for name, least in (("count", 0), ("length", 0), ("tokens_per_batch", 1), ("vocab", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"data.{name} ({getattr(self, name)}) must be at least {least}")
        if not 0 < self.held_out < 1:
            raise ConfigError(f"data.held_out ({self.held_out}) must be between 0 and 1")
        if not self.separator:
            raise ConfigError('data.separator is empty; say "file", "blank", "line" or a mark in the text')

    def read(self, part: str) -> Table | None:
        """The documents of "train", "validation" or "test"; None where not named and the source has none."""
        if not self.train:
            raise ConfigError("data.train is empty: say what to learn from, for example --set data.train=book.txt")
        name = {"train": self.train, "validation": self.validation, "test": self.test}[part]
        if not name and self.train.startswith(("builtin:", "hf:")):
            name = self.train
        if not name:
            return None
        return read_documents(
            name,
            column=self.column,
            separator=self.separator,
            split=part,
            seed=self.seed,
            count=self.count or None if part == "train" else None,
            drop_empty=self.drop_empty,
        )

    def tables(self) -> tuple[Table, Table]:
        """Training and validation documents."""
        train = self.read("train")
        assert train is not None
        validation = self.read("validation")
        return cut(train, self.column, self.held_out) if validation is None else (train, validation)


class PlainTokenizer(Protocol):
    """What is needed of a tokenizer."""

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]: ...


@dataclass(frozen=True)
class TextBatch:
    """`labels` are the tokens to say after each of `tokens`, `real` where they count (None: everywhere).

    All are (rows, length). `documents` numbers the texts of each row (None: one text a row), as in `Mask`.
    """

    tokens: Tensor
    labels: Tensor
    documents: Tensor | None = None
    real: Tensor | None = None


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


class Documents(Protocol):
    """What packing needs of texts: document i is `tokens[first[i] : last[i] + 1]`, and no label goes beyond it."""

    @property
    def tokens(self) -> NDArray[np.int32]: ...
    @property
    def counted(self) -> NDArray[np.bool_] | None:
        """Which tokens are to be said (None: all)."""

    @property
    def first(self) -> NDArray[np.int64]: ...
    @property
    def last(self) -> NDArray[np.int64]: ...
    @property
    def sizes(self) -> NDArray[np.int64]: ...
    @property
    def labels(self) -> int: ...
    def where(self, place: int) -> str: ...


Texts = TypeVar("Texts", bound=Documents)


class Packed(Generic[Texts]):
    """Rows of pieces of documents; a piece is a whole document, or `length` tokens of a longer one.

    `together`: as many pieces in a row as fit, none seeing another. Which pieces share a row is decided once, not
    every epoch: they do not see each other, so nothing is learned from new company.
    """

    def __init__(self, corpus: Texts, length: int, tokens_per_batch: int, *, seed: int, together: bool) -> None:
        self.corpus, self.length, self.tokens_per_batch = corpus, length, tokens_per_batch
        self.seed, self.together = seed, together
        labels = corpus.last - corpus.first
        number = -(-labels // length)  # pieces of each document
        owner = np.repeat(np.arange(len(labels)), number)
        inside = (np.arange(len(owner)) - np.repeat(np.cumsum(number) - number, number)) * length
        self.begin = corpus.first[owner] + inside
        self.size = np.minimum(labels[owner] - inside, length)
        self.cut = int((number > 1).sum())
        self.rows = pack(self.size, length) if together else [[piece] for piece in range(len(owner))]
        self.width = np.array([self.size[row].sum() for row in self.rows])

    def epoch(self, epoch: int) -> list[Rows]:
        """The row numbers of every batch: a pure function of (seed, epoch)."""
        if not self.together:
            return bucket(self.width[:, None], self.tokens_per_batch, seed=self.seed, epoch=epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
        return _chunks(order, self.tokens_per_batch // self.length)

    def spread(self, most: int) -> list[Rows]:
        """About `most` rows (0: all), evenly over the text, in batches for evaluation."""
        return _chunks(_evenly(len(self.rows), most), max(self.tokens_per_batch, EVALUATED) // self.length)

    def collate(self, rows: Sequence[int] | Rows) -> TextBatch:
        """The tensors of these rows, as wide as the fullest."""
        width = max(int(self.width[row]) for row in rows)
        tokens = np.full((len(rows), width), self.corpus.tokens[-1], np.int64)
        labels = np.zeros((len(rows), width), np.int64)
        number = np.zeros((len(rows), width), np.int64)
        real = np.zeros((len(rows), width), bool)
        for i, row in enumerate(rows):
            at = 0
            for count, piece in enumerate(self.rows[row]):
                begin, size = int(self.begin[piece]), int(self.size[piece])
                tokens[i, at : at + size] = self.corpus.tokens[begin : begin + size]
                labels[i, at : at + size] = self.corpus.tokens[begin + 1 : begin + size + 1]
                number[i, at : at + size] = count
                counted = self.corpus.counted
                real[i, at : at + size] = True if counted is None else counted[begin + 1 : begin + size + 1]
                at += size
            number[i, at:] = len(self.rows[row])
        alone = all(len(self.rows[row]) == 1 for row in rows)  # padding on the right is seen by nobody anyway
        return TextBatch(
            torch.from_numpy(tokens),
            torch.from_numpy(labels),
            None if alone else torch.from_numpy(number),
            None if real.all() else torch.from_numpy(real),
        )

    def describe(self, rows: Sequence[int] | Rows) -> str:
        """The first document of these rows, and how many more rows."""
        return f"{self.corpus.where(int(self.begin[self.rows[rows[0]][0]]))} and {len(rows) - 1} more row(s)"

    def notes(self) -> list[str]:
        """How the rows are filled, for the report."""
        pieces, documents = len(self.size), len(self.corpus.sizes)
        if self.together:
            places = len(self.rows) * self.length
            kind = f"{len(self.rows):,} rows of {self.length} tokens hold {pieces:,} pieces, none of which sees another"
        else:
            places = sum(len(rows) * int(self.width[rows].max()) for rows in self.epoch(0))
            kind = f"{len(self.rows):,} rows, a piece each"
        return [
            f"packing: {kind}; padding {1 - self.corpus.labels / places:.1%}",
            f"cut: {self.cut:,} of {documents:,} documents ({self.cut / documents:.1%}) are longer than {self.length} "
            "tokens and cut into pieces; nothing is dropped",
        ]


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
                "the token after it; give more text, a shorter model.length or data.length, or data.packing=documents"
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
        return _chunks(rows, self.tokens_per_batch // self.length)

    def spread(self, most: int) -> list[Rows]:
        """About `most` windows side by side (0: all), evenly over the text, in batches for evaluation."""
        rows = _evenly(self.number, most) * self.length
        return _chunks(rows, max(self.tokens_per_batch, EVALUATED) // self.length)

    def collate(self, rows: Sequence[int] | Rows) -> TextBatch:
        """The tensors of these rows."""
        places = np.asarray(rows)[:, None] + np.arange(self.length + 1)
        window = torch.from_numpy(self.corpus.tokens[places].astype(np.int64))
        return TextBatch(window[:, :-1], window[:, 1:])

    def describe(self, rows: Sequence[int] | Rows) -> str:
        """Where the first of these rows begins, and how many more."""
        return f"{self.corpus.where(int(rows[0]))} and {len(rows) - 1} more row(s)"

    def notes(self) -> list[str]:
        """How the rows are filled, for the report."""
        if self.windows == "random":
            return [f"stream: {self.number:,} windows of {self.length} tokens at random places an epoch; no padding"]
        return [
            f"stream: {self.number:,} consecutive windows of {self.length} tokens; no padding; "
            f"{self.spare % self.length} tokens at the borders are left out of an epoch, others each time"
        ]


def rows_of(corpus: Corpus, config: TextData, length: int, *, windows: str | None = None) -> Packed | Stream:
    """The rows that a recipe asks for; `windows` instead of its own."""
    if config.packing == "stream":
        return Stream(corpus, length, config.tokens_per_batch, seed=config.seed, windows=windows or config.windows)
    together = config.packing == "documents"
    return Packed(corpus, length, config.tokens_per_batch, seed=config.seed, together=together)


def report_on(corpus: Corpus, rows: Packed | Stream, column: str, unknown: int | None) -> DataReport:
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
    while len(text) - start > 2 * LONG and (found := SAFE.search(text, start + LONG)):
        yield text[start : found.start()]
        start = found.start()
    yield text[start:]


def _evenly(number: int, most: int) -> Rows:
    if not most or most >= number:
        return np.arange(number)
    return np.linspace(0, number - 1, most).astype(np.int64)


def _chunks(rows: Rows, size: int) -> list[Rows]:
    size = max(1, size)
    return [rows[i : i + size] for i in range(0, len(rows), size)]
