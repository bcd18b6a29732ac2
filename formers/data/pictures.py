"""Pictures with their labels and captions: a light table in memory, pictures that stay encoded where they are.

    read_pictures("photos", columns=["label"]) -> PictureTable: .table (labels, captions), .content(7), .image(7)

What is particular: the column of pictures holds numbers, and `values` gives what stands under a number (a path, bytes,
a member of a tar file, a scene that is drawn), so a selection copies no picture and several threads may read.
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

from formers.data.builtin.shapes import Scene
from formers.data.class_names import class_names
from formers.data.files import ending, fault, held, located, matching, no_column, quoted, regular
from formers.data.limits import budget
from formers.data.parquet import pick
from formers.data.picture_folders import ENDINGS, METADATA, folder_labels, table_of_folder
from formers.data.rows import FolderRows, ParquetRows
from formers.data.sources import Table, builtin_table, check_text, choice_said, hub_data, read_table, without_empty
from formers.data.splits import SHARDS, of_split, split_folder
from formers.data.webdataset import TarMember, read_archives
from formers.images.decode import decode

if TYPE_CHECKING:
    from PIL import Image

Values = Callable[[int], Any]  # number -> what holds a picture; several threads may call it


@dataclass(frozen=True)
class PictureTable:
    """Rows of pictures: what is said of them, and their contents when they are asked for."""

    table: Table
    """Labels, captions and places; the column `picture` holds the numbers of `values`."""
    values: Values
    """Gives a path, bytes, {"bytes", "path"}, a member of a tar file or a scene."""
    picture: str = "image"
    """Name of the column of pictures."""
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
        """How many rows with an empty label or caption were left out."""
        return self.table.dropped

    def number(self, row: int) -> int:
        """Under which number of `values` the picture of a row is."""
        return self.table.columns[self.picture][row]

    def where(self, row: int) -> str:
        """Where a row came from: `photos/cat/1.jpg`, `train.csv, line 7`, `train.tar, 0001.jpg`."""
        return self.table.where(row) if self.places is None else self.places(self.number(row))

    def named(self, row: int) -> str:
        """The same with the path that stands there, for messages about the picture."""
        value = self.values(self.number(row)) if self.places is None else None
        return f"{self.where(row)} ({quoted(value)})" if isinstance(value, str) else self.where(row)

    def select(self, rows: Sequence[int]) -> PictureTable:
        """These rows, in this order; each still knows where it came from."""
        return replace(self, table=self.table.select(rows))

    def usable(self, check: Callable[[Table], object]) -> PictureTable:
        """Where bad rows are left out, those whose labels and captions `check` takes, as `Table.usable`."""
        return replace(self, table=self.table.usable(check))

    def set_aside(self, most: int, what: str = "row") -> tuple[PictureTable, PictureTable]:
        """The other rows, and every k-th: a twentieth of all, at most `most`."""
        rest, aside = self.table.set_aside(most, what)
        return replace(self, table=rest), replace(self, table=aside)

    def content(self, row: int) -> bytes:
        """The encoded picture of a row. Raises DataError with the place."""
        value = self.values(self.number(row))
        if isinstance(value, Mapping):  # as `datasets` writes pictures
            value = value.get("path") if value.get("bytes") is None else value["bytes"]
        if isinstance(value, bytes):
            return value
        if isinstance(value, Scene):
            return value.png()
        try:
            if isinstance(value, TarMember):
                return value.read()
            if isinstance(value, str) and value.strip():
                return self._file(row, value)
        except OSError as error:
            raise fault(self.where(row), f"cannot be read ({error.strerror or error})") from None
        got = "is empty" if value in (None, "") else f"holds {quoted(value)} ({type(value).__name__})"
        raise fault(self.where(row), f"column {quoted(self.picture)} {got}, expected a picture or the path of one")

    def digest(self, row: int, *, pixels: bool = False) -> bytes:
        """What tells a picture's file from others, or its pixels. Raises DataError as `content` and `image` do."""
        if pixels:
            image = self.image(row)
            return blake2b(image.tobytes(), digest_size=16, person=b"%d x %d" % image.size).digest()
        return blake2b(self.content(row), digest_size=16).digest()

    def image(self, row: int) -> Image.Image:
        """The picture of a row, RGB and upright. Raises DataError, one line with the place, for what is none."""
        if isinstance(value := self.values(self.number(row)), Scene):
            return value.image()
        return decode(self.content(row), self.named(row))

    def _file(self, row: int, path: str) -> bytes:
        """What is in a file, whose path is relative to the folder of the table or to the working folder."""
        if "://" in path:
            got = f"{quoted(path)} is an address, expected the path of a picture"
            raise fault(self.where(row), f"{got}; fetch the pictures first")
        beside, here = self.folder / located(path), located(path)
        place = beside if "\0" not in path and os.path.exists(beside) else here
        if "\0" in path or not os.path.exists(place):
            raise fault(self.where(row), f"there is no picture {quoted(path)}, neither in {self.folder} nor here")
        budget().check(str(place), bytes=regular(str(place)))
        return place.read_bytes()


