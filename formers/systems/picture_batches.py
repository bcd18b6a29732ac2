"""What all batches of pictures have, whatever goes with a picture: their order, and how their pictures are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from formers.data.pictures import PictureTable
from formers.data.pixels import Pixels
from formers.images.augment import Augmentation
from formers.images.preprocess import Preprocessor
from formers.systems.shuffled import Shuffled, epoch_of

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
        order = Shuffled(table, config.batch, seed)
        self.epoch, self.describe = order.epoch, order.describe
        self.pixels = Pixels(table, preprocessor, unreadable=config.unreadable)

    def changed(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[int, NDArray[np.int64], Tensor]:
        """The epoch, the rows that can be read, and their pictures, changed at random: a pure function of seed, epoch
        and row."""
        epoch, numbers = epoch_of(rows)
        numbers, pixels = self.pixels.read(numbers)
        pixels = self.config.augmentation(pixels, [(self.seed, epoch, int(row)) for row in numbers])
        return epoch, numbers, self.pixels.preprocessor.normalise(pixels)

    def plain(self) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """(rows, pictures) of some at a time, unchanged and in order; of what can be read."""
        for start in range(0, len(self.table), AT_ONCE):
            rows, pixels = self.pixels.read(range(start, min(start + AT_ONCE, len(self.table))), some=False)
            if len(rows):
                yield rows, self.pixels.preprocessor.normalise(pixels)
