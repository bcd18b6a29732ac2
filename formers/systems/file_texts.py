"""The texts of a file as every verb takes them: its lines, or a column of a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from formers.data.documents import TABLES
from formers.data.files import ending, numbered_lines
from formers.data.texts import read_column, read_pairs
from formers.errors import DataError
from formers.notes import note

# Groups of texts, what a number is called in a message, and their lines or rows.
Placed = tuple[list[list[str]], Callable[[int], str], Sequence[int] | None]


def file_texts(file: str, column: str | None, *, pairs: bool) -> Placed:
    """The texts of a file: its lines, or a column of a table. pairs: two columns, a tab between their texts."""
    if not file.strip():
        raise DataError("--file has no name, expected a file, a table, hf:NAME or builtin:NAME")
    named = file.startswith(("hf:", "builtin:")) or "*" in file or os.path.isdir(os.path.expanduser(file))
    if not column and not named and ending(file) not in TABLES:
        lines = numbered_lines(file)
        numbers = list(lines)
        return [list(lines.values())], lambda n: f"{file}, line {numbers[n - 1]}", numbers
    table, texts = (read_pairs if pairs else read_column)(file, column)
    if not table.header:
        note(f"{table.described}; if its first line is a header, name a column of it with --column")
    return [texts], lambda number: table.where(number - 1), table.lines or table.rows
