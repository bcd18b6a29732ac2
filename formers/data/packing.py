"""Rows of several documents that do not see each other: what is read, what is to be said, in which order.

documents (one array of tokens) -> pieces -> PackedRows: rows of pieces, batches of rows -> TextBatch
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import bucket, first_and_more, pack

MOSTLY = 0.5  # the share of padding from which on it is named as a fault of the sizes
EVALUATED = 8192  # tokens of a batch that needs no gradients
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class TextBatch:
    """`labels` are the tokens to say after each of `tokens`, `real` where they count (None: everywhere).

    All are (rows, length). `documents` numbers the texts of each row (None: one text a row), as in `Mask`.
    """

    tokens: Tensor
    labels: Tensor
    documents: Tensor | None = None
    real: Tensor | None = None


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


class PackedRows(Generic[Texts]):
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
        self.room = int(self.width.max(initial=1))
        """Tokens of the fullest row: what every row is as wide as at most, and how many fit into a batch."""

    def epoch(self, epoch: int) -> list[Rows]:
        """The row numbers of every batch: a pure function of (seed, epoch)."""
        if not self.together:
            return bucket(self.width[:, None], self.tokens_per_batch, seed=self.seed, epoch=epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
        return row_chunks(order, self.tokens_per_batch // self.room)

    def spread(self, most: int) -> list[Rows]:
        """About `most` rows (0: all), evenly over the text, in batches for evaluation."""
        return row_chunks(evenly_spread(len(self.rows), most), max(self.tokens_per_batch, EVALUATED) // self.room)

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
        return first_and_more(rows, lambda row: self.corpus.where(int(self.begin[self.rows[row][0]])), "row(s)")

    def notes(self) -> list[str]:
        """How the rows are filled, for the report."""
        pieces, documents = len(self.size), len(self.corpus.sizes)
        if self.together:
            places = len(self.rows) * self.room
            kind = f"{len(self.rows):,} rows of {self.room} tokens hold {pieces:,} pieces, none of which sees another"
        else:
            places = sum(len(rows) * int(self.width[rows].max()) for rows in self.epoch(0))
            kind = f"{len(self.rows):,} rows, a piece each"
        padding = 1 - self.corpus.labels / places
        fix = ", most of a batch: set rows.length so that rows are fuller" if padding > MOSTLY else ""
        return [
            f"packing: {kind}; padding {padding:.1%}{fix}",
            f"cut: {self.cut:,} of {documents:,} documents ({self.cut / documents:.1%}) are longer than {self.length} "
            "tokens and cut into pieces; nothing is dropped",
        ]


def evenly_spread(number: int, most: int) -> Rows:
    if not most or most >= number:
        return np.arange(number)
    return np.linspace(0, number - 1, most).astype(np.int64)


def row_chunks(rows: Rows, size: int) -> list[Rows]:
    size = max(1, size)
    return [rows[i : i + size] for i in range(0, len(rows), size)]
