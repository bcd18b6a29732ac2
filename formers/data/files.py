"""Files into columns: every kept format behind `read_file`; every fault is one line that says where."""

from __future__ import annotations

import csv
import glob
import gzip
import importlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from formers.data.class_names import ClassNames, stored_class_names
from formers.errors import DataError, near, nearest

Lines = list[int] | None
SHOWN = 12  # names listed in an error before "and 29 more": an error stays one readable line
COMPRESSED = ".gz"


class Columns(NamedTuple):
    """Columns of equal length; for text formats the 1-based line that each row begins on; names of class numbers."""

    values: dict[str, list]
    lines: Lines = None
    names: ClassNames | None = None


def read_file(name: str, wanted: Sequence[str] | None) -> Columns:
    """Read one file by its ending; a blank line becomes a row of None, which the caller reports or drops."""
    path = located(name)
    if not os.path.exists(path):  # Path.exists raises for a name that is too long or a folder that is closed
        raise missing(name, path)
    if path.is_dir():
        raise fault(name, "is a folder, expected a file")
    suffix = ending(name)
    if suffix not in READERS:
        got = f"unknown ending {quoted(suffix)}" if suffix else "the name has no ending"
        expected = f"one of {', '.join(sorted(READERS))} (or of a text form, .gz)"
        raise fault(name, f"{got}, expected {expected}; convert or rename it")
    return READERS[suffix](name, list(wanted) if wanted is not None else None)


def located(name: str) -> Path:
    """The path that a name means; unlike Path.expanduser, an unknown `~user` stays as it is written."""
    return Path(os.path.expanduser(name))


def ending(name: str) -> str:
    """The ending that names the format: `.tsv` of `Train.TSV.gz`; `.parquet.gz` is none and stays."""
    path = Path(name)
    last = path.suffix.lower()
    if last != COMPRESSED:
        return last
    inner = Path(path.stem).suffix.lower()
    return inner if inner and inner != ".parquet" else inner + COMPRESSED


# ---- faults ------------------------------------------------------------------------------------------------


def fault(where: str, what: str) -> DataError:
    """One line, whatever a file name, a value or a library's message contains."""
    return DataError("\\n".join(line for line in f"{where}: {what}".splitlines() if line.strip()))


def quoted(value: object) -> str:
    """A value for a message: quoted, and cut when long."""
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..." + ('"' if isinstance(value, str) else "")


def listed(names: Iterable[str]) -> str:
    """`a, b, c and 29 more`."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def matching(pattern: Path) -> list[str]:
    """The files that match a pattern, sorted."""
    return sorted(path for path in glob.glob(str(pattern), recursive=True) if os.path.isfile(path))


def held(name: str, folder: Path) -> list[str]:
    """The names in a folder, sorted."""
    try:
        return sorted(os.listdir(folder))
    except PermissionError:
        raise fault(name, f"no permission to read the folder {folder}") from None


def missing(name: str, path: Path) -> DataError:
    """Why a path does not exist: the deepest folder that does, and what in it is meant."""
    folder, lost = path.parent, path
    while not os.path.isdir(folder) and folder != folder.parent:
        folder, lost = folder.parent, folder
    names = held(name, folder)
    if lost.name in names:
        reason = "a link to nothing, a file taken for a folder, or no permission"
        return fault(name, f"{lost} cannot be followed: {reason}")
    close = near(lost.name, names)
    step = "does not exist" if lost == path else f"does not exist, for there is no {quoted(lost.name)}"
    if close:
        return fault(name, f'{step}; the folder {folder} does and holds "{close}": did you mean that?')
    what = f"holds {listed(names)}" if names else "is empty"
    return fault(name, f"{step}; the folder {folder} does and {what}")


def no_column(where: str, column: str, columns: Sequence[str], word: str = "column") -> DataError:
    """A wanted column that is not there: those that are, and the nearest."""
    close = nearest(column, columns) if near(column, columns) else ""
    return fault(where, f"no {word} {quoted(column)}; the {word}s are {listed(columns) or 'none'}{close}")


def optional(module: str, extra: str, what: str) -> ModuleType:
    """Import a library that only an extra installs; when it is missing, say how to get it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the library is there, and something of its own is broken: not ours to explain away
        raise DataError(f'{what} needs the package {package}: pip install "formers[{extra}]"') from None


