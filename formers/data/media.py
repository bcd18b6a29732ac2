"""Pictures or sounds with what is said of them: a light table in memory, files that stay encoded where they are.

    read_media(SOUNDS, "clips", columns=["label"]) -> MediaTable: .table (labels, texts), .content(7), .sound(7)

What is particular: the column of files holds numbers, and `values` gives what stands under a number (a path, bytes,
a member of a tar file, a scene that is drawn), so a selection copies no file and several threads may read.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from formers.data.class_names import class_names
from formers.data.files import ending, fault, held, located, matching, no_column, quoted, regular
from formers.data.limits import budget
from formers.data.medium import METADATA, Medium, folder_labels, table_of_folder
from formers.data.parquet import pick
from formers.data.rows import FolderRows, ParquetRows
from formers.data.sources import Table, builtin_table, check_text, choice_said, hub_data, read_table, without_empty
from formers.data.splits import SHARDS, of_split, split_folder
from formers.data.webdataset import TarMember, read_archives
from formers.sound.decode import Sound

if TYPE_CHECKING:
    from PIL import Image

Values = Callable[[int], Any]  # number -> what holds a file; several threads may call it


@dataclass(frozen=True)
class MediaTable:
    """Rows of pictures or sounds: what is said of them, and their contents when they are asked for."""

    medium: Medium
    table: Table
    """Labels, texts and places; the column `column` holds the numbers of `values`."""
    values: Values
    """Gives a path, bytes, {"bytes", "path"}, a member of a tar file, a scene or what is dialled."""
    column: str
    """Name of the column of files."""
    folder: Path = Path()
    """What relative paths may be relative to, besides the working folder."""
    places: Callable[[int], str] | None = None
    """Number -> where it is, where the table's rows are no lines or rows of a file."""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def name(self) -> str:
        """What the user wrote."""
        return self.table.name

    @property
    def described(self) -> str:
        return self.table.described

    @property
    def dropped(self) -> int:
        """How many rows with an empty label or text were left out."""
        return self.table.dropped

    def number(self, row: int) -> int:
        """Under which number of `values` the file of a row is."""
        return self.table.columns[self.column][row]

    def where(self, row: int) -> str:
        """Where a row came from: `photos/cat/1.jpg`, `train.csv, line 7`, `train.tar, 0001.jpg`."""
        return self.table.where(row) if self.places is None else self.places(self.number(row))

    def named(self, row: int) -> str:
        """The same with the path that stands there, for messages about the file."""
        value = self.values(self.number(row)) if self.places is None else None
        return f"{self.where(row)} ({quoted(value)})" if isinstance(value, str) else self.where(row)

    def select(self, rows: Sequence[int]) -> MediaTable:
        """These rows, in this order; each still knows where it came from."""
        return replace(self, table=self.table.select(rows))

    def usable(self, check: Callable[[Table], object]) -> MediaTable:
        """Where bad rows are left out, those whose labels and texts `check` takes, as `Table.usable`."""
        return replace(self, table=self.table.usable(check))

    def set_aside(self, most: int, what: str = "row") -> tuple[MediaTable, MediaTable]:
        """The other rows, and every k-th: a twentieth of all, at most `most`."""
        rest, aside = self.table.set_aside(most, what)
        return replace(self, table=rest), replace(self, table=aside)

    def content(self, row: int) -> bytes:
        """The encoded file of a row. Raises DataError with the place."""
        value = self.values(self.number(row))
        if isinstance(value, Mapping):  # as `datasets` writes pictures and sounds
            value = value.get("path") if value.get("bytes") is None else value["bytes"]
        if isinstance(value, bytes):
            return value
        if isinstance(value, self.medium.generated):
            return self.medium.encode_generated(value)
        try:
            if isinstance(value, TarMember):
                return value.read()
            if isinstance(value, str) and value.strip():
                return self._file(row, value)
        except OSError as error:
            raise fault(self.where(row), f"cannot be read ({error.strerror or error})") from None
        got = "is empty" if value in (None, "") else f"holds {quoted(value)} ({type(value).__name__})"
        what = self.medium.word
        raise fault(self.where(row), f"column {quoted(self.column)} {got}, expected a {what} or the path of one")

    def digest(self, row: int) -> bytes:
        """What tells a row's file, or scene, from others. Raises DataError as `content` does."""
        value = self.values(self.number(row))
        data = repr(value).encode() if isinstance(value, self.medium.generated) else self.content(row)
        return blake2b(data, digest_size=16).digest()

    def decoded(self, row: int) -> Any:
        """The picture or sound of a row. Raises DataError, one line with the place, for what is none."""
        if isinstance(value := self.values(self.number(row)), self.medium.generated):
            return self.medium.of_generated(value)
        return self.medium.decode(self.content(row), self.named(row))

    def image(self, row: int) -> Image.Image:
        """The picture of a row, RGB and upright. Raises DataError as `decoded` does."""
        return self.decoded(row)

    def sound(self, row: int) -> Sound:
        """The sound of a row, one channel, at the rate that it has. Raises DataError as `decoded` does."""
        return self.decoded(row)

    def _file(self, row: int, path: str) -> bytes:
        """What is in a file, whose path is relative to the folder of the table or to the working folder."""
        if "://" in path:
            got = f"{quoted(path)} is an address, expected the path of a {self.medium.word}"
            raise fault(self.where(row), f"{got}; fetch the {self.medium.word}s first")
        beside, here = self.folder / located(path), located(path)
        place = beside if "\0" not in path and os.path.exists(beside) else here
        if "\0" in path or not os.path.exists(place):
            raise fault(
                self.where(row), f"there is no {self.medium.word} {quoted(path)}, neither in {self.folder} nor here"
            )
        budget().check(str(place), bytes=regular(str(place)))
        return place.read_bytes()


