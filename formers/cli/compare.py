"""`formers compare`: a recipe trained in several variants, each in a run of its own, and their scores in one table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from formers.cli.command import own_command
from formers.cli.options import Change
from formers.cli.output import INTERRUPTED, note
from formers.cli.show import draw_table
from formers.comparison import Trained, Variant, finished, summary, table, train, values_of, variants
from formers.errors import ConfigError
from formers.fields import Natural
from formers.phrases import duration
from formers.processes import alone
from formers.recipe import default_folder
from formers.systems.system import Typed


@dataclass(frozen=True)
class CompareOptions:
    """What to compare."""

    recipe: Annotated[str, Typed("RECIPE", positional=True)]
    """A shipped recipe (formers list) or a TOML file."""
    over: Annotated[tuple[str, ...], Typed("SECTION.KEY=A,B,...")]
    """A field and the values to try; of several fields every combination."""
    set: Change = ()
    """Change a field of the recipe."""
    seeds: Natural = 1
    """Train each variant N times, from different seeds."""
    run: Annotated[Path | None, Typed("FOLDER")] = None
    """Where the runs are (default: runs/compare- and the name)."""
    json: bool = False
    """Print the result as one JSON object."""


@own_command
def run(options: CompareOptions) -> None:
    """Train a recipe in several variants, and print their scores as a table.

    The scores are those of the best evaluation of each run on its validation data. The same command goes on where it
    was interrupted; what is finished is not trained again.
    """
    alone("compare")
    recipe, seeds = options.recipe, options.seeds
    fields = [values_of(text) for text in options.over]
    if len({name for name, _ in fields}) < len(fields):
        raise ConfigError("--over names a field twice; give all its values in one list")
    usual = default_folder(recipe)
    place = options.run or usual.with_name(f"compare-{usual.name}")
    plans = variants(recipe, fields, options.set, seeds)
    results: list[tuple[Variant, list[Trained]]] = []
    for number, variant in enumerate(plans):
        runs = []
        for step, (each, folder) in enumerate(variant.trainings(place), number * seeds + 1):
            trained = finished(each, folder) or train(each, folder)
            if trained is None:
                typer.echo(f"stopped in {folder} and saved: the same command goes on", err=True)
                raise typer.Exit(INTERRUPTED)
            scores = ", ".join(f"{name} {value:.4g}" for name, value in trained.scores.items())
            head = f"[{step}/{len(plans) * seeds}] {variant} seed={trained.seed}"
            typer.echo(f"{head}: {scores}; {duration(trained.seconds)}", err=True)
            runs.append(trained)
        results.append((variant, runs))
    if options.json:
        note(json.dumps({"recipe": recipe, "variants": [summary(*each) for each in results]}, ensure_ascii=False))
        return
    draw_table(table(f"{recipe}: best evaluation of each run, {seeds} seed(s); runs in {place}", results))