def read_pictures(
    source: str | Path,
    *,
    columns: Sequence[str] = (),
    image: str = "image",
    split: str = "train",
    seed: int = 0,
    count: int | None = None,
    drop_empty: bool = False,
    text: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
) -> PictureTable:
    """The pictures of `source`, which stay encoded and where they are.

    source               what it is
    -------------------  ------------------------------------------------------------------------------------------
    a folder             of class folders: the column `label` is the name of the folder; or of pictures, without one;
                         where it holds train/ val/ test/, that of the split; or of Parquet or tar shards; a file
                         metadata.csv or .jsonl in it, with a column of paths, is taken as its table
    x.csv .tsv .jsonl    a table with a column of paths, relative to the file or to the working folder
    x.parquet            a table with a column of encoded pictures, of {bytes, path}, or of paths
    x.tar                a WebDataset: members with the same name up to the first dot are a row; a picture is `image`,
                         .txt `text`, .cls `label`, and the keys of .json are columns
    a pattern            `shards/*.tar`: the files that match, sorted, one after the other; or pictures
    hf:NAME, builtin:X   as in `read_table`

    columns: those to keep besides the pictures (labels, captions); text: those of them that must hold text.
    image: the column of pictures of tables. count, drop_empty, settings: as in `read_table`.
    Raises DataError, one line that says where; that a picture cannot be read is seen when it is.
    """
    name = str(source)
    with choice_said(settings):
        pictures = _read(name, columns, image, split, seed, count)
    if not len(pictures):
        raise fault(name, "there are no pictures, expected at least one")
    table = pictures.table
    table = replace(table, columns={column: table.columns[column] for column in [*columns, pictures.picture]})
    table = without_empty(table, columns, drop_empty) if columns else table
    for column in text:
        table = check_text(table, column)
    return replace(pictures, table=table if count is None or count >= len(table) else table.select(range(count)))


def _read(name: str, columns: Sequence[str], image: str, split: str, seed: int, count: int | None) -> PictureTable:
    """What a name means."""
    if name.startswith("builtin:"):
        return _builtin(name, columns, image, split, seed, count)
    if name.startswith("hf:"):
        return _hub(name, columns, image, split)
    path = located(name)
    if not os.path.isdir(path):
        files = [name] if os.path.exists(path) or not glob.has_magic(name) else matching(path)
    elif not (files := shards_of(name, path, split)):
        inside = split_folder(name, path, split)
        table = table_of_folder(located(inside))
        return _paths(os.path.join(inside, table), columns, image) if table else _folder(name, inside, columns, image)
    kinds = {ending(file) for file in files}
    if kinds == {".parquet"}:
        return _parquet(name, files, split, columns, image)
    if kinds and kinds <= {".tar", ".tgz"}:
        return _archives(name, files, columns, image)
    if kinds and kinds <= {*ENDINGS}:
        return _files(name, files, columns, image)
    return _paths(name, columns, image)


