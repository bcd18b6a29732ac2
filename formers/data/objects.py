"""Rows that are objects: a JSON object a line, or one list of them; WMT's nested translations too."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from formers.data.bad_rows import refuse
from formers.data.columns import Columns, Lines
from formers.data.files import ending, fault, listed, no_column, numbered_lines, quoted, read_text
from formers.data.limits import budget
from formers.errors import DataError

SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # what only half of a character is written with


def read_jsonl(name: str, wanted: list[str] | None) -> Columns:
    """One JSON object a line."""
    rows: list[Any] = []
    lines: list[int] = []
    texts = numbered_lines(name)
    budget().check(name, values=sum(map(size_of, texts.values())))
    for line, text in texts.items():
        try:
            row = parsed(name, text, line - 1) if text.strip() else None
            if text.strip() and not isinstance(row, dict):
                hint = "; a list of objects is a .json file" if isinstance(row, list) and line == 1 else ""
                raise fault(f"{name}, line {line}", f"got {quoted(row)}, expected an object such as {{...}}{hint}")
        except DataError as error:
            refuse(error)
            continue
        rows.append(row)
        lines.append(line)
    return columns_of(name, "line", rows, lines, wanted)


def read_json(name: str, wanted: list[str] | None) -> Columns:
    """One list of objects."""
    text = read_text(name)
    budget().check(name, values=size_of(text))
    rows = parsed(name, text, 0) if text.strip() else []
    if not isinstance(rows, list):
        kind = f"an object with the keys {listed(rows)}" if isinstance(rows, dict) else quoted(rows)
        fix = "write [{...}, ...], or name the file .jsonl"
        raise fault(name, f"got {kind}, expected a list of objects; {fix}")
    budget().check(name, rows=len(rows))
    numbers = []
    for number, row in enumerate(rows, 1):
        if isinstance(row, dict):
            numbers.append(number)
        else:
            refuse(fault(f"{name}, row {number}", f"got {quoted(row)}, expected an object such as {{...}}"))
    return columns_of(name, "row", [rows[number - 1] for number in numbers], numbers, wanted)


def size_of(text: str) -> int:
    """About how many values a JSON text has."""
    return text.count(",") + text.count("[") + text.count("{")


def parsed(name: str, text: str, before: int) -> object:
    """Parse JSON that begins after `before` lines of the file."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{name}, line {before + error.lineno}, column {error.colno}"
        more = error.msg == "Extra data" and ending(name) == ".json"
        hint = "; if it holds one object a line, name the file .jsonl" if more else ""
        raise fault(where, f"bad JSON: {error.msg}{hint}") from None
    except (ValueError, RecursionError) as error:  # a number too long, brackets nested too deep
        raise fault(f"{name}, line {before + 1}", f"bad JSON: {error}") from None
    if SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            what = "holds half a character (a lone surrogate), which is no text; remove it"
            raise fault(f"{name}, line {before + 1}", what) from None
    return value


def columns_of(
    name: str, word: str, rows: Sequence[dict | None], numbers: list[int], wanted: list[str] | None
) -> Columns:
    """Columns out of objects: `wanted`, else the keys of the first object, which all must then have.

    word, numbers: what a row is called, and its number.
    """
    flat = [row if row is None else flat_row(row, wanted) for row in rows]
    first: dict = next((row for row in flat if row is not None), {})
    keys = list(first) if wanted is None else wanted
    kept: list[dict | None] = []
    places: list[int] = []
    for number, row in zip(numbers, flat, strict=True):
        where = f"{name}, {word} {number}"
        if row is not None and any(key not in row for key in keys):
            refuse(no_column(where, keys, list(row), "key"))
            continue
        if row is not None and wanted is None and len(row) > len(keys):
            extra = next(key for key in row if key not in first)
            refuse(fault(where, f"the key {quoted(extra)} is not in the first row; name the columns you want"))
            continue
        kept.append(row)
        places.append(number)
    lines: Lines = places if word == "line" else None
    values = {key: [row if row is None else row[key] for row in kept] for key in keys}
    return Columns(values, lines, rows=None if word == "line" else places)


def flat_row(row: dict, wanted: list[str] | None) -> dict:
    """The WMT layout `{"translation": {"en": ..., "de": ...}}` without its outer level, if not wanted."""
    nested = row.get("translation")
    if not isinstance(nested, dict) or "translation" in (wanted or ()):
        return row
    return {**{key: value for key, value in row.items() if key != "translation"}, **nested}


def flatten(name: str, values: dict[str, list], wanted: list[str] | None) -> Columns:
    """Columns as they came, with a nested `translation` column spread into its languages."""
    nested = values.get("translation")
    if not nested or "translation" in (wanted or ()) or not any(isinstance(value, dict) for value in nested):
        if any(column not in values for column in wanted or ()):
            raise no_column(name, wanted or (), list(values))
        return Columns(values)
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    rows_or_none = [None if row["translation"] is None else row for row in rows]
    return columns_of(name, "row", rows_or_none, list(range(1, len(rows) + 1)), wanted)
