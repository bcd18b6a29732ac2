"""Files of a table decoded in several threads; those that turn out to be broken are counted against a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from formers.data.bad_rows import are_left_out, refuse
from formers.data.media import MediaTable
from formers.errors import DataError
from formers.notes import note

T = TypeVar("T")


class DecodedRows(Generic[T]):
    """What `decode` makes of the rows of a table, but for those that it raises DataError for."""

    def __init__(self, table: MediaTable, decode: Callable[[int], T], *, unreadable: int = 0) -> None:
        """unreadable: how many files may turn out to be broken; each is noted with its place and left out.

        Where bad rows are left out anyway (`bad_rows`) that is said there, and of any number.
        """
        self.table, self.decode, self.unreadable = table, decode, unreadable
        self.refused: dict[int, DataError] = {}
        self.threads = ThreadPoolExecutor(max(1, torch.get_num_threads()), table.medium.word)

    def __call__(self, rows: Iterable[int]) -> dict[int, T]:
        """row -> what it holds, of those that can be read. Raises DataError where too many cannot."""
        wanted = [int(row) for row in rows if row not in self.refused]
        decode: Callable[..., Iterable[T | DataError]] = self.threads.map if len(wanted) > 1 else map
        values = {}
        for row, value in zip(wanted, decode(self._value, wanted), strict=True):
            if isinstance(value, DataError):
                self._leave_out(row, value)
            else:
                values[row] = value
        return values

    def usable(self, rows: NDArray[np.int64], *, some: bool = True) -> NDArray[np.int64]:
        """The rows that were not refused. Raises DataError where none of `some` is left, or of all."""
        left = np.array([row for row in rows if row not in self.refused], np.int64)
        if not len(left) and (some or len(self.refused) == len(self.table)):
            what = f"none of these {len(rows)} {self.table.medium.word}s can be read"
            raise DataError(f"{self.table.where(int(rows[0]))}: {what}")
        return left

    def _value(self, row: int) -> T | DataError:
        try:
            return self.decode(row)
        except DataError as error:
            return error

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
