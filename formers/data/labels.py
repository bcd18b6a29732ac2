"""Labels out of a column: names, numbers of classes, lists of them, or numbers to learn; every fault with its row."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from formers.data.files import ending, fault, listed, located, quoted
from formers.data.sources import Table
from formers.errors import ConfigError, DataError

LabelKind = Literal["one", "several", "number"]


@dataclass(frozen=True)
class Labels:
    """What can be said of a text: one of the names, any number of them, or a number (which has one name)."""

    kind: LabelKind
    names: tuple[str, ...]

    def answers(self, table: Table, column: str, separator: str = "") -> NDArray[Any]:
        """The labels of all rows: (rows,) class numbers; (rows, names) 0 and 1; (rows,) numbers.

        Raises DataError with the row: a label that is unknown or out of range, what is no number.
        """
        if self.kind == "number":
            return np.array([number(table, row, column) for row in range(len(table))], np.float32)
        places = {name: place for place, name in enumerate(self.names)}
        numbered = not any(name.isdecimal() for name in self.names)  # else "2" is a name, not a place
        wrong: list[tuple[int, Any]] = []
        labelled: list[tuple[int, int]] = []
        for row, value in flat(table, column, self.kind, separator):
            place = places.get(spelled(value))
            if place is None and numbered and (whole := integer(value)) is not None and 0 <= whole < len(self.names):
                place = whole
            if place is None:
                wrong.append((row, value))
            else:
                labelled.append((row, place))
        if wrong:
            raise self.unknown(table, *wrong[0], len({row for row, _ in wrong}), numbered)
        if self.kind == "one":
            return np.array([place for _, place in labelled], np.int64)
        several = np.zeros((len(table), len(self.names)), np.int64)
        for row, place in labelled:
            several[row, place] = 1
        return several

    def unknown(self, table: Table, row: int, value: Any, rows: int, numbered: bool) -> DataError:
        many = f" (the first of {rows:,} such rows of {len(table):,})" if rows > 1 else ""
        if numbered and integer(value) is not None:
            what = f"the label {value} is out of range{many}: there are {len(self.names)}, 0 to {len(self.names) - 1}"
            return fault(table.where(row), f"{what} ({listed(self.names)})")
        got = f"the label {quoted(spelled(value))} is not among those learned{many}: {listed(self.names)}"
        return fault(table.where(row), f"{got}; correct it, leave the row out, or train with it")


def learn_labels(
    table: Table, column: str, kind: str = "auto", *, known: Sequence[str] = (), separator: str = ""
) -> Labels:
    """The labels of a training table. known: those of the model to begin with, whose order is kept if they are these.

    kind auto: lists, and fields with a separator, are "several"; numbers with a fraction "number"; all else "one" of
    the classes. Whole numbers are named by the file (`file_names`), else by `known`, else by themselves.
    Raises DataError: one class only, mixed values.
    """
    if separator and kind not in ("auto", "several"):
        fix = "set task.kind to several (or auto), or leave rows.separator empty"
        raise ConfigError(
            f'rows.separator = {quoted(separator)} parts several labels, but task.kind is "{kind}"; {fix}'
        )
    kind = "several" if separator else guess(table, column) if kind == "auto" else kind
    if kind == "number":
        answers = Labels("number", (column,)).answers(table, column)
        if (answers == answers[0]).all():
            raise fault(table.name, f"all {len(table):,} rows have the {column} {answers[0]:g}: nothing can be learned")
        return Labels("number", tuple(known) if len(known) == 1 else (column,))
    several: LabelKind = "several" if kind == "several" else "one"
    values = [value for _, value in flat(table, column, several, separator)]
    whole = [integer(value) for value in values] if all(type(value) is int for value in values) else []
    named = file_names(table, column) if whole else ()
    names = list(named) or names_of(values)
    if set(names) == set(known) or (whole and not named and fits(values, known)):
        names = list(known)
    seen = set(map(spelled, values))
    if several == "one" and len(seen) < 2:
        fix = f"a classifier needs at least two; look at rows.label ({column})"
        raise fault(table.name, f"all {len(table):,} rows have the label {quoted(seen.pop())}: {fix}")
    if not seen:
        raise fault(table.name, f"no row has any label in the column {quoted(column)}")
    return Labels(several, tuple(names))


def fits(values: Sequence[int], known: Sequence[str]) -> bool:
    """Whether whole numbers are places among the labels of a model: it has as many as they reach to."""
    reach = bool(known) and min(values) >= 0 and max(values) == len(known) - 1
    return reach and not any(name.isdecimal() for name in known)


def guess(table: Table, column: str) -> LabelKind:
    """What the values of a column look like."""
    values = table.columns[column]
    if any(isinstance(value, list | tuple) for value in values):
        return "several"
    kinds = {type(value) for value in values}
    if kinds <= {int, float} and float in kinds:
        return "number"
    if kinds == {str} and any("." in value for value in values) and all(is_number(value) for value in values):
        return "number"
    return "one"


def flat(table: Table, column: str, kind: LabelKind, separator: str) -> Iterator[tuple[int, Any]]:
    """(row, label) of every label; of several, a row has as many as it has. Refuses values of another kind."""
    values = table.columns[column]
    first = next((type(value) for value in values if not isinstance(value, list | tuple)), None)
    for row, value in enumerate(values):
        if kind == "several" and isinstance(value, str) and separator:
            value = [part.strip() for part in value.split(separator) if part.strip()]
        if kind == "several" and isinstance(value, str | int):
            value = [value]
        if (kind == "several") != isinstance(value, list | tuple):
            wanted = 'a list of labels (task.kind is "several")' if kind == "several" else "one label"
            raise fault(table.where(row), f"column {quoted(column)} holds {quoted(value)}, expected {wanted}")
        for label in value if kind == "several" else [value]:
            if not isinstance(label, str | int) or (kind == "one" and type(label) is not first):
                plain = "a name or a whole number"
                wanted = plain if first is None or isinstance(label, float) else f"{first.__name__} as in the first row"
                got = f"column {quoted(column)} holds {quoted(label)} ({type(label).__name__})"
                raise fault(table.where(row), f"{got}, expected {wanted}")
            yield row, label


def spelled(value: Any) -> str:
    """The name of a label as it is written."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def integer(value: Any) -> int | None:
    """The whole number that a value is or spells; None for another."""
    if type(value) is int:
        return value
    text = value.removeprefix("-") if isinstance(value, str) else ""
    return int(value) if text.isascii() and text.isdecimal() else None


