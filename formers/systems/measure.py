"""The verb `evaluate` as many systems have it: on which rows a model is measured, and what its report says of them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

from formers.errors import ConfigError
from formers.fields import Natural, Part, check
from formers.systems.suites.options import NO_SUITE, SuiteOptions
from formers.systems.system import NOWHERE, Event, Origin, Report, Typed, resolve

if TYPE_CHECKING:
    from formers.data.sources import Table
    from formers.training.task import Loss

NOTHING: Mapping[str, str] = MappingProxyType({})
HELP = "Measure a model: BLEU of translations, perplexity, accuracy, whatever its system is judged by."


@dataclass(frozen=True, kw_only=True)
class MeasureMedia:
    """What every `evaluate` of pictures and sounds has, whatever its system."""

    origin: Origin = NOWHERE
    """The model's own recipe."""
    count: Natural | None = None
    """Only N rows of what is measured with: the first."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What every encoder's `evaluate` has, whatever its system."""

    origin: Origin = NOWHERE
    """The model's own recipe."""
    count: Natural | None = None
    """Only N rows of what is measured with: the first, or of a plain text some of all over it."""
    suites: Annotated[SuiteOptions, Part()] = NO_SUITE
    """Sets that papers measure with."""

    def __post_init__(self) -> None:
        check(self)


ALL_MEDIA, PLAIN = MeasureMedia(), Measure()


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """Judging a model by its vectors, whatever labels it knows."""

    probe: bool = False
    """Judge the vectors instead: a logistic regression and the nearest rows of --train, by whatever labels."""
    train: Annotated[str, Typed("SOURCE", file=True)] = ""
    """Rows that --probe learns from (default for a run: its training data)."""

    def __post_init__(self) -> None:
        if self.train and not self.probe:
            raise ConfigError("--train is for --probe, which learns from it")


NO_PROBE = ProbeOptions()


@dataclass(frozen=True, kw_only=True)
class MeasureRows:
    """The options of an `evaluate` whose rows have columns of fixed names."""

    data: Annotated[str, Typed("SOURCE", file=True)] = ""
    """Rows to measure with (default for a run: its test data)."""
    measure: Annotated[Measure, Part()] = PLAIN
    """What every encoder's `evaluate` has."""


@dataclass(frozen=True, kw_only=True)
class MeasureColumns:
    """The options of an `evaluate` whose rows are two texts, or one, and what they should be given."""

    data: Annotated[str, Typed("SOURCE", file=True)] = ""
    """Rows to measure with (default for a run: its test data)."""
    source: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the text, or of the passage."""
    second: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the second text (labelled pairs), or of the question."""
    label: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the label, or of the answers."""
    measure: Annotated[Measure, Part()] = PLAIN
    """What every encoder's `evaluate` has."""


def or_suite(evaluate: Callable[[Any, Any], Iterator[Event]]) -> Callable[[Any, Any], Iterator[Event]]:
    """The verb `evaluate` of an encoder, whose options have a `measure`: as it is, or the report of the suite."""

    @wraps(evaluate)
    def run(opened: Any, options: Any) -> Iterator[Event]:
        measure: Measure = options.measure
        if measure.suites.suite is None:
            yield from evaluate(opened, options)
            return
        data = vars(options).get("data", "")
        measure.suites.check_data(data)
        from formers.systems.suites.report import suite_report

        yield from suite_report(opened, measure.suites, measure.origin.name, data)

    return run


def measured(
    report: Report,
    system: str,
    origin: Origin,
    table: Table,
    begin: float,
    *,
    unit: str,
    remarks: Mapping[str, str] = NOTHING,
    rows: str = "",
    speed_as: str = ".1f",
    **more: Any,
) -> Report:
    """The report with what it is of, what its scores say (as the system declares them), and how fast it was.

    begin: `time.perf_counter()` before it; unit: what is counted, by the facts or else the rows; remarks: others; rows:
    what was read, in words; speed_as: its format; more: other parts of the report.
    """
    declared = resolve(f"systems.{system}:SYSTEM").scores
    speed = report.facts.get(unit, len(table)) / (time.perf_counter() - begin)
    return replace(
        report,
        title=f"{origin.name}: {rows or f'{len(table):,} {unit}'} of {table.described}",
        facts={"model": origin.name, "data": table.name, **report.facts, f"{unit}_per_second": speed},
        remarks={
            **{score.name: declared[score.name] for score in report.scores},
            **remarks,
            "speed": f"{speed:{speed_as}} {unit} per second",
        },
        **more,
    )


def means(losses: Iterable[Loss]) -> dict[str, float]:
    """The mean over all targets of the loss and of its parts, but for `tokens`, by name."""
    sums, count = defaultdict[str, float](float), 0.0
    for loss in losses:
        for name, total in {"loss": loss.total, **loss.parts}.items():
            sums[name] += float(total)
        count += float(loss.count)
    return {name: total / count for name, total in sums.items() if name != "tokens"}