# ---- text --------------------------------------------------------------------------------------------------


def read_text(name: str) -> str:
    """The text of a UTF-8 file, plain or .gz, without byte order mark; faults name line and byte, from 1."""
    path = located(name)
    try:
        data = path.read_bytes()
        if path.suffix.lower() == COMPRESSED:
            data = gzip.decompress(data)
    except FileNotFoundError:
        raise missing(name, path) from None
    except IsADirectoryError:
        raise fault(name, "is a folder, expected a file") from None
    except PermissionError:
        raise fault(name, "no permission to read it; allow it with: chmod u+r") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise fault(name, f"broken gzip file ({error}); copy or compress it again") from None
    except OSError as error:
        raise fault(name, f"cannot be read ({error.strerror or error})") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = error.start - data.rfind(b"\n", 0, error.start)
        utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        hint = "it looks like UTF-16" if utf16 else "perhaps it is Latin-1 or Windows-1252"
        got = f"got 0x{data[error.start]:02x}, expected UTF-8"
        raise fault(f"{name}, line {line}, byte {byte}", f"{got}; {hint}: save the file as UTF-8") from None
    return text.removeprefix("\ufeff")


def text_lines(name: str) -> list[str]:
    """The lines of a text file. Only a line feed ends one: `str.splitlines` would cut at U+2028 as well."""
    text = read_text(name)
    if not text:
        return []
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def _read_txt(name: str, wanted: list[str] | None) -> Columns:
    """One row a line, in one column: the wanted one, else `text`."""
    if wanted is not None and len(wanted) != 1:
        fix = "give one file for each, separated by commas, or a .tsv"
        got = f"{len(wanted)} are wanted ({listed(wanted)})"
        raise fault(name, f"a .txt file has one column, but {got}: {fix}")
    lines = text_lines(name)
    return Columns({(wanted or ["text"])[0]: lines}, list(range(1, len(lines) + 1)))


def read_parallel(names: Sequence[str], wanted: Sequence[str] | None) -> Columns:
    """Text files of equal length, one sentence a line, as columns side by side.

    The columns are `wanted`, in that order; without them the endings of the files name them (`train.en`: en).
    """
    whole = ",".join(names)
    for name in names:
        if ending(name) in READERS and ending(name) != ".txt":
            what = f"commas join text files of one sentence a line, but {name} is a table; give it alone"
            raise fault(whole, what)
    endings = [ending(name).removeprefix(".") for name in names]
    columns = list(wanted) if wanted is not None else endings
    if len(columns) != len(names):
        raise fault(whole, f"{len(names)} files, but {len(columns)} columns are wanted ({listed(columns)})")
    if len(set(columns)) < len(columns) or "" in columns:
        raise fault(whole, f"the endings ({listed(columns)}) give no distinct column names; name the columns")
    if set(columns) == set(endings) and columns != endings:
        # "a.en,a.de" read as German-English would train the wrong way round without a word
        order = ",".join(names[endings.index(column)] for column in columns)
        got = f"the files hold {listed(endings)}, but the columns are {listed(columns)}"
        raise fault(whole, f"{got}: write {order}")
    values = [text_lines(name) for name in names]
    if len({len(lines) for lines in values}) > 1:
        sizes = zip(names, values, strict=True)
        counts = ", ".join(f"{name} has {len(lines):,} lines" for name, lines in sizes)
        raise fault(whole, f"{counts}; line n of each file must be the same sentence: make the counts equal")
    return Columns(dict(zip(columns, values, strict=True)), list(range(1, len(values[0]) + 1)))


# ---- tables ------------------------------------------------------------------------------------------------