def is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def number(table: Table, row: int, column: str) -> float:
    """The number of a row. Raises DataError where there is none, or one that is not finite."""
    value = table.columns[column][row]
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if not is_number(text):
        raise fault(table.where(row), f"column {quoted(column)} holds {quoted(value)}, expected a finite number")
    return float(text)


def names_of(values: Sequence[Any]) -> list[str]:
    """The different labels in order; whole numbers by size."""
    names = {spelled(value) for value in values}
    digits = all(integer(name) is not None for name in names)
    return sorted(names, key=lambda name: (int(name), name)) if digits else sorted(names)


def file_names(table: Table, column: str) -> tuple[str, ...]:
    """The names of numbered classes that a source carries; none where it carries none.

    Those of the column, as `datasets` writes them, else those of the key "labels" in the schema of a Parquet file.
    """
    if column in table.names:
        return table.names[column]
    name = table.files[0] if table.files else table.name
    if ending(name) != ".parquet" or not located(name).is_file():
        return ()
    stored = importlib.import_module("pyarrow.parquet").read_schema(located(name)).metadata or {}
    if b"labels" not in stored:
        return ()
    try:
        names = json.loads(stored[b"labels"])
    except ValueError:
        names = None
    if not isinstance(names, list) or len(set(map(str, names))) < len(names):
        got = f'the key "labels" of its schema is {quoted(stored[b"labels"])}'
        raise fault(name, f"{got}, expected a JSON list of different names")
    return tuple(map(str, names))
