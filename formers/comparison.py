"""A recipe trained in several variants and from several seeds, each in a run of its own, and the scores of each."""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from formers.errors import ConfigError
from formers.recipe import Recipe, recipe_of
from formers.systems.system import ResultTable


@dataclass(frozen=True)
class Trained:
    """How one training ended: the scores of its best evaluation."""

    seed: int
    scores: dict[str, float]
    seconds: float
    folder: str


@dataclass(frozen=True)
class Variant:
    """Values of the fields that are compared, and the recipe with them, one for each seed."""

    values: Mapping[str, str]
    recipes: Sequence[Recipe]

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.values.items())

    def trainings(self, folder: Path) -> Iterator[tuple[Recipe, Path]]:
        """Each recipe, and its run below the folder."""
        for recipe in self.recipes:
            yield recipe, folder / slug({**self.values, "seed": str(recipe.sections["train"].seed)})


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


def variants(
    name: str, fields: Sequence[tuple[str, Sequence[str]]], changes: Sequence[str], seeds: int
) -> list[Variant]:
    """Every combination of the values; all recipes are built, and their faults found, before the first training."""
    plans = []
    for values in itertools.product(*(values for _, values in fields)):
        variant = dict(zip((field for field, _ in fields), values, strict=True))
        sets = [*changes, *(f"{field}={value}" for field, value in variant.items())]
        first = recipe_of(name, sets).sections["train"].seed
        plans.append(Variant(variant, [recipe_of(name, [*sets, f"train.seed={first + i}"]) for i in range(seeds)]))
    if not all(plan.recipes[0].sections["train"].evaluate_every for plan in plans):
        raise ConfigError("train.evaluate_every is 0, so there would be no scores to compare; set it")
    return plans


def slug(values: Mapping[str, str]) -> str:
    """A folder name for a variant."""
    return re.sub(r"[^\w.=,-]+", "-", ",".join(f"{name}={value}" for name, value in values.items()))


def finished(recipe: Recipe, folder: Path) -> Trained | None:
    """The result of a run that has ended, of this very recipe; None where there is something left to train."""
    from formers.launch import changes
    from formers.training.run import Run

    run = Run(folder)
    if not run.recipe.is_file() or changes(recipe, run):
        return None
    events = list(run.read_events())
    ended = next((event for event in reversed(events) if event["event"] == "finished"), None)
    before = recipe_of(str(folder)).sections["train"]
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


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and deviation (of a sample; 0 of one value)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def summary(variant: Variant, runs: Sequence[Trained]) -> dict[str, Any]:
    """The JSON of a variant."""

    def statistic(values: list[float]) -> dict[str, float]:
        return dict(zip(("mean", "deviation"), spread(values), strict=True))

    return {
        "values": variant.values,
        "scores": {name: statistic([run.scores[name] for run in runs]) for name in runs[0].scores},
        "seconds": statistic([run.seconds for run in runs]),
        "runs": [vars(run) for run in runs],
    }


def table(title: str, results: Sequence[tuple[Variant, Sequence[Trained]]]) -> ResultTable:
    """One row for each variant."""

    def cell(values: list[float], form: str) -> str:
        mean, deviation = spread(values)
        return f"{mean:{form}}" + (f" ± {deviation:{form}}" if len(values) > 1 else "")

    fields, scores = list(results[0][0].values), list(dict.fromkeys(n for _, runs in results for n in runs[0].scores))
    rows = [
        [
            *variant.values.values(),
            *(cell([run.scores[name] for run in runs], ".4f") for name in scores),
            cell([run.seconds for run in runs], ".1f"),
        ]
        for variant, runs in results
    ]
    return ResultTable(title, [*fields, *scores, "seconds"], rows, [*scores, "seconds"])