def read_media(
    medium: Medium,
    source: str | Path,
    *,
    columns: Sequence[str] = (),
    files: str = "",
    split: str = "train",
    seed: int = 0,
    count: int | None = None,
    drop_empty: bool = False,
    text: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
) -> MediaTable:
    """The pictures or sounds of `source`, which stay encoded and where they are.

    source               what it is
    -------------------  ------------------------------------------------------------------------------------------
    a folder             of class folders: the column `label` is the name of the folder; or of files, without one;
                         where it holds train/ val/ test/, that of the split; or of Parquet or tar shards; a file
                         metadata.csv or .jsonl in it, with a column of paths, is taken as its table
    x.csv .tsv .jsonl    a table with a column of paths, relative to the file or to the working folder
    x.parquet            a table with a column of encoded files, of {bytes, path}, or of paths
    x.tar                a WebDataset: members with the same name up to the first dot are a row; a file is `files`,
                         .txt `text`, .cls `label`, and the keys of .json are columns
    a pattern            `shards/*.tar`: the files that match, sorted, one after the other; or pictures or sounds
    hf:NAME, builtin:X   as in `read_table`

    columns: those to keep besides the files (labels, texts); text: those of them that must hold text.
    files: the column of pictures or sounds in tables; mostly `image` or `audio`. count, drop_empty, settings: as in
    `read_table`. Raises DataError, one line that says where; that a file cannot be read is seen when it is.
    """
    name = str(source)
    with choice_said(settings):
        read = _read(medium, name, columns, files or medium.column, split, seed, count)
    if not len(read):
        raise fault(name, f"there are no {medium.word}s, expected at least one")
    table = read.table
    table = replace(table, columns={column: table.columns[column] for column in [*columns, read.column]})
    table = without_empty(table, columns, drop_empty) if columns else table
    for column in text:
        table = check_text(table, column)
    return replace(read, table=table if count is None or count >= len(table) else table.select(range(count)))


def _read(
    medium: Medium, name: str, columns: Sequence[str], column: str, split: str, seed: int, count: int | None
) -> MediaTable:
    """What a name means."""
    if name.startswith("builtin:"):
        return _builtin(medium, name, columns, column, split, seed, count)
    if name.startswith("hf:"):
        return _hub(medium, name, columns, column, split)
    path = located(name)
    if not os.path.isdir(path):
        files = [name] if os.path.exists(path) or not glob.has_magic(name) else matching(path)
    elif not (files := shards_of(name, path, split)):
        inside = split_folder(name, path, split)
        if table := table_of_folder(located(inside)):
            return _paths(medium, os.path.join(inside, table), columns, column)
        return _folder(medium, name, inside, columns, column)
    kinds = {ending(file) for file in files}
    if kinds == {".parquet"}:
        return _parquet(medium, name, files, split, columns, column)
    if kinds and kinds <= {".tar", ".tgz"}:
        return _archives(medium, name, files, columns, column)
    if kinds and kinds <= {*medium.endings}:
        return _files(medium, name, files, columns, column)
    return _paths(medium, name, columns, column)


