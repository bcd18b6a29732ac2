"""Which rows go into a batch together, and how sequences of unequal length become one tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Ragged:
    """Many integer sequences in one flat array: a million sentences cost four bytes a token, not an object each."""

    def __init__(self, sequences: Sequence[Sequence[int] | NDArray[np.int32]]) -> None:
        self.lengths = np.fromiter((len(s) for s in sequences), np.int64, len(sequences))
        self.ends = np.cumsum(self.lengths)
        self.flat = np.empty(int(self.ends[-1]) if len(sequences) else 0, np.int32)
        for sequence, end in zip(sequences, self.ends, strict=True):
            self.flat[end - len(sequence) : end] = sequence

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        end = self.ends[row]
        return self.flat[end - self.lengths[row] : end]


def pad(sequences: Sequence[Sequence[int] | NDArray[np.int32]], value: int) -> tuple[Tensor, Tensor | None]:
    """(rows, longest) filled up with `value` on the right, and which are real; None where no row is shorter."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    real = np.arange(lengths.max()) < lengths[:, None]
    tokens = np.full(real.shape, value, np.int64)
    tokens[real] = np.concatenate([np.asarray(sequence, np.int64) for sequence in sequences])
    return torch.from_numpy(tokens), None if real.all() else torch.from_numpy(real)


def pack(sizes: NDArray[np.int64], length: int) -> list[list[int]]:
    """Pieces put together in rows of at most `length`: the piece numbers of each row.

    Best fit decreasing: the largest piece first, each into the fullest row that has room for it. No size may be
    larger than `length`. Deterministic.
    """
    rows: list[list[int]] = []
    room: list[list[int]] = [[] for _ in range(length + 1)]  # free places -> the rows that have so many
    some = 0  # bit i: a row with i free places exists
    for piece in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[piece])
        fitting = some >> size
        if fitting:
            free = size + (fitting & -fitting).bit_length() - 1
            row = room[free].pop()
            some &= ~(1 << free) if not room[free] else -1
        else:
            free, row = length, len(rows)
            rows.append([])
        rows[row].append(piece)
        room[free - size].append(row)
        some |= 1 << (free - size)
    return rows


def bucket(lengths: NDArray[np.int64], tokens: int, *, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Row numbers of each batch of one epoch: a pure function of its arguments.

    lengths: (rows, sides). A batch holds rows of similar lengths, at most `tokens` of the longest side, padding
    included, but at least one row. Rows of equal length mix anew, and batches come in a new order, each epoch.
    """
    random = np.random.default_rng([seed, epoch])
    shuffled = random.permutation(len(lengths))
    order = shuffled[np.lexsort(lengths[shuffled].T)]  # stable: ties stay shuffled
    longest = lengths.max(1)[order]
    batches, start, width = [], 0, 0
    for end in range(len(order)):
        width = max(width, int(longest[end]))
        if end > start and width * (end + 1 - start) > tokens:
            batches.append(order[start:end])
            start, width = end, int(longest[end])
    if start < len(order):
        batches.append(order[start:])
    return [batches[i] for i in random.permutation(len(batches))]


class Buckets:
    """What every epoch's batches are and what a fault calls them: `epoch` and `describe` of a system's batches.

    A system's class keeps its own `collate` and takes these two over:

        order = Buckets(lengths, config.tokens_per_batch, seed=source.seed, where=table.where)
        self.epoch, self.describe = order.epoch, order.describe
    """

    def __init__(
        self, lengths: NDArray[np.int64], tokens: int, *, seed: int, where: Callable[[int], str], unit: str = ""
    ) -> None:
        """lengths: (rows,) or (rows, sides); tokens: most of a batch; where: a row in words; unit: what "more" are."""
        self.lengths = lengths.reshape(len(lengths), -1)
        self.tokens, self.seed, self.where, self.unit = tokens, seed, where, unit

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """Row numbers of every batch: a pure function of (seed, epoch)."""
        return bucket(self.lengths, self.tokens, seed=self.seed, epoch=epoch)

    def describe(self, rows: Sequence[int] | NDArray[np.int64]) -> str:
        """The first of these rows, and how many more."""
        return first_and_more(rows, self.where, self.unit)


def first_and_more(rows: Sequence[int] | NDArray[np.int64], where: Callable[[int], str], unit: str = "") -> str:
    """`train.tsv, line 17 and 3 more`, with a unit `... and 3 more row(s)`."""
    return f"{where(int(rows[0]))} and {len(rows) - 1} more {unit}".rstrip()


def chunks(lengths: Sequence[int] | NDArray[np.int64], tokens: int) -> list[NDArray[np.int64]]:
    """Row numbers of each batch for a reading in one pass: longest first, at most `tokens` with padding, at least one
    row."""
    sizes = np.asarray(lengths, np.int64)
    order = np.argsort(-sizes, kind="stable")
    batches, start = [], 0
    while start < len(order):
        end = start + max(1, tokens // max(1, int(sizes[order[start]])))
        batches.append(order[start:end])
        start = end
    return batches
