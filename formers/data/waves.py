"""Sounds at the rate that a model reads them at: decoded when they are first asked for, kept where they have room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from formers.data.decoded import DecodedRows
from formers.data.sounds import SoundTable
from formers.sound.decode import Samples, resampled

KEPT_MOST = 2**31  # bytes of samples in memory: nine hours at 16 kHz


class Waves:
    """The samples of a table of sounds; the same whenever and wherever asked, also by several threads."""

    def __init__(self, table: SoundTable, rate: int, *, unreadable: int = 0) -> None:
        """unreadable: how many sounds may turn out to be broken; see `DecodedRows`."""
        self.table, self.rate = table, rate
        self.rows = DecodedRows(table, self._decoded, unreadable=unreadable)
        self.refused = self.rows.refused
        self.kept: dict[int, Samples] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self.table)

    def read(
        self, rows: Sequence[int] | NDArray[np.int64], *, some: bool = True
    ) -> tuple[NDArray[np.int64], list[Samples]]:
        """The rows that can be read, in order, and their samples. Raises DataError as `Pixels.read` does."""
        numbers = np.asarray(rows, np.int64)
        fresh = self.rows(dict.fromkeys(int(row) for row in numbers if row not in self.kept))
        for row, samples in fresh.items():
            if self.bytes + samples.nbytes <= KEPT_MOST:
                self.kept[row] = samples
                self.bytes += samples.nbytes
        numbers = self.rows.usable(numbers, some=some)
        return numbers, [self.kept[row] if row in self.kept else fresh[row] for row in map(int, numbers)]

    def _decoded(self, row: int) -> Samples:
        return resampled(self.table.sound(row), self.rate).samples