def shards_of(name: str, folder: Path, split: str) -> list[str]:
    """The Parquet or tar files of one split in a folder; none where it holds no such files."""
    kinds = {ending(file) for file in held(name, folder) if file not in METADATA}
    shards = next((kind for kind in SHARDS if kind in kinds), "")
    return of_split(name, folder, split, shards) if shards else []


def _folder(medium: Medium, name: str, inside: str, columns: Sequence[str], column: str) -> MediaTable:
    """Files in a folder, or in the one of a split inside it."""
    rows = FolderRows(inside, medium.endings)
    nested = any("/" in path for path in rows.paths)
    labels = {"label": folder_labels(medium, inside, rows.folder, rows.paths)} if "label" in columns else {}
    if {*columns} - {*labels}:
        raise no_column(inside, columns, [column, *(["label"] if nested else [])])
    return _located(medium, name, [os.path.join(inside, path) for path in rows.paths], column, labels)


def _files(medium: Medium, name: str, files: Sequence[str], columns: Sequence[str], column: str) -> MediaTable:
    """The files that match a pattern, or one."""
    if columns:
        raise no_column(name, columns, [column])
    return _located(medium, name, files, column, {})


def _located(medium: Medium, name: str, paths: Sequence[str], column: str, columns: Mapping[str, list]) -> MediaTable:
    table = Table(name, {**columns, column: list(range(len(paths)))})
    return MediaTable(medium, table, paths.__getitem__, column, places=paths.__getitem__)


def _paths(medium: Medium, name: str, columns: Sequence[str], column: str) -> MediaTable:
    """A table of paths."""
    table = read_table(name, columns=[*columns, column], text=[], drop_empty=None)
    paths = table.columns[column]
    return MediaTable(medium, _numbered(table, column), paths.__getitem__, column, located(name).parent)


def _parquet(
    medium: Medium, name: str, files: Sequence[str], split: str, columns: Sequence[str], column: str
) -> MediaTable:
    ParquetRows(name, files, [*columns, column])  # so that all that is missing is said at once
    rows = ParquetRows(name, files, [column], kept=0)
    table = read_table(name, columns=columns, text=[], drop_empty=None, split=split) if columns else Table(name, {})
    values = partial(_value, rows, column)
    return MediaTable(medium, _numbered(table, column, len(rows)), values, column, located(files[0]).parent, rows.where)


def _value(rows: Any, column: str, number: int) -> Any:
    return rows.row(number)[column]


def _archives(medium: Medium, name: str, files: Sequence[str], columns: Sequence[str], column: str) -> MediaTable:
    members, values = read_archives(medium, name, files, columns, column)
    table = Table(name, {**values, column: list(range(len(members)))})
    return MediaTable(medium, table, members.__getitem__, column, places=lambda number: members[number].place)


def _hub(medium: Medium, name: str, columns: Sequence[str], column: str, split: str) -> MediaTable:
    with hub_data(name, split) as data:
        pick(name, data.column_names, [*columns, column])
        light, held = data.select_columns(list(columns))[:] if columns else {}, data.select_columns([column])
        feature = data.features[column]
        if type(feature).__name__ == medium.feature:
            held = held.cast_column(column, replace(feature, decode=False))
    table = Table(name, dict(light), names=class_names(data.features.to_dict()))
    return MediaTable(medium, _numbered(table, column, len(held)), lambda number: held[number][column], column)


def _builtin(
    medium: Medium, name: str, columns: Sequence[str], column: str, split: str, seed: int, count: int | None
) -> MediaTable:
    table = builtin_table(name, None, split, seed, count)
    if {*columns, column} - {*table.columns}:
        raise no_column(name, [*columns, column], list(table.columns))
    return MediaTable(medium, _numbered(table, column), table.columns[column].__getitem__, column)


def _numbered(table: Table, column: str, count: int | None = None) -> Table:
    """The table with the numbers of its files in their column."""
    return replace(table, columns={**table.columns, column: list(range(len(table) if count is None else count))})
