"""`formers.train`: a recipe, a run folder, and the events of the training."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from formers import registry
from formers.errors import ConfigError
from formers.files import TEMPORARY, expanded, read_json, resolved
from formers.parts import RecipePart, folder_of, parts_of
from formers.recipe import Recipe, default_folder, load_recipe
from formers.training.distributed import World, company, join
from formers.training.events import Event, Finished, Reported, Saved, Started
from formers.training.run import Run
from formers.training.trainer import train as run_training

STAGED = f"{TEMPORARY}fresh"  # in the run's folder: what a fresh start prepares while the old run is still there


def train(
    recipe: str | Path | Recipe, overrides: Sequence[str] = (), *, run: str | Path | None = None, fresh: bool = False
) -> Iterator[Event]:
    """Train a recipe in a run folder (default: runs/<recipe name>), yielding what happens.

    The first event reports on the data and the model. A run that was interrupted goes on exactly where it was;
    `fresh` begins anew: the run that is there is moved aside when recipe and data have been read, and deleted when the
    new one is first saved. Raises ConfigError, at once, for a recipe that is none, and with the first event where the
    run folder holds a run of another recipe, TrainingError where another process trains in it.
    """
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    parts_of(chosen)
    return events(chosen, Run(default_folder(chosen.name) if run is None else run), fresh)


def events(recipe: Recipe, run: Run, fresh: bool, part: RecipePart | None = None) -> Iterator[Event]:
    """What `train` yields; part: what the run is of another."""
    world = join()
    with ExitStack() as stack:
        stack.enter_context(company(world))
        recipe, staged = world.from_main(lambda: begin(recipe, run, fresh, stack))
        parts = parts_of(recipe)
        if staged is not None and any(each.recipe for each in parts):  # whose runs go on where they were killed
            world.from_main(partial(begin_anew, run, staged, stack))
            staged = None
        if not (yield from steps(parts, run, world)):
            return
        place = staged or run.folder
        models = {each.name: each.place(run.folder) for each in parts}
        # the others find the tokenizer of rank 0 in place
        prepared = world.together(lambda: registry.prepare(recipe.system, recipe.sections, place, models))
        if part is not None:
            part.check(type(prepared.task.model).__name__)
        report = [line.replace(str(place), str(run.folder)) for line in prepared.report]
        if staged is not None:
            world.from_main(lambda: begin_anew(run, staged, stack))
        if world.main:
            if run.replaced.exists():
                report.append(f"the run before this one is in {run.replaced} until this one is first saved")
            reported = Reported(step=0, lines=report)
            if not run.events.exists():
                run.record(reported)
            yield reported
        for event in run_training(prepared.task, prepared.batches, recipe.sections["train"], run, held=True):
            if isinstance(event, Started):
                run.save_recipe(with_precision(recipe, event.precision).to_toml())
            if isinstance(event, Saved):
                run.forget()
            yield event


def steps(parts: Sequence[RecipePart], run: Run, world: World) -> Generator[Event, None, bool]:
    """Train the parts of a run that are recipes, one after the other; gives whether all of them are trained."""
    trained = [(part, part.recipe) for part in parts if part.recipe is not None]
    count = len(trained) + 1
    for number, (part, recipe) in enumerate(trained, 1):
        own = Run(folder_of(run.folder, part.name))
        ended = world.from_main(partial(is_finished, recipe, own))
        if world.main:
            what = f"step {number} of {count}: {part.name}, by the recipe {part.source}, in {own.folder}"
            yield Reported(step=0, lines=[what + ": it is trained" * ended])
        if ended:
            continue
        for event in events(recipe, own, False, part):
            if not isinstance(event, Finished):  # there is more to come
                yield event
        if not world.from_main(partial(is_finished, recipe, own)):
            return False
    if trained and world.main:
        yield Reported(step=0, lines=[f"step {count} of {count}: what is built of them, in {run.folder}"])
    return True


def is_finished(recipe: Recipe, run: Run) -> bool:
    """Whether a run of just this recipe has nothing left to learn."""
    if not run.recipe.is_file() or as_decided(recipe, before := recipe_before(run)).flat() != before.flat():
        return False
    recorded = list(run.read_events())
    return bool(recorded) and recorded[-1]["event"] == "finished"


def begin(recipe: Recipe, run: Run, fresh: bool, stack: ExitStack) -> tuple[Recipe, Path | None]:
    """Hold the run's folder and make or check it; gives the recipe as its run decided, and for a fresh start where to
    prepare it, while what is there stays as it is.
    """
    run.recover()
    is_run = run.recipe.is_file()
    if fresh and not is_run and run.holds_other_files():
        raise ConfigError(f"{run.folder} is not a run folder (it has no recipe.toml); --fresh deletes runs only")
    stack.enter_context(run.hold())
    if fresh and is_run:
        return recipe, stage(recipe, run, stack)
    different = changes(recipe, run) if is_run else []
    if different and run.latest() is not None:
        raise ConfigError(
            f"{run.folder} was begun with another recipe: {', '.join(different)}; "
            "give the same values, another --run, or --fresh to begin anew"
        )
    if different:
        shutil.rmtree(run.folder / "tokenizer", ignore_errors=True)  # made for other data or sizes
        run.environment.unlink(missing_ok=True)  # its decisions were too
    elif is_run:
        recipe = as_decided(recipe, recipe_before(run))
    run.save_recipe(recipe.to_toml())
    return recipe, None


def stage(recipe: Recipe, run: Run, stack: ExitStack) -> Path:
    """A folder to prepare a fresh start in."""
    start = recipe.sections["model"].start
    if start and resolved(expanded(start)).is_relative_to(resolved(run.folder)):
        raise ConfigError(f"model.start is {start}, which --fresh would delete; name another --run")
    staged = Run(run.folder / STAGED)
    shutil.rmtree(staged.folder, ignore_errors=True)  # of a start that was killed
    staged.save_recipe(recipe.to_toml())
    stack.callback(shutil.rmtree, staged.folder, ignore_errors=True)
    return staged.folder


def begin_anew(run: Run, staged: Path, stack: ExitStack) -> None:
    """Recipe and data are good: what was staged becomes the run."""
    stack.enter_context(Run(staged).hold())
    run.begin_anew(staged)


def changes(recipe: Recipe, run: Run) -> list[str]:
    """What differs from the recipe that the run was begun with."""
    before = recipe_before(run)
    return as_decided(recipe, before).changes(before)


def recipe_before(run: Run) -> Recipe:
    """The recipe that a run was begun with."""
    return load_recipe(run.recipe)


def as_decided(recipe: Recipe, before: Recipe) -> Recipe:
    """The recipe with the precision that was measured when its run was begun."""
    automatic = recipe.sections["train"].precision == "auto" and "train" in before.sections
    return with_precision(recipe, before.sections["train"].precision) if automatic else recipe


def with_precision(recipe: Recipe, precision: str) -> Recipe:
    sections = recipe.sections
    return replace(recipe, sections={**sections, "train": replace(sections["train"], precision=precision)})


def samples_of(folder: Path) -> list[str]:
    """What the last samples of a run were made of; none where there are none."""
    files = sorted(Run(folder).samples.glob("[0-9]*.json"))
    return [text for text, _ in read_json(files[-1], list[tuple[str, str]])] if files else []


def save_curve(folder: Path) -> Path | None:
    """samples/curve.png of the run; None where nothing was recorded yet."""
    from formers.pictures.curve import draw_curve
    from formers.pictures.figure import save

    run = Run(folder)
    lines = list(run.read_events())
    if not any(line["event"] in ("stepped", "evaluated") for line in lines):
        return None
    return save(draw_curve(lines, f"learning curve of {folder}"), run.samples / "curve.png")
