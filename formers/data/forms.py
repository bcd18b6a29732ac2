"""Rows that may be written in one of several forms, each with columns of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence

from formers.data.files import fault, listed, read_text
from formers.data.sources import Table, read_table


def read_form(
    name: str, *, forms: Sequence[Sequence[str]], split: str, seed: int, count: int | None, drop_empty: bool
) -> Table:
    """The table with the columns of the first of `forms` that the source has; a reader for `Source.read`."""
    own = first_columns(name, split)
    form = next((columns for columns in forms if set(columns) <= set(own)), None)
    if form is None:
        expected = "; ".join(" and ".join(columns) for columns in forms)
        raise fault(name, f"it has {listed(own) or 'nothing'}, but a row needs one of: {expected}")
    return read_table(name, columns=list(form), text=[], split=split, seed=seed, count=count, drop_empty=drop_empty)


def first_columns(name: str, split: str) -> list[str]:
    """The columns of a source's first row; of lines of JSON the others may have more."""
    if name.removesuffix(".gz").endswith((".jsonl", ".ndjson")) and "*" not in name:
        line = next((line for line in read_text(name).split("\n") if line.strip()), "")
        try:
            row = json.loads(line or "{}")
        except ValueError:
            row = {}
        if isinstance(row, dict) and row:
            return list(row)
    return list(read_table(name, split=split, count=1).columns)
