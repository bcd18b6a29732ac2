"""What verbs work on: texts that are arguments, lines of a file, a column of a table, or come on standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from formers.data.standard_input import spooled, typed_lines
from formers.errors import ConfigError
from formers.fields import Field
from formers.systems.system import Typed
from formers.systems.texts import Texts


def typed_of(field: Field) -> Typed:
    """How a field is written."""
    return next((extra for extra in field.extras if isinstance(extra, Typed)), Typed())


def texts_of(given: dict[str, Any], field: Field) -> Texts:
    """The texts that a command was given; takes them, --file and --column out of its values.

    One rule for all verbs: - is standard input, a line a text; a table, by its ending or because --column names one,
    gives a column; any other file its lines.
    """
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
        if column:
            raise ConfigError("--column is for --file with a table; of standard input every line is a text")
        if sys.stdin.isatty():
            print("one text a line, Ctrl-D ends", file=sys.stderr)
        places: list[int] = []
        return Texts(typed_lines(places), lambda number: f"line {places[number - 1]}", places=places)
    from formers.systems.file_texts import file_texts

    return file_texts(file, column, pairs=bool(typed.pairs and given.get(typed.pairs)))


@contextmanager
def files_of(given: dict[str, Any], fields: Mapping[str, Field]) -> Iterator[None]:
    """Within it, standard input is a file: where an option that names a file or data source says -, it names that."""
    asked = [name for name in given.keys() & fields.keys() if typed_of(fields[name]).file and given[name] == "-"]
    if not asked:
        yield
        return
    if len(asked) > 1:
        raise ConfigError(f"standard input comes once: give - for one of {', '.join(sorted(asked))}")
    with spooled(plain=typed_of(fields[asked[0]]).plain) as given[asked[0]]:
        yield
