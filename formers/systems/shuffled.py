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

    def __init__(self, table: MediaTable | Table, batch: int, seed: int) -> None:
        self.table, self.batch, self.seed = table, batch, seed

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """Row numbers of every batch: a pure function of (seed, epoch). What does not fill a batch waits its turn."""
        count = len(self.table)
        order = np.random.default_rng([self.seed, epoch]).permutation(count) + epoch * EPOCH
        size = min(self.batch, count)
        return [order[start : start + size] for start in range(0, count - size + 1, size)]

    def describe(self, rows: Sequence[int] | NDArray[np.int64]) -> str:
        return first_and_more([int(row) % EPOCH for row in rows], self.table.where)


def epoch_of(rows: Sequence[int] | NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """The epoch of a batch, and its rows of the table."""
    return int(rows[0]) // EPOCH, np.asarray(rows, np.int64) % EPOCH
