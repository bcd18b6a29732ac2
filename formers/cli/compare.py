"""`formers compare`: a recipe trained in several variants, each in a run of its own, and their scores in one table."""

from __future__ import annotations

import itertools
import json
import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from formers.cli.options import Change
from formers.cli.output import duration, note, show_table
from formers.cli.recipes import chosen
from formers.errors import ConfigError
from formers.recipe import Recipe, default_folder

INTERRUPTED = 130  # what a shell reports for SIGINT


@dataclass(frozen=True)
class Trained:
    """How one training ended: the scores of its best evaluation."""

    seed: int
    scores: dict[str, float]
    seconds: float
    folder: str


def run(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="A shipped recipe (formers list) or a TOML file.", show_default=False),
    ],
    over: Annotated[
        list[str],
        typer.Option(
            "--over",
            metavar="SECTION.KEY=A,B,...",
            help="A field and the values to try; given several times, every combination.",
        ),
    ],
    change: Change = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, metavar="N", help="Train each variant N times, from different seeds.")
    ] = 1,
    folder: Annotated[
        Path | None,
        typer.Option("--run", metavar="FOLDER", help="Where the runs are (default: runs/compare- and the name)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Train a recipe in several variants, and print their scores as a table.

    The scores are those of the best evaluation of each run on its validation data. The same command goes on where it
    was interrupted; what is finished is not trained again.
    """
    fields = [values_of(text) for text in over]
    if len({name for name, _ in fields}) < len(fields):
        raise ConfigError("--over names a field twice; give all its values in one list")
    usual = default_folder(recipe)
    place = folder or usual.with_name(f"compare-{usual.name}")
    plans = []  # all recipes are built, and their faults found, before the first training
    for values in itertools.product(*(values for _, values in fields)):
        variant = dict(zip((name for name, _ in fields), values, strict=True))
        sets = [*(change or ()), *(f"{name}={value}" for name, value in variant.items())]
        first = chosen(recipe, sets).sections["train"].seed
        made = [chosen(recipe, [*sets, f"train.seed={first + i}"]) for i in range(seeds)]
        plans.append((variant, made))
    for _, made in plans:
        if not made[0].sections["train"].evaluate_every:
            raise ConfigError("train.evaluate_every is 0, so there would be no scores to compare; set it")
    total, results, number = len(plans) * seeds, [], 0
    for variant, made in plans:
        done = []
        for each in made:
            number += 1
            seed = each.sections["train"].seed
            where = place / slug({**variant, "seed": str(seed)})
            trained = finished(each, where) or train(each, where)
            if trained is None:
                typer.echo(f"stopped in {where} and saved: the same command goes on", err=True)
                raise typer.Exit(INTERRUPTED)
            said = ", ".join(f"{name} {value:.4g}" for name, value in trained.scores.items())
            named = " ".join(f"{name}={value}" for name, value in variant.items())
            typer.echo(f"[{number}/{total}] {named} seed={seed}: {said}; {duration(trained.seconds)}", err=True)
            done.append(trained)
        results.append((variant, done))
    if as_json:
        note(json.dumps({"recipe": recipe, "variants": [summary(*each) for each in results]}, ensure_ascii=False))
        return
    show(f"{recipe}: best evaluation of each run, {seeds} seed(s); runs in {place}", results)


def values_of(text: str) -> tuple[str, list[str]]:
    """The field and the values of --over; commas within brackets or quotes do not part them."""
    name, equals, rest = text.partition("=")
    values = [part.strip() for part in re.findall(r'((?:\[[^\]]*\]|"[^"]*"|[^,\["])+)', rest)]
    if not equals or "." not in name or not values or len(set(values)) < len(values):
        raise ConfigError(
            f"--over {text}: expected section.key=value,value,... of different values, for example "
            "task.pooling=first,mean,max"
        )
    if name.strip() == "train.seed":
        raise ConfigError("--over train.seed: give --seeds N, which also shows the deviation over them")
    return name.strip(), values


def slug(values: dict[str, str]) -> str:
    """A folder name for a variant."""
    return re.sub(r"[^\w.=,-]+", "-", ",".join(f"{name}={value}" for name, value in values.items()))


def finished(recipe: Recipe, folder: Path) -> Trained | None:
    """The result of a run that has ended, of this very recipe; None where there is something left to train."""
    from formers.launch import changes
    from formers.training.run import Run

    place = Run(folder)
    if not place.recipe.is_file() or changes(recipe, place):
        return None
    events = list(place.read_events())
    ended = next((event for event in reversed(events) if event["event"] == "finished"), None)
    before = chosen(str(folder), ()).sections["train"]
    if ended is None or before.steps != recipe.sections["train"].steps:
        return None
    return result(recipe, folder, events, ended["best_step"], ended["seconds"])


def train(recipe: Recipe, folder: Path) -> Trained | None:
    """Train, or go on; None where it was interrupted."""
    from formers.launch import train as launch
    from formers.training.events import Finished
    from formers.training.run import Run

    last = None
    for event in launch(recipe, run=folder):
        last = event
    if not isinstance(last, Finished):
        return None
    return result(recipe, folder, list(Run(folder).read_events()), last.best_step, last.seconds)


def result(recipe: Recipe, folder: Path, events: list[dict[str, Any]], best: int | None, seconds: float) -> Trained:
    evaluated = {event["step"]: event["metrics"] for event in events if event["event"] == "evaluated"}
    scores = evaluated[best] if best in evaluated else evaluated[max(evaluated)]
    return Trained(recipe.sections["train"].seed, scores, seconds, str(folder))


def spread(values: list[float]) -> tuple[float, float]:
    """Mean and deviation (of a sample; 0 of one value)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def summary(variant: dict[str, str], done: list[Trained]) -> dict[str, Any]:
    def told(values: list[float]) -> dict[str, float]:
        return dict(zip(("mean", "deviation"), spread(values), strict=True))

    return {
        "values": variant,
        "scores": {name: told([each.scores[name] for each in done]) for name in done[0].scores},
        "seconds": told([each.seconds for each in done]),
        "runs": [vars(each) for each in done],
    }


def show(title: str, results: list[tuple[dict[str, str], list[Trained]]]) -> None:
    """One row for each variant."""

    def cell(values: list[float], form: str) -> str:
        mean, deviation = spread(values)
        return f"{mean:{form}}" + (f" ± {deviation:{form}}" if len(values) > 1 else "")

    fields, scores = list(results[0][0]), list(dict.fromkeys(name for _, done in results for name in done[0].scores))
    rows = [
        [
            *variant.values(),
            *(cell([each.scores[name] for each in done], ".4f") for name in scores),
            cell([each.seconds for each in done], ".1f"),
        ]
        for variant, done in results
    ]
    show_table(title, [*fields, *scores, "seconds"], rows, right=[*scores, "seconds"])
