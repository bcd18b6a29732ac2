"""Pictures in the size that a model reads them in: decoded when they are first asked for, kept where they have room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.decoded import DecodedRows
from formers.data.pictures import PictureTable
from formers.images.preprocess import Preprocessor

KEPT_MOST = 2**31  # bytes of pixels in memory


class Pixels:
    """The pixels of a table of pictures; the same whenever and wherever asked, also by several threads."""

    def __init__(self, table: PictureTable, preprocessor: Preprocessor, *, unreadable: int = 0) -> None:
        """unreadable: how many pictures may turn out to be broken; see `DecodedRows`."""
        self.table, self.preprocessor = table, preprocessor
        self.rows = DecodedRows(table, self._decoded, unreadable=unreadable)
        self.refused = self.rows.refused
        shape = (len(table), len(preprocessor.mean), preprocessor.height, preprocessor.width)
        self.kept = torch.empty(shape, dtype=torch.uint8) if np.prod(shape) <= KEPT_MOST else None  # not touched yet
        self.there = np.zeros(len(table), bool)

    def __len__(self) -> int:
        return len(self.table)

    def _decoded(self, row: int) -> Tensor:
        return self.preprocessor.pixels(self.table.image(row))

    def read(self, rows: Sequence[int] | NDArray[np.int64], *, some: bool = True) -> tuple[NDArray[np.int64], Tensor]:
        """The rows that can be read, in order, and their pixels, (rows, channels, height, width), uint8.

        Raises DataError for a picture that is none, where too many are, and where none of `some` is left, or of all.
        """
        numbers = np.asarray(rows, np.int64)
        pixels = self.rows(row for row in numbers if not self.there[row])
        if self.kept is not None:
            for row, value in pixels.items():
                self.kept[row] = value
                self.there[row] = True
        numbers = self.rows.usable(numbers, some=some)
        if self.kept is not None:
            return numbers, self.kept[torch.from_numpy(numbers)]
        return numbers, torch.stack([pixels[int(row)] for row in numbers]) if len(numbers) else torch.empty(0)

    def sample(self, most: int) -> Tensor:
        """The pixels of at most so many pictures from all over the table."""
        return self.read(np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).astype(int)))[1]


def statistics(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of pixels of 0 to 255, as shares of 255."""
    values = pixels.transpose(0, 1).flatten(1).double() / 255
    mean, spread = values.mean(1), values.std(1).clamp(min=1 / 255)
    return tuple(round(float(x), 4) for x in mean), tuple(round(float(x), 4) for x in spread)
