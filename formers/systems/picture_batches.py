"""What all batches of pictures have, whatever goes with a picture: their order, and how their pictures are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import first_and_more
from formers.data.pictures import PictureTable
from formers.data.pixels import Pixels
from formers.images.augment import Augmentation
from formers.images.preprocess import Preprocessor

EPOCH = 1 << 32  # a row number says its epoch, too
AT_ONCE = 256  # pictures that are evaluated together


class PictureRows(Protocol):
    """What a section [rows] says of pictures."""

    @property
    def batch(self) -> int: ...
    @property
    def unreadable(self) -> int: ...
    @property
    def augmentation(self) -> Augmentation: ...


class PictureOrder:
    """The pictures of a table in batches of equal size; `epoch`, `describe` and `plain` of a system's batches.

    A system's class keeps its own `collate`, which asks for `changed`, and takes these over, as with `Buckets`.
    """

    def __init__(self, table: PictureTable, preprocessor: Preprocessor, config: PictureRows, *, seed: int) -> None:
        self.table, self.config, self.seed = table, config, seed
        self.pixels = Pixels(table, preprocessor, unreadable=config.unreadable)

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """Row numbers of every batch: a pure function of (seed, epoch). What does not fill a batch waits its turn."""
        count = len(self.table)
        order = np.random.default_rng([self.seed, epoch]).permutation(count) + epoch * EPOCH
        size = min(self.config.batch, count)
        return [order[start : start + size] for start in range(0, count - size + 1, size)]

    def describe(self, rows: Sequence[int] | NDArray[np.int64]) -> str:
        return first_and_more([int(row) % EPOCH for row in rows], self.table.where)

    def changed(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[int, NDArray[np.int64], Tensor]:
        """The epoch, the rows that can be read, and their pictures, changed at random: a pure function of seed, epoch
        and row."""
        epoch = int(rows[0]) // EPOCH
        numbers, pixels = self.pixels.read(np.asarray(rows, np.int64) % EPOCH)
        pixels = self.config.augmentation(pixels, [(self.seed, epoch, int(row)) for row in numbers])
        return epoch, numbers, self.pixels.preprocessor.normalise(pixels)

    def plain(self) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """(rows, pictures) of some at a time, unchanged and in order; of what can be read."""
        for start in range(0, len(self.table), AT_ONCE):
            rows, pixels = self.pixels.read(range(start, min(start + AT_ONCE, len(self.table))), some=False)
            if len(rows):
                yield rows, self.pixels.preprocessor.normalise(pixels)
