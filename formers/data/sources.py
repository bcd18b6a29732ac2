"""Where rows come from: files, folders of shards, the hub and built-in data, all through `read_table`."""

from __future__ import annotations

import glob
import importlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from formers.data.bad_rows import are_left_out, refuse
from formers.data.class_names import ClassNames, class_names
from formers.data.columns import Columns
from formers.data.files import MissingColumn, ending, fault, listed, located, matching, missing, quoted
from formers.data.limits import budget
from formers.data.objects import flatten
from formers.data.parquet import pick
from formers.data.readers import read_file, read_parallel
from formers.data.splits import of_split
from formers.errors import DataError, nearest
from formers.extras import optional


@dataclass(frozen=True)
class Builtin:
    """Data that this library makes."""

    place: str  # "module:function", which gives rows for (split, count, seed)
    columns: tuple[str, ...]  # what the parts of a row are
    count: int | None  # how many rows when the user names no number (None: all there are)


SHAPES = ("image", "label", "shape", "caption", "objects", "contents", "claims")
SCENES = {"shapes": "shapes", "captioned-shapes": "captioned", "shape-pairs": "pairs", "every-shape": "every"}
BUILTIN = {
    "phrasebook": Builtin("formers.data.builtin.phrasebook:pairs", ("en", "de"), 10_000),
    "prose": Builtin("formers.data.builtin.prose:rows", ("text",), None),
    "parts": Builtin("formers.data.builtin.parts:rows", ("tokens", "tags"), 3_000),
    "facts": Builtin("formers.data.builtin.facts:rows", ("context", "question", "answers", "answer_starts"), 6_000),
    "paraphrases": Builtin("formers.data.builtin.paraphrases:groups", ("texts",), 2_000),
    "paraphrase-scores": Builtin("formers.data.builtin.paraphrases:scored", ("sentence1", "sentence2", "score"), 600),
    "quiz": Builtin("formers.data.builtin.quiz:conversations", ("messages",), 5_000),
    "quiz-preferences": Builtin("formers.data.builtin.quiz:preferences", ("messages", "chosen", "rejected"), 5_000),
    "quiz-choices": Builtin("formers.data.builtin.quiz:choices", ("question", "choices", "answer"), 5_000),
    **{name: Builtin(f"formers.data.builtin.shapes:{rows}", SHAPES, 5_000) for name, rows in SCENES.items()},
    "dialtones": Builtin("formers.data.builtin.dialtones:single", ("audio", "label"), 4_000),
    "dialled": Builtin("formers.data.builtin.dialtones:strings", ("audio", "text"), 4_000),
    "opinions": Builtin("formers.data.builtin.opinions:opinions", ("text", "label"), 5_000),
    "opinion-pairs": Builtin("formers.data.builtin.opinions:pairs", ("sentence1", "sentence2", "score"), 5_000),
}