def _read_tsv(name: str, wanted: list[str] | None) -> Columns:
    """Fields between tabs, taken literally: a quote is part of the sentence, as in every parallel corpus."""
    rows = [line.split("\t") if line.strip() else [] for line in text_lines(name)]
    return _table(name, rows, list(range(1, len(rows) + 1)), wanted)


def _read_csv(name: str, wanted: list[str] | None) -> Columns:
    """Fields between commas, standard quoting: a quoted value may hold commas, quotes and line breaks."""
    reader = csv.reader(io.StringIO(read_text(name), newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    line = 1
    try:
        for row in reader:
            rows.append([] if len(row) == 1 and not row[0].strip() else row)
            lines.append(line)
            line = reader.line_num + 1  # the next record begins on the line after the last one read
    except csv.Error as error:
        if "field limit" in str(error):
            most = f"{csv.field_size_limit():,} characters"
            hint = f"a value is longer than {most}; close its quote or use .jsonl"
        else:
            hint = f'{error}; quote values that hold commas or line breaks, and write a quote inside as ""'
        raise fault(f"{name}, line {line}", hint) from None
    return _table(name, rows, lines, wanted)


def _table(name: str, rows: list[list[str]], lines: list[int], wanted: list[str] | None) -> Columns:
    """Columns out of rows of fields; the first row that is not blank decides whether there is a header."""
    first = next((row for row in rows if row), None)
    if first is None:
        return Columns({column: [None] * len(rows) for column in wanted or []}, lines)
    start = rows.index(first)
    header = _header(f"{name}, line {lines[start]}", first, wanted)
    if header is None:
        header = list(wanted or [])
    else:
        del rows[start], lines[start]
    for row, line in zip(rows, lines, strict=True):
        if row and len(row) != len(header):
            sign = "tab" if ending(name) == ".tsv" else "comma"
            got = f"{len(row)} field{'s' * (len(row) != 1)}, expected {len(header)} ({listed(header)})"
            raise fault(f"{name}, line {line}", f"{got}; look for a missing or extra {sign}")
    taken = header if wanted is None else wanted
    places = [(column, header.index(column)) for column in taken]
    return Columns({column: [row[at] if row else None for row in rows] for column, at in places}, lines)


def _header(where: str, first: list[str], wanted: list[str] | None) -> list[str] | None:
    """The header that the first line is, or None when it is already data (the rule is in `read_table`)."""
    if wanted is None or set(wanted) <= set(first):
        named = first if wanted is None else wanted
        twice = next((column for column in named if first.count(column) > 1), None)
        if twice is not None:
            raise fault(where, f"the header names the column {quoted(twice)} twice; rename one")
        return first
    names = {field.strip().casefold() for field in first}
    if len(first) == len(wanted) and not names & {column.casefold() for column in wanted}:
        return None
    column = next(column for column in wanted if column not in first)
    error = no_column(where, column, [quoted(field)[1:-1] for field in first])
    plain = f"a file without a header has {len(wanted)} fields in each row: {listed(wanted)}"
    raise error if names & {column.casefold() for column in wanted} else DataError(f"{error}; {plain}")


# ---- objects -----------------------------------------------------------------------------------------------


def _read_jsonl(name: str, wanted: list[str] | None) -> Columns:
    """One JSON object a line."""
    rows: list[object] = []
    texts = text_lines(name)
    for line, text in enumerate(texts, 1):
        rows.append(_json(name, text, line - 1) if text.strip() else None)
        if text.strip() and not isinstance(rows[-1], dict):
            raise fault(f"{name}, line {line}", f"got {quoted(rows[-1])}, expected an object such as {{...}}")
    return _objects(name, "line", rows, list(range(1, len(rows) + 1)), wanted)


def _read_json(name: str, wanted: list[str] | None) -> Columns:
    """One list of objects."""
    text = read_text(name)
    rows = _json(name, text, 0) if text.strip() else []
    if not isinstance(rows, list):
        kind = f"an object with the keys {listed(rows)}" if isinstance(rows, dict) else quoted(rows)
        fix = "write [{...}, ...], or name the file .jsonl"
        raise fault(name, f"got {kind}, expected a list of objects; {fix}")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise fault(f"{name}, row {number}", f"got {quoted(row)}, expected an object such as {{...}}")
    return _objects(name, "row", rows, None, wanted)


def _json(name: str, text: str, before: int) -> object:
    """Parse JSON that begins after `before` lines of the file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{name}, line {before + error.lineno}, column {error.colno}"
        more = error.msg == "Extra data" and ending(name) == ".json"
        hint = "; if it holds one object a line, name the file .jsonl" if more else ""
        raise fault(where, f"bad JSON: {error.msg}{hint}") from None
    except (ValueError, RecursionError) as error:  # a number too long, brackets nested too deep
        raise fault(f"{name}, line {before + 1}", f"bad JSON: {error}") from None


def _objects(name: str, word: str, rows: Sequence, lines: Lines, wanted: list[str] | None) -> Columns:
    """Columns out of objects: `wanted`, else the keys of the first object, which all must then have."""
    flat = [row if row is None else _flat(row, wanted) for row in rows]
    first: dict = next((row for row in flat if row is not None), {})
    keys = list(first) if wanted is None else wanted
    for number, row in enumerate(flat, 1):
        if row is None:
            continue
        where = f"{name}, {word} {number}"
        lacking = next((key for key in keys if key not in row), None)
        if lacking is not None:
            raise no_column(where, lacking, list(row), "key")
        if wanted is None and len(row) > len(keys):
            extra = next(key for key in row if key not in first)
            raise fault(where, f"the key {quoted(extra)} is not in the first row; name the columns you want")
    return Columns({key: [row if row is None else row[key] for row in flat] for key in keys}, lines)


def _flat(row: dict, wanted: list[str] | None) -> dict:
    """The WMT layout `{"translation": {"en": ..., "de": ...}}` without its outer level, if not wanted."""
    nested = row.get("translation")
    if not isinstance(nested, dict) or "translation" in (wanted or ()):
        return row
    return {**{key: value for key, value in row.items() if key != "translation"}, **nested}


def flatten(name: str, values: dict[str, list], wanted: list[str] | None) -> Columns:
    """Columns as they came, with a nested `translation` column spread into its languages."""
    nested = values.get("translation")
    if not nested or "translation" in (wanted or ()) or not any(isinstance(value, dict) for value in nested):
        return Columns(values)
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return _objects(name, "row", [None if row["translation"] is None else row for row in rows], None, wanted)


def _read_parquet(name: str, wanted: list[str] | None) -> Columns:
    """The wanted columns of a Parquet file."""
    with opened_parquet(name) as file:
        values = file.read(columns=pick(name, file.schema_arrow.names, wanted)).to_pydict()
        names = stored_class_names(file.schema_arrow.metadata)
    return flatten(name, values, wanted)._replace(names=names)


@contextmanager
def opened_parquet(name: str, **options: Any) -> Iterator[Any]:
    """A Parquet file, with options of pyarrow's ParquetFile; its faults are ours."""
    parquet = optional("pyarrow.parquet", "parquet", f"{name}: reading Parquet")
    arrow = importlib.import_module("pyarrow")
    try:
        with parquet.ParquetFile(located(name), **options) as file:
            yield file
    except PermissionError:
        raise fault(name, "no permission to read it; allow it with: chmod u+r") from None
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise fault(name, f"broken Parquet file ({error}); copy or write it again") from None


def pick(name: str, columns: Sequence[str], wanted: Sequence[str] | None) -> list[str] | None:
    """The columns to load: the wanted ones, and `translation` (WMT layout) for those not at the top."""
    if wanted is None:
        return None
    top = [column for column in wanted if column in columns]
    lost = [column for column in wanted if column not in columns]
    if lost and "translation" not in columns:
        raise no_column(name, lost[0], columns)
    return top + ["translation"] * (bool(lost) and "translation" not in top)


READERS: dict[str, Callable[[str, list[str] | None], Columns]] = {
    ".txt": _read_txt,
    ".tsv": _read_tsv,
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
