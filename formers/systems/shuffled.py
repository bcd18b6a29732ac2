"""Rows in batches of equal size: the order of pictures, sounds and documents, whatever goes with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from formers.data.batching import first_and_more
from formers.data.media import MediaTable
from formers.data.sources import Table

EPOCH = 1 << 32  # a row number says its epoch, too


class Shuffled:
    """`epoch` and `describe` of a system's batches."""

    def __init__(
        self, table: MediaTable | Table, batch: int, seed: int, weights: NDArray[np.float64] | None = None
    ) -> None:
        """weights: of each row, by which as many are drawn in each epoch, some several times; None: each comes once."""
        self.table, self.batch, self.seed, self.weights = table, batch, seed, weights

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """Row numbers of every batch: a pure function of (seed, epoch). What does not fill a batch waits its turn."""
        count = len(self.table)
        dice, size = np.random.default_rng([self.seed, epoch]), min(self.batch, count)
        starts = range(0, count - size + 1, size)
        if self.weights is None:
            order = dice.permutation(count) + epoch * EPOCH
            return [order[start : start + size] for start in starts]
        order = dice.choice(count, count, p=self.weights / self.weights.sum())
        # each batch counts as an epoch, so that a row that comes again is changed in another way
        return [order[start : start + size] + (epoch * len(starts) + i) * EPOCH for i, start in enumerate(starts)]

    def describe(self, rows: Sequence[int] | NDArray[np.int64]) -> str:
        return first_and_more([int(row) % EPOCH for row in rows], self.table.where)


def epoch_of(rows: Sequence[int] | NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """The epoch of a batch, and its rows of the table."""
    return int(rows[0]) // EPOCH, np.asarray(rows, np.int64) % EPOCH