@dataclass(frozen=True)
class Table:
    """Rows with named columns, and where they came from."""

    name: str  # what the user wrote, for messages
    columns: dict[str, list]  # column -> values, equal lengths
    lines: list[int] | None = None  # for text formats: the 1-based line number in the file of each row
    dropped: int = 0  # how many empty rows were left out (drop_empty)
    rows: list[int] | None = None  # for other formats: the 1-based row number, where it is not index + 1
    files: list[str] | None = None  # the file of each row, where a pattern or a folder names several
    names: ClassNames = field(default_factory=dict)  # column -> the names of its numbered classes
    header: bool = True  # whether the columns had names of their own; else they were taken in order

    @property
    def described(self) -> str:
        """Its name, and how its columns were taken where the file does not name them."""
        if self.header:
            return self.name
        return f"{self.name} (no header line was seen: its columns are taken as {listed(self.columns)}, in order)"

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def where(self, row: int, text: str = "") -> str:
        """Where a row (counted from 0) came from: `train.tsv, line 17`, `train.parquet, row 17` (from 1).

        text: quoted behind it, cut when long.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of a table of {len(self)} rows")
        name = self.name if self.files is None else self.files[row]
        number = row + 1 if self.rows is None else self.rows[row]
        place = f"row {number}" if self.lines is None else f"line {self.lines[row]}"
        return f"{name}, {place}" + (f' ("{text[:60]}")' if text else "")

    def row(self, row: int) -> dict[str, Any]:
        """column -> value of a row, counted from 0."""
        return {column: values[row] for column, values in self.columns.items()}

    def named(self, column: str) -> list:
        """The values of a column; numbers of classes, in lists too, as their names where the source carries these."""
        names = self.names.get(column, ())

        def name(value: Any) -> Any:
            if isinstance(value, list):
                return [name(part) for part in value]
            return names[value] if type(value) is int and 0 <= value < len(names) else value

        return [name(value) for value in self.columns[column]]

    def select(self, rows: Sequence[int]) -> Table:
        """These rows, in this order; each still knows where it came from."""
        numbers = self.rows or range(1, len(self) + 1)
        return replace(
            self,
            columns={column: [values[row] for row in rows] for column, values in self.columns.items()},
            lines=None if self.lines is None else [self.lines[row] for row in rows],
            rows=None if self.lines is not None else [numbers[row] for row in rows],
            files=None if self.files is None else [self.files[row] for row in rows],
        )

    def usable(self, check: Callable[[Table], object]) -> Table:
        """Where bad rows are left out (`bad_rows`), those rows that `check` does not raise DataError for, each alone.

        Raises DataError where none is left.
        """
        if not are_left_out():
            return self
        kept = []
        for row in range(len(self)):
            try:
                check(self.select([row]))
                kept.append(row)
            except DataError as error:
                refuse(error)
        return self if len(kept) == len(self) else some(self.select(kept))

    def set_aside(self, most: int, what: str = "row") -> tuple[Table, Table]:
        """The other rows, and every k-th: a twentieth of all, at most `most`. what: the word for a row in a fault."""
        if len(self) < 2:
            expected = "at least 2 to set one aside for validation"
            raise DataError(f"{self.name}: got {len(self)} {what}, expected {expected}; give data.validation")
        aside = max(1, min(most, len(self) // 20))
        rows = np.unique(np.linspace(0, len(self) - 1, aside).astype(int))
        return self.select(np.delete(np.arange(len(self)), rows).tolist()), self.select(rows.tolist())


def read_table(
    source: str | Path,
    *,
    columns: Sequence[str] | None = None,
    split: str = "train",
    seed: int = 0,
    count: int | None = None,
    drop_empty: bool | None = False,
    text: Sequence[str] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Table:
    """Read `source` into memory.

    source      what it is
    ----------  ----------------------------------------------------------------------------------------------
    x.tsv       fields between tabs, taken literally (a quote is text); x.csv: standard quoting
    x.jsonl     (or .ndjson) one object a line; x.json: a list of objects
    x.txt       one text a line, one column: the wanted one, else `text`
    x.parquet   needs formers[parquet]; text formats may end in .gz too
    a.en,a.de   text files side by side, one sentence a line; `columns` (else the endings) name them
    a pattern   `shards/*.parquet`: the files that match, sorted, one after the other
    a folder    its Parquet files of `split`: `train.parquet`, `train-00000-of-00002.parquet` ...
    hf:NAME     `hf:owner/name[@revision][:config]` or `hf:/a/folder`, the given `split`; needs formers[hub]
    builtin:X   data made by this library; `count` rows of `split` from `seed`

    columns: the columns to keep, in this order; None keeps all.
    text: those of `columns` that must hold text (default: all); the others may hold anything but nothing.
    count: at most the first `count` rows. drop_empty: leave out empty rows (None: keep them), else the first one is
    an error. settings: column -> what chooses another, such as "--set rows.text=COLUMN", for messages.

    Header rule of .tsv and .csv: the first line is the header if it has all of `columns`. It is data if it has as many
    fields as `columns`, none of these names, whatever their case, and does not look like names (`header.py`): the
    columns are then taken in order, and `Table.header` is False. Anything else is an error. With `columns` None it is
    the header if all its fields could be names, else the columns are "column 1" and so on.

    A row is empty when one of `columns` is missing there or nothing but white space; with columns=None when
    all its values are. Raises DataError, one line that says where.
    """
    name = str(source)
    _check(name, columns, text, count)
    with choice_said(settings):
        if name.startswith("hf:"):
            table = _hub(name, columns, split)
        elif name.startswith("builtin:"):
            table = builtin_table(name, columns, split, seed, count)
        else:
            table = _files(name, columns, split, isinstance(source, str))
    if columns is not None:
        table = replace(table, columns={column: table.columns[column] for column in columns})
    if not len(table):
        raise fault(name, "there are no rows, expected at least one")
    if drop_empty is not None:
        table = without_empty(table, columns, drop_empty)
    for column in text if text is not None else columns or ():
        table = check_text(table, column)
    return table if count is None or count >= len(table) else table.select(range(count))


@contextmanager
def choice_said(settings: Mapping[str, str] | None) -> Iterator[None]:
    """A fault of a missing column says what chooses another. settings: as in `read_table`."""
    try:
        yield
    except MissingColumn as error:
        options = [settings[column] for column in error.columns if settings and column in settings]
        if not options:
            raise
        raise MissingColumn(f"{error}; choose with {' '.join(options)}", error.columns) from None


def _check(name: str, columns: Sequence[str] | None, text: Sequence[str] | None, count: int | None) -> None:
    """Refuse what no source could satisfy."""
    if not name.strip() or "\0" in name:
        expected = "a file, a folder, hf:NAME or builtin:NAME"
        raise DataError(f"the data source is {quoted(name)}, expected {expected}")
    if isinstance(columns, str) or isinstance(text, str):
        wrong = columns if isinstance(columns, str) else text
        raise fault(name, f"columns must be a list of names, got the text {quoted(wrong)}")
    if columns is not None and (not columns or len(set(columns)) < len(columns)):
        raise fault(name, f"columns must be one or more different names, got {listed(columns) or 'none'}")
    stray = next((column for column in text or () if column not in (columns or ())), None)
    if stray is not None:
        raise fault(name, f"the text column {quoted(stray)} is not among the columns {listed(columns or ()) or 'none'}")
    if count is not None and count < 1:
        raise fault(name, f"count ({count}) must be 1 or more")


# ---- files -------------------------------------------------------------------------------------------------


def _files(name: str, columns: Sequence[str] | None, split: str, joined: bool) -> Table:
    """One file, several side by side (`joined`: commas may join them), or shards one after the other."""
    path = located(name)
    if os.path.isdir(path):
        return _shards(name, of_split(name, path, split), columns)
    if not os.path.exists(path):
        if joined and "," in name:
            return _table(name, read_parallel([part.strip() for part in name.split(",")], columns))
        if glob.has_magic(name):
            files = matching(path)
            if not files:
                raise fault(name, "no file matches this pattern")
            return _shards(name, files, columns)
        if name in BUILTIN:
            raise fault(name, f'no such file; did you mean "builtin:{name}"?')
        if re.fullmatch(r"[\w-]+/[\w.-]+", name) and not ending(name) and not os.path.isdir(path.parent):
            raise fault(name, f'no such file; if it is a data set of the hub, write "hf:{name}"')
    return _table(name, read_file(name, columns))


def _table(name: str, columns: Columns) -> Table:
    return Table(
        name, columns.values, columns.lines, rows=columns.rows, names=columns.names or {}, header=columns.header
    )


def _shards(name: str, files: Sequence[str], columns: Sequence[str] | None) -> Table:
    """Files one after the other; they must have the same columns, and all or none of them lines."""
    parts = []
    allowed, rows = budget(), 0
    for file in files:
        parts.append((file, read_file(file, columns)))
        rows += len(next(iter(parts[-1][1].values.values()), []))
        allowed.check(name, rows=rows)
    first = parts[0][1]
    for file, part in parts:
        if set(part.values) != set(first.values):
            got = f"has the columns {listed(part.values)}, but {files[0]} has {listed(first.values)}"
            raise fault(name, f"{file} {got}: all files of a pattern must agree")
        if (part.lines is None) != (first.lines is None):
            raise fault(name, f"{files[0]} and {file} are of different formats: read them one by one")
    sizes = [len(next(iter(part.values.values()), [])) for _, part in parts]
    return Table(
        name,
        {column: [value for _, part in parts for value in part.values[column]] for column in first.values},
        lines=None if first.lines is None else [line for _, part in parts for line in part.lines or ()],
        rows=None
        if first.lines is not None
        else [row for (_, part), size in zip(parts, sizes, strict=True) for row in part.rows or range(1, size + 1)],
        files=[file for (file, _), size in zip(parts, sizes, strict=True) for _ in range(size)],
        names=first.names or {},
        header=all(part.header for _, part in parts),
    )


# ---- hub and built-in --------------------------------------------------------------------------------------


def _hub(name: str, columns: Sequence[str] | None, split: str) -> Table:
    """The rows of a data set of the hub in memory."""
    with hub_data(name, split) as data:
        loaded = pick(name, data.column_names, columns)
        values = (data if loaded is None else data.select_columns(loaded))[:]
    flat = flatten(name, values, list(columns) if columns is not None else None)
    return _table(name, flat._replace(names=class_names(data.features.to_dict())))


@contextmanager
def hub_data(name: str, split: str) -> Iterator[Any]:
    """A data set of the hub, or a local folder in its layout, through `datasets`; no code of it is run."""
    what = name.removeprefix("hf:")
    options: dict[str, str] = {}
    folder = located(what)
    if what and os.path.isdir(folder):
        what = str(folder)
    elif what.startswith(("/", ".", "~")):
        raise missing(name, folder)
    else:
        form = re.fullmatch(r"([\w.-]+(?:/[\w.-]+)?)((?:[@:][^@:]+)*)", what)
        marks = re.findall(r"([@:])([^@:]+)", form[2]) if form else []
        if form is None or len({mark for mark, _ in marks}) < len(marks):
            raise fault(name, "expected hf:owner/name, with an optional @revision and an optional :config")
        what = form[1]
        options = {"revision" if mark == "@" else "name": value for mark, value in marks}
    datasets = optional("datasets", "hub", f"{name}: reading from the hub")
    hub = importlib.import_module("huggingface_hub.errors")
    try:
        yield datasets.load_dataset(what, split=split, **options)
    # the library's own faults, a wrong split or config, a set that is a script, a broken file, no network
    except (datasets.exceptions.DatasetsError, hub.HTTPError, OSError, ValueError, RuntimeError) as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        raise fault(name, f"cannot load split {quoted(split)}: {error}{cause}") from error


def builtin_table(name: str, columns: Sequence[str] | None, split: str, seed: int, count: int | None) -> Table:
    """Made rows. Columns of their own names are found by name; as many other names are taken in order."""
    key = name.removeprefix("builtin:")
    if key not in BUILTIN:
        raise fault(name, f"no built-in data {quoted(key)}{nearest(key, BUILTIN)}")
    builtin = BUILTIN[key]
    header: Sequence[str] = builtin.columns
    if columns is not None and not set(columns) <= set(header):
        if len(columns) != len(header) or set(columns) & set(header):
            raise fault(name, f"the columns are {listed(header)}, but {listed(columns)} are wanted")
        header = columns
    module, _, function = builtin.place.partition(":")
    generate = getattr(importlib.import_module(module), function)
    budget().check(name, rows=count or 0)
    rows = generate(split, builtin.count if count is None else count, seed)
    return Table(name, {column: [row[at] for row in rows] for at, column in enumerate(header)})


# ---- what every row must be --------------------------------------------------------------------------------


def without_empty(table: Table, columns: Sequence[str] | None, drop: bool) -> Table:
    """Refuse or drop the rows in which something wanted is missing."""
    blank = {
        column: {row for row, value in enumerate(values) if _blank(value)} for column, values in table.columns.items()
    }
    empty = set.union(*blank.values()) if columns is not None else set.intersection(*blank.values())
    if not empty:
        return table
    if drop:
        kept = [row for row in range(len(table)) if row not in empty]
        if not kept:
            raise fault(table.name, f"all {len(table):,} rows are empty")
        return replace(table.select(kept), dropped=len(empty))
    many = f" (the first of {len(empty):,} such rows of {len(table):,})" if len(empty) > 1 else ""
    for row in sorted(empty):
        column = next(column for column, rows in blank.items() if row in rows)
        cure = "remove them or set data.drop_empty = true (of a verb: --skip-bad)"
        refuse(fault(table.where(row), f"column {quoted(column)} is empty{many}; {cure}"))
    return some(table.select([row for row in range(len(table)) if row not in empty]))


def _blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and (not value or value.isspace()))


def some(table: Table) -> Table:
    """The table. Raises DataError where all of its rows were left out."""
    if not len(table):
        raise fault(table.name, "none of its rows can be used")
    return table


def check_text(table: Table, column: str) -> Table:
    """The table without what is not text; and text that UTF-8 cannot hold: half a character, as JSON can write it."""
    values = table.columns[column]
    wrong = [row for row, value in enumerate(values) if not isinstance(value, str)]
    for row in wrong:
        got = f"column {quoted(column)} holds {quoted(values[row])} ({type(values[row]).__name__}), expected text"
        refuse(fault(table.where(row), f"{got}; make it a string or choose another column"))
    if wrong:
        table = table.select(sorted({*range(len(table))} - {*wrong}))
    try:
        "".join(values := table.columns[column]).encode()
    except UnicodeEncodeError:
        half = [row for row, value in enumerate(values) if re.search("[\ud800-\udfff]", value)]
        for row in half:
            what = f"column {quoted(column)} holds half a character (a lone surrogate); remove it"
            refuse(fault(table.where(row), what))
        table = table.select(sorted({*range(len(table))} - {*half}))
    return some(table)
