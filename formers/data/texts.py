"""Texts out of a table, whatever its form: one of its columns, or two of them as pairs."""

from __future__ import annotations

from collections.abc import Sequence

from formers.data.files import MissingColumn, Refusal, ending, fault, listed, quoted, refuse
from formers.data.sources import Table, read_table

PAIR = ("text", "second")  # what the columns of pairs are called where the file does not name them


def read_column(name: str, column: str | None, bad: Refusal = refuse) -> tuple[Table, list[str]]:
    """A table and the texts of one of its columns, by default the only one of texts; empty cells are empty texts.

    bad: what is done about a row that cannot be read or holds no text, which is left out.
    """
    if column is None:
        return read_texts(name, [column_of_texts(name)], bad)
    return named(read_texts(name, [column], bad))


def read_pairs(name: str, columns: str | None, bad: Refusal = refuse) -> tuple[Table, list[str]]:
    """A table and pairs of texts of two of its columns, a tab between them; columns: their names, a comma between."""
    wanted = [part.strip() for part in columns.split(",")] if columns else list(PAIR)
    if len(set(wanted)) != 2:
        raise fault(name, f"--column {columns}: got {len(wanted)} column(s), expected two: --column FIRST,SECOND")
    if columns is None:
        try:
            return read_texts(name, wanted, bad)
        except MissingColumn as error:
            wanted = list(read_table(name, drop_empty=None, bad=bad).columns)
            if len(wanted) != 2:
                raise MissingColumn(f"{error}; choose with --column FIRST,SECOND", error.columns) from None
    return named(read_texts(name, wanted, bad)) if columns else read_texts(name, wanted, bad)


def named(read: tuple[Table, list[str]]) -> tuple[Table, list[str]]:
    """What was read, of columns that somebody named. Raises DataError where the file names none."""
    table, _ = read
    if not table.header:
        what = f"no column {listed(table.columns)}: its first line is no header; leave out --column, or write one"
        raise fault(table.name, what)
    return read


def read_texts(name: str, columns: Sequence[str], bad: Refusal) -> tuple[Table, list[str]]:
    """A table with the columns, and their texts, a tab between those of a row."""
    table = read_table(name, columns=columns, text=[], drop_empty=None, bad=bad)
    texts: list[str] = []
    kept: list[int] = []
    for row in range(len(table)):
        values = ["" if (value := table.columns[column][row]) is None else value for column in columns]
        if wrong := [
            (column, value) for column, value in zip(columns, values, strict=True) if not isinstance(value, str)
        ]:
            column, value = wrong[0]
            got = f"column {quoted(column)} holds {quoted(value)} ({type(value).__name__}), expected text"
            bad(fault(table.where(row), f"{got}; choose another column with --column"))
            continue
        kept.append(row)
        texts.append(values[0] if len(values) == 1 else "\t".join(value.replace("\t", " ") for value in values))
    return (table if len(kept) == len(table) else table.select(kept)), texts


def column_of_texts(name: str) -> str:
    """The one column of a file that holds text."""
    if ending(name) == ".txt":
        return "text"
    columns = read_table(name, drop_empty=None, bad=lambda error: None).columns
    names = [name for name, values in columns.items() if all(isinstance(v, str) or v is None for v in values)]
    if len(names) != 1 and "text" not in names:
        raise fault(name, f"the columns are {listed(columns)}; say which holds the texts: --column NAME")
    return "text" if "text" in names else names[0]
