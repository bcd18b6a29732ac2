"""`formers data`: what is in a data source, before anything is trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from formers.cli.command import own_command
from formers.cli.options import Change
from formers.cli.output import note
from formers.cli.show import Output, draw_table, show
from formers.data.builtin.split import SPLITS
from formers.errors import ConfigError
from formers.fields import Count, Natural
from formers.preview import ENDINGS, EXAMPLES, lessons_of, preview
from formers.systems.system import Typed


@dataclass(frozen=True)
class DataOptions:
    """What to read, and what to show of it."""

    name: Annotated[str, Typed("NAME", positional=True)]
    """Built-in data, a recipe, a file, a folder, or hf:owner/name."""
    split: Annotated[str, Typed("|".join(SPLITS))] = "train"
    """Which part."""
    count: Natural | None = None
    """Rows to read (default: all)."""
    examples: Count | None = None
    """Rows to show (default: 8, and 40 on a sheet)."""
    source: Annotated[str | None, Typed("COLUMN")] = None
    """A column to show."""
    target: Annotated[str | None, Typed("COLUMN")] = None
    """Another column to show."""
    set: Change = ()
    """Change a field of the recipe."""
    show_loss: bool = False
    """Of a recipe: the tokens of examples, those that carry loss marked."""
    out: Path | None = None
    """FILE.png: draw pictures or sounds on a sheet. With --show-loss: write what it shows; FILE.png: hidden words."""


@own_command
def run(options: DataOptions) -> None:
    """Show examples of a data source, and how long they are."""
    split = options.split
    if split not in SPLITS:
        raise ConfigError(f'--split "{split}" is not known; known: {", ".join(SPLITS)}')
    if options.show_loss:
        stray = {"--count": options.count, "--source": options.source, "--target": options.target}
        if given := next((option for option, value in stray.items() if value is not None), None):
            raise ConfigError(f"{given} does not go with --show-loss; change the recipe with --set")
        shown = lessons_of(options.name, split, EXAMPLES if options.examples is None else options.examples, options.set)
        show(shown, Output(options.out))
        return
    output = Output(options.out, endings=ENDINGS)
    view = preview(
        options.name, split, options.examples, count=options.count, source=options.source, target=options.target,
        changes=options.set,
    )  # fmt: skip
    if options.out is not None and view.sheet is None:
        raise ConfigError("--out draws pictures, or with --show-loss what carries loss; these rows are texts")
    for table in view.tables:
        draw_table(table)
    for line in view.lines:
        note(line)
    if view.sheet is not None and output.path is not None:
        view.sheet(output.path)
        note(f"wrote {output.path}")
