"""What verbs work on: texts that are arguments, lines of a file, a column of a table, or come on standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from formers.errors import ConfigError, DataError
from formers.fields import Field
from formers.systems.system import Texts, Typed

LONGEST_NAME = 1000  # a longer argument is a text, not the name of a file
GROUP = 64  # most lines of standard input that are worked on together
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")


def typed_of(field: Field) -> Typed:
    """How a field is written."""
    return next((extra for extra in field.extras if isinstance(extra, Typed)), Typed())


def texts_of(given: dict[str, Any], field: Field) -> Texts:
    """The texts that a command was given; takes them, --file and --column out of its values."""
    typed = typed_of(field)
    texts: list[str] | None = given.pop(field.name, None)
    file, column = given.pop("file", None), given.pop("column", None)
    if typed.source and texts:
        if file or len(texts) > 1:
            raise ConfigError(f"got {' '.join(texts)}{' and --file' if file else ''}, expected one file")
        file, texts = texts[0], None
    if texts == ["-"] and not file:
        texts = None
    if texts and file:
        raise ConfigError(f"give {(typed.metavar or 'text').lower()}s or --file, not both")
    if column and not file:
        raise ConfigError("--column is for --file")
    if texts:
        return Texts.of(texts)
    if file is None or file == "-":
        if sys.stdin.isatty():
            print("one text a line, Ctrl-D ends", file=sys.stderr)
        return Texts(typed_lines(), lambda number: f"line {number}")
    named = file.startswith(("hf:", "builtin:")) or "*" in file
    if column or typed.source or (typed.table and (named or file.removesuffix(".gz").endswith(TABLES))):
        from formers.data.sources import read_column

        table, texts = read_column(file, column)
        return Texts([texts], lambda number: table.where(number - 1), places=table.lines or table.rows)
    from formers.data.files import text_lines

    return Texts([text_lines(file)], lambda number: f"line {number}")


def typed_lines() -> Iterator[list[str]]:
    """Lines of standard input as they come: those that are there already together, at most GROUP."""
    number, rest = 0, b""
    incoming: Any = sys.stdin.buffer
    while data := incoming.read1(65536):  # what there is by now; waits where there is nothing
        *whole, rest = (rest + data).split(b"\n")
        for start in range(0, len(whole), GROUP):
            yield [decoded(line, number + i) for i, line in enumerate(whole[start : start + GROUP], start + 1)]
        number += len(whole)
    if rest:
        yield [decoded(rest, number + 1)]


def decoded(line: bytes, number: int) -> str:
    """A line of standard input as text."""
    try:
        return line.decode("utf-8").removesuffix("\r")
    except UnicodeDecodeError as error:
        where = f"standard input, line {number}, byte {error.start + 1}"
        raise DataError(f"{where}: not UTF-8; convert it, for example with iconv") from error


def passage_of(given: str, option: str) -> str:
    """The text that a `Passage` is: as it was given, what a file holds, or standard input."""
    if given == "-":
        text = standard_input()
    elif len(given) < LONGEST_NAME and "\n" not in given and os.path.isfile(os.path.expanduser(given)):
        from formers.data.files import read_text

        text = read_text(given)
    elif " " not in given.strip() and ("/" in given or given.endswith((".txt", ".md"))):
        raise DataError(f"{option} {given}: there is no such file; give a file, or the text itself in quotes")
    else:
        text = given
    if not text.strip():
        raise DataError(f"{option} {given}: is empty, expected a text")
    return text


def standard_input() -> str:
    """All of it, without the line feed at its end."""
    lines = sys.stdin.buffer.read().split(b"\n")
    return "\n".join(decoded(line, number) for number, line in enumerate(lines, 1)).removesuffix("\n")
