"""Texts out of a table, whatever its form: one of its columns, or two of them as pairs."""

from __future__ import annotations

from collections.abc import Sequence

from formers.data.bad_rows import leaving_out, refuse
from formers.data.files import MissingColumn, ending, fault, listed, quoted
from formers.data.sources import Table, read_table
from formers.errors import DataError

PAIR = ("text", "second")  # what the columns of pairs are called where the file does not name them


def read_column(name: str, column: str | None) -> tuple[Table, list[str]]:
    """A table and the texts of one of its columns, by default the only one of texts; empty cells are empty texts."""
    if column is not None:
        return named(texts_of(table_with(name, [column]), [column]))
    if ending(name) == ".txt":
        return texts_of(table_with(name, ["text"]), ["text"])
    faults: list[DataError] = []
    with leaving_out(faults):  # until it is clear which column matters
        table = read_table(name, drop_empty=None)
    values = table.columns.items()
    names = [name for name, texts in values if all(isinstance(text, str) or text is None for text in texts)]
    if "text" in table.columns or len(values) == 1:  # whatever it holds: a wrong row is named, or left out
        names = ["text"] if "text" in table.columns else list(table.columns)
    if len(names) != 1:
        raise fault(name, f"the columns are {listed(table.columns)}; say which holds the texts: --column NAME")
    return texts_of(table_with(name, names) if faults else table, names)


def read_pairs(name: str, columns: str | None) -> tuple[Table, list[str]]:
    """A table and pairs of texts of two of its columns, a tab between them; columns: their names, a comma between."""
    wanted = [part.strip() for part in columns.split(",")] if columns else list(PAIR)
    if len(set(wanted)) != 2:
        raise fault(name, f"--column {columns}: got {len(wanted)} column(s), expected two: --column FIRST,SECOND")
    if columns is None:
        try:
            return texts_of(table_with(name, wanted), wanted)
        except MissingColumn as error:
            with leaving_out([]):
                wanted = list(read_table(name, drop_empty=None).columns)
            if len(wanted) != 2:
                raise MissingColumn(f"{error}; choose with --column FIRST,SECOND", error.columns) from None
    read = texts_of(table_with(name, wanted), wanted)
    return named(read) if columns else read


def named(read: tuple[Table, list[str]]) -> tuple[Table, list[str]]:
    """What was read, of columns that somebody named. Raises DataError where the file names none."""
    table, _ = read
    if not table.header:
        what = f"no column {listed(table.columns)}: its first line is no header; leave out --column, or write one"
        raise fault(table.name, what)
    return read


def table_with(name: str, columns: Sequence[str]) -> Table:
    """The columns of a file, whatever they hold."""
    return read_table(name, columns=columns, text=[], drop_empty=None)


def texts_of(table: Table, columns: Sequence[str]) -> tuple[Table, list[str]]:
    """A table and the texts of its columns, a tab between those of a row."""
    texts: list[str] = []
    kept: list[int] = []
    for row in range(len(table)):
        values = ["" if (value := table.columns[column][row]) is None else value for column in columns]
        if wrong := [
            (column, value) for column, value in zip(columns, values, strict=True) if not isinstance(value, str)
        ]:
            column, value = wrong[0]
            got = f"column {quoted(column)} holds {quoted(value)} ({type(value).__name__}), expected text"
            refuse(fault(table.where(row), f"{got}; choose another column with --column"))
            continue
        kept.append(row)
        texts.append(values[0] if len(values) == 1 else "\t".join(value.replace("\t", " ") for value in values))
    return (table if len(kept) == len(table) else table.select(kept)), texts
