"""A recipe trained in several variants and from several seeds, each in a run of its own, and the scores of each; or
trained once, and held against the simpler methods that its system knows."""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from formers.errors import ConfigError
from formers.phrases import duration
from formers.recipe import Recipe, recipe_of
from formers.registry import load, system
from formers.systems.system import Event, Progress, Remark, ResultTable, resolve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAR_APART = 8  # numbers of which the greatest is so many times the least stand by their ratios


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


@dataclass(frozen=True)
class Comparison:
    """All variants with their scores."""

    recipe: str
    variants: list[dict[str, Any]]
    scores: ResultTable = field(metadata={"json": False})

    def line(self) -> str:
        return self.scores.line()

    def table(self) -> ResultTable:
        return self.scores


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


def trained(recipe: Recipe, folder: Path, label: str) -> Generator[Event, None, Trained]:
    """Train or go on, unless it is finished; yields how far it is. Raises KeyboardInterrupt where it was stopped."""
    from formers.launch import train
    from formers.training.events import Finished, Stepped
    from formers.training.run import Run

    ended = finished(recipe, folder)
    if ended is None:
        last = None
        for last in train(recipe, run=folder):
            if isinstance(last, Stepped):
                yield Progress(last.step, recipe.sections["train"].steps, f"training {folder}")
        if not isinstance(last, Finished):
            yield Remark(f"stopped in {folder} and saved: the same command goes on")
            raise KeyboardInterrupt
        ended = result(recipe, folder, list(Run(folder).read_events()), last.best_step, last.seconds)
    scores = ", ".join(f"{name} {value:.4g}" for name, value in ended.scores.items())
    yield Remark(f"{label} seed={ended.seed}: {scores}; {duration(ended.seconds)}")
    return ended


def compare_variants(
    name: str, fields: Sequence[tuple[str, Sequence[str]]], changes: Sequence[str], seeds: int, place: Path
) -> Iterator[Event]:
    """Every variant trained from every seed, in a run below `place`, and in the end their scores."""
    plans = variants(name, fields, changes, seeds)
    results: list[tuple[Variant, list[Trained]]] = []
    for number, variant in enumerate(plans):
        runs = []
        for step, (recipe, folder) in enumerate(variant.trainings(place), number * seeds + 1):
            runs.append((yield from trained(recipe, folder, f"[{step}/{len(plans) * seeds}] {variant}")))
        results.append((variant, runs))
    title = f"{name}: best evaluation of each run, {seeds} seed(s); runs in {place}"
    if (figure := curves(name, results)) is not None:
        from formers.pictures.figure import save

        yield Remark(f"picture: {save(figure, place / 'compare.png')}")
    yield Comparison(name, [summary(*each) for each in results], table(title, results))


def compare_methods(name: str, changes: Sequence[str], folder: Path) -> Iterator[Event]:
    """The recipe trained, and what its system holds it against. Raises ConfigError where that is nothing."""
    recipe = recipe_of(name, changes)
    place = system(recipe.system).comparison
    if not place:
        example = "give fields and their values: --over SECTION.KEY=A,B"
        raise ConfigError(f"recipes of the system {recipe.system} are compared with each other only; {example}")
    ended = yield from trained(recipe, folder, str(folder))
    yield from resolve(place)(load(folder), recipe.sections, folder, ended.seconds)


def result(recipe: Recipe, folder: Path, events: list[dict[str, Any]], best: int | None, seconds: float) -> Trained:
    evaluated = {event["step"]: event["metrics"] for event in events if event["event"] == "evaluated"}
    scores = evaluated.get(best) or evaluated.get(max(evaluated, default=None), {})
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


def curves(name: str, results: Sequence[tuple[Variant, Sequence[Trained]]]) -> Figure | None:
    """What each run is judged by, over the last field of numbers, a line for each combination of the other fields.

    None where no field has several numbers.
    """
    number = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?")
    columns = {field: list(dict.fromkeys(v.values[field] for v, _ in results)) for field in results[0][0].values}
    across = [f for f, values in columns.items() if len(values) > 1 and all(map(number.fullmatch, values))]
    score = results[0][0].recipes[0].sections["train"].monitor
    if not across or not all(score in run.scores for _, runs in results for run in runs):
        return None
    from formers.pictures.lines import draw_lines

    lines: dict[str, dict[float, float]] = {}
    for variant, runs in results:
        others = " ".join(f"{f.partition('.')[2]} {v}" for f, v in variant.values.items() if f != across[-1]) or name
        place = float(variant.values[across[-1]])
        lines.setdefault(others, {})[place] = statistics.fmean(run.scores[score] for run in runs)
    places = sorted(map(float, columns[across[-1]]))
    drawn = {label: [points[place] for place in places] for label, points in lines.items()}
    doubling = places[0] > 0 and places[-1] >= FAR_APART * places[0]
    return draw_lines(places, {score: drawn}, name, across[-1], doubling=doubling)


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
