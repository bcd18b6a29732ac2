"""`formers data`: what is in a data source, before anything is trained on it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from formers.cli.options import Change
from formers.cli.output import note, short, show_table
from formers.cli.recipes import chosen, named, run_folder
from formers.cli.show import Output, show
from formers.data.builtin.split import SPLITS
from formers.errors import ConfigError, nearest
from formers.recipe import names
from formers.systems.system import Event, resolve

if TYPE_CHECKING:
    from formers.data.sources import Table

LONGEST = 400  # characters of a text that are shown


def run(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Built-in data, a recipe, a file, a folder, or hf:owner/name.", show_default=False
        ),
    ],
    split: Annotated[str, typer.Option("--split", metavar="|".join(SPLITS), help="Which part.")] = "train",
    count: Annotated[
        int | None, typer.Option("--count", min=1, metavar="N", help="Rows to read (default: all).")
    ] = None,
    examples: Annotated[int, typer.Option("--examples", min=0, metavar="N", help="Rows to show.")] = 8,
    source: Annotated[str | None, typer.Option("--source", metavar="COLUMN", help="A column to show.")] = None,
    target: Annotated[str | None, typer.Option("--target", metavar="COLUMN", help="Another column to show.")] = None,
    change: Change = None,
    show_loss: Annotated[
        bool, typer.Option("--show-loss", help="Of a recipe: the tokens of examples, those that carry loss marked.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write what --show-loss shows; FILE.png: draw hidden words."),
    ] = None,
) -> None:
    """Show examples of a data source, and how long they are."""
    if split not in SPLITS:
        raise ConfigError(f'--split "{split}" is not known; known: {", ".join(SPLITS)}')
    if show_loss:
        stray = {"--count": count, "--source": source, "--target": target}
        if given := next((option for option, value in stray.items() if value is not None), None):
            raise ConfigError(f"{given} does not go with --show-loss; change the recipe with --set")
        show(lessons_of(name, split, examples, change or ()), Output(out))
        return
    if out is not None:
        raise ConfigError(
            "--out is for --show-loss: write the tokens there, or draw the hidden words of a masked recipe"
        )
    table = read(name, split, count, source, target, change or ())
    picked = list(range(0, len(table), max(1, len(table) // max(1, examples))))[:examples]
    if picked:
        rows = [(row + 1, *(shown(values[row]) for values in table.columns.values())) for row in picked]
        show_table(f"{table.name}, {split}", ["row", *table.columns], rows, right=["row"])
    for line in lengths(table):
        note(line)


def lessons_of(name: str, split: str, count: int, change: Sequence[str]) -> Iterator[Event]:
    """The tokens of examples as training reads them, those that carry loss marked."""
    from formers.registry import locate, system, systems
    from formers.systems.begin import Beginning

    if named(name) is None:
        raise ConfigError(f'--show-loss needs a recipe or a run, got "{name}"{nearest(name, names())}')
    recipe, folder = chosen(name, change), run_folder(name)
    if not (lessons := system(recipe.system).lessons):
        able = ", ".join(declared.name for declared in systems() if declared.lessons)
        raise ConfigError(
            f'--show-loss: the system "{recipe.system}" has no single text whose tokens carry loss; it is for {able}'
        )
    if split == "test":
        raise ConfigError("--show-loss shows what is trained on: --split train, or validation")
    start = recipe.sections["model"].start
    with TemporaryDirectory() as empty:  # a tokenizer that is trained for this only
        kept = folder if (folder / "tokenizer").is_dir() and (Path(name) / "recipe.toml").is_file() else Path(empty)
        beginning = Beginning(recipe.sections, kept, locate(start) if start else None)
        yield resolve(lessons)(beginning, split, count)


def shown(value: Any) -> Any:
    """A value for a cell: of a long text its beginning, a conversation on one line."""
    if isinstance(value, list) and all(isinstance(each, dict) and "role" in each for each in value):
        value = " | ".join(f"{each['role']}: {each.get('content')}" for each in value)
    return short(value, LONGEST) if isinstance(value, str) and len(value) > LONGEST else value


def read(
    name: str, split: str, count: int | None, source: str | None, target: str | None, change: Sequence[str] = ()
) -> Table:
    """The table that NAME means: a recipe's own reading of its data, or a source as it is."""
    from formers.data.sources import BUILTIN, read_table

    recipe = None if name in BUILTIN else named(name)
    if recipe is None and change:
        raise ConfigError(f'--set {change[0]}: changes a field of a recipe, and "{name}" is none')
    if recipe is not None:
        sections = chosen(name, change).sections
        given = {key: value for key, value in (("source", source), ("target", target)) if value is not None}
        known = {field.name for field in fields(sections["rows"])}
        if stray := next((key for key in given if key not in known), None):
            raise ConfigError(f"--{stray}: the data of {name} has no such setting")
        data, rows = sections["data"], replace(sections["rows"], **given)
        if count is not None and data.held_out >= 1:
            data = replace(data, count=count, held_out=count)
        table = data.read(split, **rows.reading(data))
        if table is None:
            raise ConfigError(f"{name} names no {split} data: data.{split} is empty")
        return table if count is None or count >= len(table) else table.select(range(count))
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
