"""`formers data`: what is in a data source, before anything is trained on it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from formers.cli.options import Source, Target
from formers.cli.output import note, show_table
from formers.cli.recipes import named
from formers.errors import ConfigError, nearest
from formers.recipe import names

if TYPE_CHECKING:
    from formers.data.sources import Table

SPLITS = ("train", "validation", "test")


def run(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Built-in data, a recipe, a file, a folder, or hf:owner/name.",
            show_default=False,
        ),
    ],
    split: Annotated[str, typer.Option("--split", metavar="|".join(SPLITS), help="Which part.")] = "train",
    count: Annotated[
        int | None, typer.Option("--count", min=1, metavar="N", help="Rows to read (default: all).")
    ] = None,
    examples: Annotated[int, typer.Option("--examples", min=0, metavar="N", help="Rows to show.")] = 8,
    source: Source = None,
    target: Target = None,
) -> None:
    """Show examples of a data source, and how long they are."""
    if split not in SPLITS:
        raise ConfigError(f'--split "{split}" is not known; known: {", ".join(SPLITS)}')
    table = read(name, split, count, source, target)
    chosen = list(range(0, len(table), max(1, len(table) // max(1, examples))))[:examples]
    if chosen:
        rows = [(row + 1, *(values[row] for values in table.columns.values())) for row in chosen]
        show_table(f"{table.name}, {split}", ["row", *table.columns], rows, right=["row"])
    for line in lengths(table):
        note(line)


def read(name: str, split: str, count: int | None, source: str | None, target: str | None) -> Table:
    """The table that NAME means: a recipe's own reading of its data, or a source as it is."""
    from formers.data.sources import BUILTIN, read_table

    if name not in BUILTIN and (recipe := named(name)) is not None:
        data = recipe.sections["data"]
        changes = {
            "source": source or data.source,
            "target": target or data.target,
            "count": count or data.count,
            "held_out": count or data.held_out,
        }
        table = replace(data, **changes).read(split)
        if table is None:
            raise ConfigError(f"{name} names no {split} data: data.{split} is empty")
        return table
    if name in BUILTIN and not Path(name).exists():
        name = f"builtin:{name}"
    elif re.fullmatch(r"[\w-]+", name) and not Path(name).exists():
        raise ConfigError(f'there is no data "{name}"{nearest(name, [*BUILTIN, *names()])}, or name a file')
    columns = [column for column in (source, target) if column] or None
    return read_table(name, columns=columns, split=split, count=count)


def lengths(table: Table) -> list[str]:
    """How many rows there are, and for each column of text a line on its lengths in words."""
    import numpy as np

    from formers.data.report import LengthReport

    lines = [f"examples: {len(table):,}"]
    for name, values in table.columns.items():
        texts = [value for value in values if isinstance(value, str)]
        if texts:
            words = np.array([len(text.split()) for text in texts])
            lines.append(
                f"{name}: {LengthReport(name, words).histogram()} mean {words.mean():.1f}, "
                f"median {np.median(words):.0f}, longest {words.max()} words; "
                f"{len(set(texts)):,} different texts"
            )
    return lines
