"""`formers train`: a recipe, a run folder, and what happens shown as it happens."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from formers.cli.command import own_command
from formers.cli.options import Change, Ignored
from formers.cli.output import INTERRUPTED, note, size
from formers.errors import ConfigError
from formers.fields import Natural
from formers.phrases import duration
from formers.processes import alike, follows
from formers.recipe import Recipe, recipe_of, run_folder
from formers.registry import system
from formers.systems.system import Typed

if TYPE_CHECKING:
    from formers.training.events import Finished, Stopped


SHORT = {"data": "data.train", "steps": "train.steps", "pooling": "task.pooling"}  # option -> what it sets


@dataclass(frozen=True)
class TrainOptions:
    """What to train, where, and how it is shown."""

    recipe: Annotated[str, Typed("RECIPE", positional=True)]
    """A shipped recipe (formers list), a TOML file, or a run to go on with."""
    run: Annotated[Path | None, Typed("FOLDER")] = None
    """The run folder (default: runs/ and the recipe's name)."""
    set: Change = ()
    """Change a field of the recipe."""
    fresh: bool = False
    """Delete the run that is there, and begin anew."""
    plain: bool = False
    """Plain lines also on a terminal."""
    json: bool = False
    """Print every event as a line of JSON."""
    data: Annotated[str | None, Typed("FILE")] = None
    """What to learn from: --set data.train."""
    steps: Natural | None = None
    """How many steps in all: --set train.steps."""
    pooling: Annotated[str | None, Typed("first|mean|max")] = None
    """Which vector of a text is used: --set task.pooling."""
    ignore_key: Ignored = ()
    """Take this key of the model to start from for absent: --set model.ignore_keys."""


@own_command
def run(options: TrainOptions) -> None:
    """Train a recipe in a run folder, or go on with a run.

    Ctrl-C stops after the current step, saved; the same command goes on. Every field that --set takes:
    [bold]formers list RECIPE[/bold].
    """
    if options.plain and options.json:
        raise ConfigError("give --plain or --json, not both")
    recipe = alike(lambda: changed(options))
    folder = options.run or run_folder(options.recipe)
    silent = follows()
    stopped, finished = follow(recipe, folder, options, silent)
    if not silent:
        from formers.launch import save_curve

        drawn = save_curve(folder)
        if not options.json:
            summary(recipe, folder, stopped, finished, drawn)
    if finished is None and not silent:
        raise typer.Exit(INTERRUPTED)


def changed(options: TrainOptions) -> Recipe:
    """The recipe with all that the options change."""
    ignored = [f"model.ignore_keys={list(options.ignore_key)}"] if options.ignore_key else []
    changes = [*options.set, *ignored]
    recipe = recipe_of(options.recipe, changes)
    given = {name: value for name in SHORT if (value := getattr(options, name)) is not None}
    for name in given:
        if SHORT[name] not in recipe.flat():
            absent = f"which recipes of the system {recipe.system} do not have"
            raise ConfigError(f"--{name} sets {SHORT[name]}, {absent}")
    short = [f"{SHORT[name]}={value}" for name, value in given.items()]
    return recipe_of(options.recipe, [*changes, *short]) if short else recipe


def follow(recipe: Recipe, folder: Path, options: TrainOptions, silent: bool) -> tuple[Stopped | None, Finished | None]:
    """Train, showing every event; gives how it ended."""
    from formers.cli import progress
    from formers.launch import train
    from formers.training.events import Finished, Stopped

    events = train(recipe, run=folder, fresh=options.fresh)
    if options.json and not silent:
        events = progress.as_json(events)
    elif not silent:
        events = progress.plain(events) if options.plain or not sys.stdout.isatty() else progress.live(events)
    stopped, finished = None, None
    for event in events:
        if isinstance(event, Stopped):
            stopped = event
        elif isinstance(event, Finished):
            finished = event
    return stopped, finished


def summary(
    recipe: Recipe, folder: Path, stopped: Stopped | None, finished: Finished | None, drawn: Path | None
) -> None:
    """Where everything is, and what to do next."""
    note()
    if finished is not None:
        best, monitor = "", recipe.sections["train"].monitor
        if finished.best_step is not None:
            best = f"; best {monitor} {finished.best_value:.4g} at step {finished.best_step:,}"
        peak = f"; peak memory {size(finished.peak_memory)}" + (
            f", of the GPU {size(finished.peak_device_memory)}" if finished.peak_device_memory else ""
        )
        note(f"{finished.step:,} steps in {duration(finished.seconds)}{best}{peak}")
        if finished.message:
            note(finished.message)
    elif stopped is not None:
        note(f"stopped at step {stopped.step:,} and saved: run the same command to go on")
    note(f"run:             {folder}")
    if finished is not None and finished.folder:
        note(f"best checkpoint: {finished.folder}")
    if drawn is not None:
        note(f"learning curve:  {drawn}")
    if finished is not None:
        from formers.launch import samples_of

        name = shlex.quote(str(folder))
        note(f"next:            formers {recipe.example(samples_of(folder)).format(name)}")
        if any(verb.name == "evaluate" for verb in system(recipe.system).verbs):
            note(f"                 formers evaluate {name}")
