"""`formers train`: a recipe, a run folder, and what happens shown as it happens."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from formers.cli.options import Change
from formers.cli.output import duration, note, size
from formers.cli.recipes import chosen, run_folder
from formers.errors import ConfigError
from formers.recipe import Recipe
from formers.registry import system
from formers.systems.system import System

if TYPE_CHECKING:
    from formers.training.events import Finished, Stopped

INTERRUPTED = 130  # what a shell reports for SIGINT


def run(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A shipped recipe (formers list), a TOML file, or a run to go on with.",
            show_default=False,
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--run", metavar="FOLDER", help="The run folder (default: runs/ and the recipe's name)."),
    ] = None,
    change: Change = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the run that is there, and begin anew.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines also on a terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every event as a line of JSON.")] = False,
    pooling: Annotated[
        str | None,
        typer.Option("--pooling", metavar="first|mean|max", help="Which vector of a text is used: --set task.pooling."),
    ] = None,
) -> None:
    """Train a recipe in a run folder, or go on with a run.

    Ctrl-C stops after the current step, saved; the same command goes on. Every field that --set takes:
    [bold]formers list RECIPE[/bold].
    """
    if plain and as_json:
        raise ConfigError("give --plain or --json, not both")
    what = chosen(recipe, change or ())
    if pooling is not None:
        if "task.pooling" not in what.flat():
            raise ConfigError(f"--pooling sets task.pooling, which recipes of the system {what.system} do not have")
        what = chosen(recipe, [*(change or ()), f"task.pooling={pooling}"])
    folder = folder or run_folder(recipe)
    silent = os.environ.get("RANK", "0") != "0"  # under torchrun, one process speaks
    stopped, finished = follow(what, folder, fresh, plain, as_json, silent)
    if not silent:
        drawn = save_curve(folder)
        if not as_json:
            summary(what, folder, stopped, finished, drawn)
    if finished is None and not silent:
        raise typer.Exit(INTERRUPTED)


def follow(
    recipe: Recipe, folder: Path, fresh: bool, plain: bool, as_json: bool, silent: bool
) -> tuple[Stopped | None, Finished | None]:
    """Train, showing every event; gives how it ended."""
    from formers.cli import progress
    from formers.launch import train
    from formers.training.events import Finished, Stopped

    events = train(recipe, run=folder, fresh=fresh)
    if as_json and not silent:
        events = progress.as_json(events)
    elif not silent:
        events = progress.plain(events) if plain or not sys.stdout.isatty() else progress.live(events)
    stopped, finished = None, None
    for event in events:
        if isinstance(event, Stopped):
            stopped = event
        elif isinstance(event, Finished):
            finished = event
    return stopped, finished


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
        declared, name = system(recipe.system), shlex.quote(str(folder))
        note(f"next:            formers {example_of(recipe, declared).format(name)}")
        if any(verb.name == "evaluate" for verb in declared.verbs):
            note(f"                 formers evaluate {name}")


def example_of(recipe: Recipe, declared: System) -> str:
    """What to try first with {} for the model: on a sample of the recipe, where the verb takes a text alone."""
    sample = next((text.strip() for text in getattr(recipe.sections["task"], "samples", ()) if text.strip()), "")
    alone = re.fullmatch(r'(\w+ \{\}) "[^"]*"', declared.example)
    if not sample or alone is None:
        return declared.example
    return f"{alone[1]} {shlex.quote(sample).replace('{', '{{').replace('}', '}}')}"
