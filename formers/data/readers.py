"""Files into columns: every kept format behind `read_file`; every fault is one line that says where."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from formers.data.columns import Columns
from formers.data.delimited import read_csv, read_tsv
from formers.data.files import ending, fault, listed, located, missing, numbered_lines, quoted, text_lines
from formers.data.objects import read_json, read_jsonl
from formers.data.parquet import read_parquet


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


def read_txt(name: str, wanted: list[str] | None) -> Columns:
    """One row a line, in one column: the wanted one, else `text`."""
    if wanted is not None and len(wanted) != 1:
        fix = "give one file for each, separated by commas, or a .tsv"
        got = f"{len(wanted)} are wanted ({listed(wanted)})"
        raise fault(name, f"a .txt file has one column, but {got}: {fix}")
    lines = numbered_lines(name)
    return Columns({(wanted or ["text"])[0]: list(lines.values())}, list(lines))


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


READERS: dict[str, Callable[[str, list[str] | None], Columns]] = {
    ".txt": read_txt,
    ".tsv": read_tsv,
    ".csv": read_csv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".parquet": read_parquet,
}
