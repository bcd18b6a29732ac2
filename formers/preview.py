"""What is in the data of a recipe or in a source, before anything is trained on it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from formers.errors import ConfigError, nearest
from formers.recipe import names, names_recipe, recipe_of, run_file, run_folder
from formers.systems.system import Event, resolve

if TYPE_CHECKING:
    from formers.data.sources import Table


def rows_of(
    name: str, split: str, count: int | None, source: str | None, target: str | None, changes: Sequence[str] = ()
) -> Table:
    """The table that NAME means: a recipe's own reading of its data, or a source as it is."""
    from formers.data.sources import BUILTIN, read_table

    if name not in BUILTIN and names_recipe(name):
        sections = recipe_of(name, changes).sections
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
    if changes:
        raise ConfigError(f'--set {changes[0]}: changes a field of a recipe, and "{name}" is none')
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


def lessons_of(name: str, split: str, count: int, changes: Sequence[str]) -> Iterator[Event]:
    """The tokens of examples as training reads them, those that carry loss marked."""
    from formers.registry import locate, system, systems
    from formers.systems.begin import Beginning

    if not names_recipe(name):
        raise ConfigError(f'--show-loss needs a recipe or a run, got "{name}"{nearest(name, names())}')
    recipe, folder = recipe_of(name, changes), run_folder(name)
    if not (lessons := system(recipe.system).lessons):
        able = ", ".join(declared.name for declared in systems() if declared.lessons)
        raise ConfigError(
            f'--show-loss: the system "{recipe.system}" has no single text whose tokens carry loss; it is for {able}'
        )
    if split == "test":
        raise ConfigError("--show-loss shows what is trained on: --split train, or validation")
    start = recipe.sections["model"].start
    with TemporaryDirectory() as empty:  # a tokenizer that is trained for this only
        kept = folder if (folder / "tokenizer").is_dir() and run_file(name) else Path(empty)
        beginning = Beginning(recipe.sections, kept, locate(start) if start else None)
        yield resolve(lessons)(beginning, split, count)
