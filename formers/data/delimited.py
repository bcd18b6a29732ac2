"""Tables of fields between separators: which separator, whether there is a header, every row of as many fields."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from formers.data.bad_rows import refuse
from formers.data.columns import Columns
from formers.data.files import ending, fault, listed, no_column, numbered_lines, quoted, read_text
from formers.data.header import is_counted, is_name, looks_like_names
from formers.data.limits import budget

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
PROBED = 40  # rows that the separator and the header are guessed by


class Record(NamedTuple):
    """The fields of a row, none of a blank line, and the line that it begins on, from 1."""

    line: int
    fields: list[str]


def read_tsv(name: str, wanted: list[str] | None) -> Columns:
    """Fields between tabs, taken literally: a quote is part of the sentence, as in every parallel corpus."""
    lines = numbered_lines(name)
    budget().check(name, values=len(lines) + sum(line.count("\t") for line in lines.values()))
    records = [Record(number, line.split("\t") if line.strip() else []) for number, line in lines.items()]
    return table_of(name, records, wanted, "tab")


def read_csv(name: str, wanted: list[str] | None) -> Columns:
    """Fields between commas, or what the first lines show instead: ; tab |. Standard quoting.

    A quoted value may hold separators, quotes and line breaks. A line `sep=;`, as spreadsheets write it, is obeyed.
    """
    text = read_text(name)
    budget().check(name, rows=text.count("\n"))  # before an object is made of each line
    lines = list(io.StringIO(text, newline=""))
    head = lines[0].strip().casefold() if lines else ""
    named = head[4:] if head.startswith("sep=") and head[4:] in SEPARATORS else ""
    separator = named or separator_of(lines, wanted)
    allowed, values = budget(), 0
    records = []
    for record in parsed(name, lines, separator, first=bool(named)):
        values += len(record.fields)
        records.append(record)
        if len(records) % 4096 == 0:
            allowed.check(name, rows=len(records), values=values)
    allowed.check(name, rows=len(records), values=values)
    return table_of(name, records, wanted, SEPARATORS[separator])


def parsed(name: str, lines: Sequence[str], separator: str, *, first: bool = False) -> Iterator[Record]:
    """The rows of a file of standard quoting; after one that is broken it goes on with the next line."""
    start = int(first)
    head = lines[start] if start < len(lines) else ""
    # `text, label`: a space after every separator of the header is none of the names
    spaced = '"' not in head and head.count(separator) == head.count(separator + " ") > 0
    while start < len(lines):
        rest = islice(lines, start, None)
        reader = csv.reader(rest, delimiter=separator, strict=True, skipinitialspace=spaced)
        begin = start
        try:
            for fields in reader:
                yield Record(begin + 1, [] if not any(map(str.strip, fields)) and len(fields) == 1 else fields)
                begin = start + reader.line_num  # the next row begins on the line after the last one read
            return
        except csv.Error as error:
            if "field limit" in str(error):
                most = f"{csv.field_size_limit():,} characters"
                hint = f"a value is longer than {most}; close its quote or use .jsonl"
            else:
                hint = f'{error}; quote values that hold commas or line breaks, and write a quote inside as ""'
            refuse(fault(f"{name}, line {begin + 1}", hint))
            start = begin + 1


def separator_of(lines: Sequence[str], wanted: Sequence[str] | None) -> str:
    """What parts the fields: the separator with which the first line has the wanted names, else that which gives rows
    of one width. A comma where nothing tells.
    """
    best, separator = (False, False, 0), ","
    for sign in SEPARATORS:
        try:
            rows = [row for row in islice(csv.reader(islice(lines, PROBED), delimiter=sign), PROBED) if row]
        except csv.Error:
            continue
        if not rows:
            continue
        widths = [len(row) for row in rows[:-1] or rows]  # the last may be the beginning of one
        named = wanted is not None and set(wanted) <= {field.strip() for field in rows[0]}
        even = widths[0] > 1 and set(widths) == {widths[0]}
        fitting = even and (wanted is None or widths[0] >= len(wanted))
        if (named, fitting, 0) > best:
            best, separator = (named, fitting, 0), sign
    return separator


def table_of(name: str, records: list[Record], wanted: list[str] | None, sign: str) -> Columns:
    """Columns out of rows of fields; the first row that is not blank decides whether there is a header."""
    at = next((at for at, record in enumerate(records) if record.fields), None)
    if at is None:
        return Columns({column: [None] * len(records) for column in wanted or []}, [line for line, _ in records])
    first = records[at]
    body = [record.fields for record in islice(records, at + 1, at + 1 + PROBED) if record.fields]
    header = header_of(f"{name}, line {first.line}", first.fields, body, wanted)
    names = header if header is not None else list(wanted or numbered(first.fields))
    records = records if header is None else records[:at] + records[at + 1 :]
    numbers = 1 if is_numbered(records, len(names)) else 0
    kept: list[Record] = []
    for record in records:
        fields = record.fields[numbers:]
        while len(fields) > len(names) and not fields[-1].strip():  # separators at the end of a line
            fields = fields[:-1]
        if fields and len(fields) != len(names):
            got = f"{len(fields)} field{'s' * (len(fields) != 1)}, expected {len(names)} ({listed(names)})"
            quoting = '"' in "".join(fields) and ending(name) == ".tsv"
            hint = "; if its fields are quoted, let its name end in .csv" if quoting else ""
            refuse(fault(f"{name}, line {record.line}", f"{got}; look for a missing or extra {sign}{hint}"))
            continue
        kept.append(Record(record.line, fields))
    places = [(column, names.index(column)) for column in (names if wanted is None else wanted)]
    values = {column: [fields[place] if fields else None for _, fields in kept] for column, place in places}
    return Columns(values, [line for line, _ in kept], header=header is not None)


def is_numbered(records: Sequence[Record], width: int) -> bool:
    """Whether every row begins with its number, which the header leaves out, as R writes tables."""
    rows = [fields for _, fields in records if fields]
    return bool(rows) and all(len(row) == width + 1 and row[0] == str(n) for n, row in enumerate(rows, 1))


def numbered(fields: Sequence[str]) -> list[str]:
    """Names of columns that have none."""
    return [f"column {number}" for number in range(1, len(fields) + 1)]


def header_of(where: str, first: list[str], body: list[list[str]], wanted: list[str] | None) -> list[str] | None:
    """The header that the first line is, or None when it is already data (the rule is in `read_table`)."""
    names = [field.strip() for field in first]
    while len(names) > 1 and not names[-1] and all(len(row) < len(names) or not row[len(names) - 1] for row in body):
        names.pop()  # separators at the end of a line
    if wanted is None:
        alone = len(names) == 1  # a list of texts: one is a name only if it looks like one
        named = is_counted(names) or all(is_name(field) for field in names if field)
        if not (looks_like_names(names, body) if alone else named):
            return None
    if wanted is None or set(wanted) <= set(names):
        twice = next((column for column in (wanted or names) if column and names.count(column) > 1), None)
        if twice is not None:
            raise fault(where, f"the header names the column {quoted(twice)} twice; rename one")
        return [field or number for field, number in zip(names, numbered(names), strict=True)]
    folded = {field.casefold() for field in names}
    overlap = folded & {column.casefold() for column in wanted}
    fits = len(names) == len(wanted) and not overlap
    if fits and not looks_like_names(names, body):
        return None
    plain = f"a file without a header has {len(wanted)} fields in each row: {listed(wanted)}"
    cure = f"; if this line is no header, put one before it: {listed(wanted)}" if fits else f"; {plain}"
    raise no_column(where, wanted, names, hint="" if overlap else cure)
