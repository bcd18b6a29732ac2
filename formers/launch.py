"""`formers.train`: a recipe, a run folder, and the events of the training."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from formers import registry
from formers.errors import ConfigError
from formers.recipe import Recipe, build, default_folder, load_recipe
from formers.training.distributed import join
from formers.training.events import Event, Reported
from formers.training.run import Run
from formers.training.trainer import train as run_training


def train(
    recipe: str | Path | Recipe, overrides: Sequence[str] = (), *, run: str | Path | None = None, fresh: bool = False
) -> Iterator[Event]:
    """Train a recipe in a run folder (default: runs/<recipe name>), yielding what happens.

    The first event reports on the data and the model. A run that was interrupted goes on exactly where it was;
    `fresh` begins anew. Raises ConfigError where the run folder holds a run of another recipe.
    """
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    folder = default_folder(chosen.name) if run is None else Path(run)
    world = join(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if world.main:
        begin(chosen, Run(folder), fresh)
        prepared = registry.prepare(chosen.system, chosen.sections, folder)
    world.broadcast(None)  # the others find the run's folder and tokenizer in place
    if not world.main:
        prepared = registry.prepare(chosen.system, chosen.sections, folder)
    if world.main:
        reported = Reported(step=0, lines=prepared.report)
        if not Run(folder).events.exists():
            Run(folder).record(reported)
        yield reported
    yield from run_training(prepared.task, prepared.batches, chosen.sections["train"], Run(folder))


def begin(recipe: Recipe, run: Run, fresh: bool) -> None:
    """Make or check the run's folder."""
    if fresh and run.folder.exists():
        forget(run)
    changed = changes(recipe, run) if run.recipe.is_file() else []
    if changed and run.latest() is not None:
        raise ConfigError(
            f"{run.folder} was begun with another recipe: {', '.join(changed)}; "
            "give the same values, another --run, or --fresh to begin anew"
        )
    if changed:
        shutil.rmtree(run.folder / "tokenizer", ignore_errors=True)  # made for other data or sizes
    run.save_recipe(recipe.to_toml())


def changes(recipe: Recipe, run: Run) -> list[str]:
    """What differs from the recipe that the run was begun with."""
    before = build(tomllib.loads(run.recipe.read_text(encoding="utf-8")), (), name=recipe.name, where=str(run.recipe))
    return recipe.changes(before)


def forget(run: Run) -> None:
    """Delete a run's own files; a folder that is not a run is left alone."""
    if any(run.folder.iterdir()) and not run.recipe.is_file():
        raise ConfigError(f"{run.folder} is not a run folder (it has no recipe.toml); --fresh deletes runs only")
    shutil.rmtree(run.folder)


def save_curve(folder: Path) -> Path | None:
    """samples/curve.png of the run; None where nothing was recorded yet."""
    from formers.pictures.curve import draw_curve
    from formers.pictures.figure import save
    from formers.training.run import Run

    place = Run(folder)
    events = list(place.read_events())
    if not any(event["event"] in ("stepped", "evaluated") for event in events):
        return None
    return save(draw_curve(events, f"learning curve of {folder}"), place.samples / "curve.png")
