"""`formers compare`: a recipe trained in several variants, or once beside simpler methods: scores in one table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from formers.cli.command import own_command
from formers.cli.options import Change
from formers.cli.show import Output, show
from formers.comparison import compare_methods, compare_variants, values_of
from formers.errors import ConfigError
from formers.fields import Natural
from formers.processes import alone
from formers.recipe import default_folder, run_file, run_folder
from formers.systems.system import Typed


@dataclass(frozen=True)
class CompareOptions:
    """What to compare."""

    recipe: Annotated[str, Typed("RECIPE", positional=True)]
    """A shipped recipe (formers list) or a TOML file."""
    over: Annotated[tuple[str, ...], Typed("SECTION.KEY=A,B,...")] = ()
    """A field and the values to try; of several fields every combination (none: simpler methods, once trained)."""
    set: Change = ()
    """Change a field of the recipe."""
    seeds: Natural = 1
    """Train each variant N times, from different seeds."""
    run: Annotated[Path | None, Typed("FOLDER")] = None
    """Where the runs are (default: runs/compare- and the name; of simpler methods: the recipe's own run)."""
    json: bool = False
    """Print the result as one JSON object."""


@own_command
def run(options: CompareOptions) -> None:
    """Train a recipe in several variants, or once, beside simpler methods, and print all scores.

    The scores of variants are those of the best evaluation of each run on its validation data; over a field of numbers
    they are drawn too, as compare.png beside the runs.

    Without --over, autoencoders are held against PCA, LSA or a filter on the same test data, and pictures are drawn.
    Where the recipe's run is there already, it is taken as it was begun.

    The same command goes on where it was interrupted; what is finished is not trained again.
    """
    alone("compare")
    fields = [values_of(text) for text in options.over]
    if len({name for name, _ in fields}) < len(fields):
        raise ConfigError("--over names a field twice; give all its values in one list")
    if not fields and options.seeds > 1:
        raise ConfigError("--seeds goes with --over")
    usual = default_folder(options.recipe)
    if fields:
        place = options.run or usual.with_name(f"compare-{usual.name}")
        events = compare_variants(options.recipe, fields, options.set, options.seeds, place)
    else:
        place = options.run or run_folder(options.recipe)
        recipe = options.recipe if options.run or run_file(str(place)) is None else str(place)
        events = compare_methods(recipe, options.set, place)
    show(events, Output(given_json=options.json))