def shards_of(name: str, folder: Path, split: str) -> list[str]:
    """The Parquet or tar files of one split in a folder; none where it holds no such files."""
    kinds = {ending(file) for file in held(name, folder) if file not in METADATA}
    shards = next((kind for kind in SHARDS if kind in kinds), "")
    return of_split(name, folder, split, shards) if shards else []


def _folder(name: str, inside: str, columns: Sequence[str], image: str) -> PictureTable:
    """Pictures in a folder, or in the one of a split inside it."""
    rows = FolderRows(inside, ENDINGS)
    nested = any("/" in path for path in rows.paths)
    labels = {"label": folder_labels(inside, rows.folder, rows.paths)} if "label" in columns else {}
    if {*columns} - {*labels}:
        raise no_column(inside, columns, [image, *(["label"] if nested else [])])
    return _located(name, [os.path.join(inside, path) for path in rows.paths], image, labels)


def _files(name: str, files: Sequence[str], columns: Sequence[str], image: str) -> PictureTable:
    """The pictures that match a pattern, or one."""
    if columns:
        raise no_column(name, columns, [image])
    return _located(name, files, image, {})


def _located(name: str, paths: Sequence[str], image: str, columns: Mapping[str, list]) -> PictureTable:
    table = Table(name, {**columns, image: list(range(len(paths)))})
    return PictureTable(table, paths.__getitem__, image, places=paths.__getitem__)


def _paths(name: str, columns: Sequence[str], image: str) -> PictureTable:
    """A table of paths."""
    table = read_table(name, columns=[*columns, image], text=[], drop_empty=None)
    paths = table.columns[image]
    return PictureTable(_numbered(table, image), paths.__getitem__, image, located(name).parent)


def _parquet(name: str, files: Sequence[str], split: str, columns: Sequence[str], image: str) -> PictureTable:
    ParquetRows(name, files, [*columns, image])  # so that all that is missing is said at once
    rows = ParquetRows(name, files, [image], kept=0)
    table = read_table(name, columns=columns, text=[], drop_empty=None, split=split) if columns else Table(name, {})
    values = partial(_value, rows, image)
    return PictureTable(_numbered(table, image, len(rows)), values, image, located(files[0]).parent, rows.where)


def _value(rows: Any, column: str, number: int) -> Any:
    return rows.row(number)[column]


def _archives(name: str, files: Sequence[str], columns: Sequence[str], image: str) -> PictureTable:
    members, values = read_archives(name, files, columns, image)
    table = Table(name, {**values, image: list(range(len(members)))})
    return PictureTable(table, members.__getitem__, image, places=lambda number: members[number].place)


def _hub(name: str, columns: Sequence[str], image: str, split: str) -> PictureTable:
    with hub_data(name, split) as data:
        pick(name, data.column_names, [*columns, image])
        light, pictures = data.select_columns(list(columns))[:] if columns else {}, data.select_columns([image])
        feature = data.features[image]
        if type(feature).__name__ == "Image":
            pictures = pictures.cast_column(image, replace(feature, decode=False))
    table = Table(name, dict(light), names=class_names(data.features.to_dict()))
    return PictureTable(_numbered(table, image, len(pictures)), lambda number: pictures[number][image], image)


def _builtin(name: str, columns: Sequence[str], image: str, split: str, seed: int, count: int | None) -> PictureTable:
    table = builtin_table(name, None, split, seed, count)
    if {*columns, image} - {*table.columns}:
        raise no_column(name, [*columns, image], list(table.columns))
    return PictureTable(_numbered(table, image), table.columns[image].__getitem__, image)


def _numbered(table: Table, image: str, count: int | None = None) -> Table:
    """The table with the numbers of its pictures in their column."""
    return replace(table, columns={**table.columns, image: list(range(len(table) if count is None else count))})
