"""Pictures in the size that a model reads them in: decoded when they are first asked for, kept where they have room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.bad_rows import are_left_out, refuse
from formers.data.pictures import PictureTable
from formers.errors import DataError
from formers.images.preprocess import Preprocessor
from formers.notes import note

KEPT_MOST = 2**31  # bytes of pixels in memory


class Pixels:
    """The pixels of a table of pictures; the same whenever and wherever asked, also by several threads."""

    def __init__(self, table: PictureTable, preprocessor: Preprocessor, *, unreadable: int = 0) -> None:
        """unreadable: how many pictures may turn out to be broken; each is noted with its place and left out.

        Where bad rows are left out anyway (`bad_rows`) that is said there, and of any number.
        """
        self.table, self.preprocessor, self.unreadable = table, preprocessor, unreadable
        shape = (len(table), len(preprocessor.mean), preprocessor.height, preprocessor.width)
        self.kept = torch.empty(shape, dtype=torch.uint8) if np.prod(shape) <= KEPT_MOST else None  # not touched yet
        self.there = np.zeros(len(table), bool)
        self.refused: dict[int, DataError] = {}
        self.threads = ThreadPoolExecutor(max(1, torch.get_num_threads()), "pictures")

    def __len__(self) -> int:
        return len(self.table)

    def read(self, rows: Sequence[int] | NDArray[np.int64], *, some: bool = True) -> tuple[NDArray[np.int64], Tensor]:
        """The rows that can be read, in order, and their pixels, (rows, channels, height, width), uint8.

        Raises DataError for a picture that is none, where too many are, and where none of `some` is left, or of all.
        """
        numbers = np.asarray(rows, np.int64)
        missing = [int(row) for row in numbers if not self.there[row] and row not in self.refused]
        decode: Callable[..., object] = self.threads.map if len(missing) > 1 else map
        pixels = dict(zip(missing, decode(self._decoded, missing), strict=True))  # type: ignore[call-overload]
        for row, value in pixels.items():
            if isinstance(value, DataError):
                self._leave_out(row, value)
            elif self.kept is not None:
                self.kept[row] = value
                self.there[row] = True
        numbers = np.array([row for row in numbers if row not in self.refused], np.int64)
        if not len(numbers) and (some or len(self.refused) == len(self)):
            raise DataError(f"{self.table.where(int(rows[0]))}: none of these {len(rows)} pictures can be read")
        if self.kept is not None:
            return numbers, self.kept[torch.from_numpy(numbers)]
        return numbers, torch.stack([pixels[int(row)] for row in numbers]) if len(numbers) else torch.empty(0)

    def sample(self, most: int) -> Tensor:
        """The pixels of at most so many pictures from all over the table."""
        return self.read(np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).astype(int)))[1]

    def _decoded(self, row: int) -> Tensor | DataError:
        try:
            image = self.table.image(row)
        except DataError as error:
            return error
        try:
            return self.preprocessor.pixels(image)
        except DataError as error:
            return DataError(f"{self.table.named(row)}: {error}")

    def _leave_out(self, row: int, error: DataError) -> None:
        if are_left_out():
            refuse(error)
            self.refused[row] = error
            return
        if len(self.refused) >= self.unreadable:
            most = f" (the {len(self.refused) + 1}th that cannot be read)" if self.refused else ""
            more = f"remove it, or let more be left out: --set rows.unreadable={max(10, 2 * self.unreadable)}"
            raise DataError(f"{error}{most}; {more}")
        self.refused[row] = error
        note(f"left out ({len(self.refused)} of at most {self.unreadable}): {error}")


def statistics(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of pixels of 0 to 255, as shares of 255."""
    values = pixels.transpose(0, 1).flatten(1).double() / 255
    mean, spread = values.mean(1), values.std(1).clamp(min=1 / 255)
    return tuple(round(float(x), 4) for x in mean), tuple(round(float(x), 4) for x in spread)
