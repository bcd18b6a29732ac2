"""What all batches of pictures have, whatever goes with a picture: their order, and how their pictures are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from formers.data.pictures import PictureTable
from formers.data.pixels import KEPT_MOST, Pixels
from formers.errors import DataError
from formers.fields import Count, Natural, Part, check
from formers.images.augment import PLAIN, Augmentation
from formers.images.preprocess import Preprocessor
from formers.systems.shuffled import Shuffled, epoch_of

T = TypeVar("T")

AT_ONCE = 256  # pictures that are evaluated together


@dataclass(frozen=True, kw_only=True)
class PictureRows:
    """How the pictures of a section [rows] are read, changed while training, and batched."""

    fit: Literal["crop", "squash"] = "crop"
    """How pictures of other shapes come to a new model's size: the middle is taken, or the whole is squashed."""
    batch: Natural = 64
    """Pictures of a batch; where captions go with them, each learns not to be like those of all others."""
    unreadable: Count = 0
    """How many pictures may turn out to be broken: each is said and left out; one more ends the run."""
    augmentation: Annotated[Augmentation, Part()] = PLAIN
    """Random changes while training."""

    def __post_init__(self) -> None:
        check(self, "rows")

    def anew(self, train: Any, count: int, numbers: int) -> str:
        """Why what never learns computes its outputs anew in each step: empty where once is the same and pays.

        train: the section [train]; count: of pictures; numbers: of an output.
        """
        pictures = train.steps * train.accumulate * self.batch
        if self.augmentation != PLAIN:
            return "pictures are changed at random"
        if pictures < count:
            return f"training reads {pictures:,} of {count:,} pictures"
        return "" if 4 * count * numbers <= KEPT_MOST else f"{count:,} x {numbers:,} numbers would not fit into memory"


PLAIN_ROWS = PictureRows()


class PictureOrder:
    """The pictures of a table in batches of equal size; `epoch`, `describe` and `plain` of a system's batches.

    A system's class keeps its own `collate`, which asks for `changed`, and takes these over, as with `Buckets`.
    """

    def __init__(
        self,
        table: PictureTable,
        preprocessor: Preprocessor,
        config: PictureRows,
        *,
        seed: int,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        """weights: see `Shuffled`."""
        self.table, self.config, self.seed = table, config, seed
        order = Shuffled(table, config.batch, seed, weights)
        self.epoch, self.describe = order.epoch, order.describe
        self.pixels = Pixels(table, preprocessor, unreadable=config.unreadable)
        self.once: Callable[[Iterable[Tensor]], Tensor] | None = None
        """What stands for the pictures of a batch, of a part that never learns and sees them unchanged."""

    def changed(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[int, NDArray[np.int64], Tensor]:
        """The epoch, the rows that can be read, and their pictures, changed at random, or what stands `once` for them:
        a pure function of seed, epoch and row."""
        epoch, numbers = epoch_of(rows)
        if self.once is not None:
            readable, vectors = self.kept
            numbers = numbers[np.isin(numbers, readable)]
            if not len(numbers):
                raise DataError(f"{self.describe(rows)}: none of these {len(rows)} pictures can be read")
            return epoch, numbers, vectors[np.searchsorted(readable, numbers)]
        numbers, pixels = self.pixels.read(numbers)
        pixels = self.config.augmentation(pixels, [(self.seed, epoch, int(row)) for row in numbers])
        return epoch, numbers, self.pixels.preprocessor.normalise(pixels)

    def plain(self) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """(rows, pictures) of some at a time, unchanged and in order; of what can be read."""
        for start in range(0, len(self.table), AT_ONCE):
            rows, pixels = self.pixels.read(range(start, min(start + AT_ONCE, len(self.table))), some=False)
            if len(rows):
                yield rows, self.pixels.preprocessor.normalise(pixels)

    def encoded(self, encode: Callable[[Iterator[Tensor]], T]) -> tuple[NDArray[np.int64], T]:
        """The rows that can be read, and what `encode` makes of their pictures, unchanged and in order."""
        rows: list[NDArray[np.int64]] = []

        def pictures() -> Iterator[Tensor]:
            for numbers, tensors in self.plain():
                rows.append(numbers)
                yield tensors

        outputs = encode(pictures())
        return np.concatenate(rows), outputs

    @cached_property
    def kept(self) -> tuple[NDArray[np.int64], Tensor]:
        """The same of `once`, computed when first asked for: in groups of neighbours, so a row has the same bits in
        whatever batch it comes first, and after a stop."""
        assert self.once is not None
        return self.encoded(self.once)
