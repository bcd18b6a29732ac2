"""`formers data`: what is in a data source, before anything is trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from formers.cli.command import own_command
from formers.cli.options import Change
from formers.cli.output import note, show_table
from formers.cli.show import Output, show
from formers.data.builtin.split import SPLITS
from formers.errors import ConfigError
from formers.fields import Count, Natural
from formers.phrases import short
from formers.preview import lengths, lessons_of, rows_of
from formers.systems.system import Typed

LONGEST = 400  # characters of a text that are shown


@dataclass(frozen=True)
class DataOptions:
    """What to read, and what to show of it."""

    name: Annotated[str, Typed("NAME", positional=True)]
    """Built-in data, a recipe, a file, a folder, or hf:owner/name."""
    split: Annotated[str, Typed("|".join(SPLITS))] = "train"
    """Which part."""
    count: Natural | None = None
    """Rows to read (default: all)."""
    examples: Count = 8
    """Rows to show."""
    source: Annotated[str | None, Typed("COLUMN")] = None
    """A column to show."""
    target: Annotated[str | None, Typed("COLUMN")] = None
    """Another column to show."""
    set: Change = ()
    """Change a field of the recipe."""
    show_loss: bool = False
    """Of a recipe: the tokens of examples, those that carry loss marked."""
    out: Path | None = None
    """Write what --show-loss shows; FILE.png: draw hidden words."""


@own_command
def run(options: DataOptions) -> None:
    """Show examples of a data source, and how long they are."""
    split, count = options.split, options.examples
    if split not in SPLITS:
        raise ConfigError(f'--split "{split}" is not known; known: {", ".join(SPLITS)}')
    if options.show_loss:
        stray = {"--count": options.count, "--source": options.source, "--target": options.target}
        if given := next((option for option, value in stray.items() if value is not None), None):
            raise ConfigError(f"{given} does not go with --show-loss; change the recipe with --set")
        show(lessons_of(options.name, split, count, options.set), Output(options.out))
        return
    if options.out is not None:
        raise ConfigError(
            "--out is for --show-loss: write the tokens there, or draw the hidden words of a masked recipe"
        )
    table = rows_of(options.name, split, options.count, options.source, options.target, options.set)
    picked = list(range(0, len(table), max(1, len(table) // max(1, count))))[:count]
    if picked:
        rows = [(row + 1, *(shown(values[row]) for values in table.columns.values())) for row in picked]
        show_table(f"{table.name}, {split}", ["row", *table.columns], rows, right=["row"])
    for line in lengths(table):
        note(line)


def shown(value: Any) -> Any:
    """A value for a cell: of a long text its beginning, a conversation on one line."""
    if isinstance(value, list) and all(isinstance(each, dict) and "role" in each for each in value):
        value = " | ".join(f"{each['role']}: {each.get('content')}" for each in value)
    return short(value, LONGEST) if isinstance(value, str) and len(value) > LONGEST else value
