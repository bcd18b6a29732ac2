"""Rows that are read when they are asked for: a million pictures are not in memory.

rows.row(7) -> {"path": ..., "bytes": ...}      rows.where(7) -> `train-00000.parquet, row 8`      rows.select([7, 3])
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from formers.data.class_names import ClassNames, stored_class_names
from formers.data.files import fault, listed, located, missing
from formers.data.limits import budget
from formers.data.objects import flatten
from formers.data.parquet import opened_parquet, pick
from formers.data.splits import of_split


class Rows(Protocol):
    """Examples of a source, counted from 0; several threads may ask. `Table` holds its own in memory."""

    def __len__(self) -> int: ...

    def row(self, row: int) -> Mapping[str, Any]:
        """column -> value. Raises DataError where it cannot be read, IndexError where there is no such row."""

    def where(self, row: int) -> str:
        """Where it came from, for messages."""

    def select(self, rows: Sequence[int]) -> Rows:
        """These rows, in this order; each still knows where it came from."""


@dataclass(frozen=True)
class Selection:
    """Some rows of others, by number: nothing is read or copied."""

    rows: Rows
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def row(self, row: int) -> Mapping[str, Any]:
        return self.rows.row(self._number(row))

    def where(self, row: int) -> str:
        return self.rows.where(self._number(row))

    def select(self, rows: Sequence[int]) -> Selection:
        return Selection(self.rows, self.numbers[np.asarray(rows, np.int64)])

    def _number(self, row: int) -> int:
        return int(self.numbers[checked(row, self)])


class ParquetRows:
    """Rows of Parquet files, one after the other; a row group is read at a time, and the last few are kept."""

    def __init__(self, name: str, files: Sequence[str], columns: Sequence[str] | None = None, *, kept: int = 2) -> None:
        """name: what the user wrote; columns: those to read (None: all); kept: row groups in memory (0: as many as
        the budget holds, at least 2: read in any order, a group that is not kept is read again for every row).

        Only the footers are read here. Raises DataError: no file, a broken one, columns that are missing or differ.
        """
        self.name, self.files, self.columns = name, list(files), None if columns is None else list(columns)
        self.footers: list[Any] = []
        self.names: ClassNames = {}
        sizes: list[int] = []
        places: list[tuple[int, int]] = []
        schema: list[str] = []
        allowed, largest = budget(), 0
        for number, file in enumerate(self.files):
            if not os.path.exists(located(file)):
                raise missing(file, located(file))
            with opened_parquet(file) as parquet:
                footer, held = parquet.metadata, parquet.schema_arrow
            pick(file, held.names, columns)
            if number == 0:
                schema, self.names = held.names, stored_class_names(held.metadata)
            elif columns is None and set(held.names) != set(schema):
                got = f"has the columns {listed(held.names)}, but {self.files[0]} has {listed(schema)}"
                raise fault(name, f"{file} {got}: all files of a pattern must agree")
            self.footers.append(footer)
            for group in range(footer.num_row_groups):
                size = footer.row_group(group)
                if size.num_rows < 0 or size.total_byte_size < 0:
                    raise fault(file, f"broken Parquet file (a negative size in row group {group})")
                allowed.check(f"{file}, row group {group}", rows=size.num_rows, bytes=size.total_byte_size)
                largest = max(largest, size.total_byte_size)
                places.append((number, group))
                sizes.append(size.num_rows)
        self.ends = np.cumsum(np.asarray(sizes, np.int64))
        self.places = places
        self.before = np.cumsum([0, *(footer.num_rows for footer in self.footers)])
        if not len(self):
            raise fault(name, "there are no rows, expected at least one")
        if not kept:
            kept = max(2, allowed.bytes // max(1, largest))
        self.group, self.lock = lru_cache(kept)(self._read), Lock()

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def row(self, row: int) -> Mapping[str, Any]:
        group = self._group_of(row)
        start = int(self.ends[group - 1]) if group else 0
        with self.lock:  # threads that want the same group at once read it once
            rows = self.group(group)
        values = rows.slice(row - start, 1).to_pydict()
        return {column: value for column, (value,) in flatten(self.where(row), values, self.columns).values.items()}

    def where(self, row: int) -> str:
        file, _ = self.places[self._group_of(row)]
        return f"{self.files[file]}, row {row - int(self.before[file]) + 1}"

    def select(self, rows: Sequence[int]) -> Selection:
        return Selection(self, np.asarray(rows, np.int64))

    def _group_of(self, row: int) -> int:
        return int(np.searchsorted(self.ends, checked(row, self), "right"))

    def _read(self, group: int) -> Any:
        """The Arrow table of one row group."""
        number, place = self.places[group]
        file = self.files[number]
        with opened_parquet(file, metadata=self.footers[number], memory_map=True) as parquet:
            return parquet.read_row_group(place, columns=pick(file, parquet.schema_arrow.names, self.columns))


class FolderRows:
    """The files in a folder and in those inside it, sorted: `path`, relative to the folder, and their `bytes`.

    Hidden files and folders, whose names begin with a dot, are none of them.
    """

    def __init__(self, name: str, endings: Sequence[str]) -> None:
        """endings: of the files to take, such as (".png", ".jpg"), whatever their case. Raises DataError: none."""
        self.name, self.folder = name, located(name)
        if not os.path.isdir(self.folder):
            raise missing(name, self.folder)
        names = (
            Path(folder, file).relative_to(self.folder) for folder, _, files in os.walk(self.folder) for file in files
        )
        fitting = (path for path in names if path.suffix.lower() in endings)
        self.paths = sorted(path.as_posix() for path in fitting if not any(part[0] == "." for part in path.parts))
        if not self.paths:
            raise fault(name, f"a folder without a file that ends in {listed(endings)}")

    def __len__(self) -> int:
        return len(self.paths)

    def row(self, row: int) -> Mapping[str, Any]:
        path = self.paths[checked(row, self)]
        try:
            return {"path": path, "bytes": (self.folder / path).read_bytes()}
        except OSError as error:
            raise fault(self.where(row), f"cannot be read ({error.strerror or error})") from None

    def where(self, row: int) -> str:
        return os.path.join(self.name, self.paths[checked(row, self)])

    def select(self, rows: Sequence[int]) -> Selection:
        return Selection(self, np.asarray(rows, np.int64))


def parquet_rows(name: str, columns: Sequence[str] | None = None, *, split: str = "train") -> ParquetRows:
    """The rows of a Parquet file, or of the files of `split` in a folder of shards."""
    folder = located(name)
    return ParquetRows(name, of_split(name, folder, split) if os.path.isdir(folder) else [name], columns)


def checked(row: int, rows: Rows) -> int:
    """The row number itself. Raises IndexError where there is no such row."""
    if not 0 <= row < len(rows):
        raise IndexError(f"row {row} of {len(rows)} rows")
    return row
