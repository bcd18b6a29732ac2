"""The verb `evaluate` as many systems have it: on which rows a model is measured, and what its report says of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

from formers.fields import Natural, Part, check
from formers.systems.suites.options import NO_SUITE, SuiteOptions
from formers.systems.system import NOWHERE, Event, Origin, Report, Typed

if TYPE_CHECKING:
    from formers.data.sources import Table
    from formers.training.task import Loss

HELP = "Measure a model: BLEU of translations, perplexity, accuracy, whatever its system is judged by."


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What to measure an encoder on."""

    origin: Origin = NOWHERE
    """The model's own recipe."""
    data: Annotated[str, Typed("SOURCE", file=True)] = ""
    """Rows to measure with (default for a run: its test data)."""
    count: Natural | None = None
    """Only the first N of them."""
    suites: Annotated[SuiteOptions, Part()] = NO_SUITE
    """Sets that papers measure with."""

    def __post_init__(self) -> None:
        check(self)


def or_suite(evaluate: Callable[[Any, Any], Iterator[Event]]) -> Callable[[Any, Any], Iterator[Event]]:
    """The verb `evaluate` of an encoder, whose options have `suites`: as it is, or the report of the suite."""

    @wraps(evaluate)
    def run(opened: Any, options: Any) -> Iterator[Event]:
        suites: SuiteOptions = options.suites
        if suites.suite is None:
            yield from evaluate(opened, options)
            return
        data = vars(options).get("data", "")
        suites.check_data(data)
        from formers.systems.suites.report import suite_report

        yield from suite_report(opened, suites, options.origin.name, data)

    return run


def measured(
    report: Report,
    origin: Origin,
    table: Table,
    seconds: float,
    *,
    unit: str,
    remarks: Mapping[str, str],
    rows: str = "",
    speed_as: str = ".1f",
    **more: Any,
) -> Report:
    """The report with what it is of, and how fast it was.

    seconds: what it took; unit: what is counted, by the facts or else the rows; remarks: a word to a score, or a line;
    rows: what was read, in words; speed_as: its format; more: other parts of the report.
    """
    speed = report.facts.get(unit, len(table)) / seconds
    return replace(
        report,
        title=f"{origin.name}: {rows or f'{len(table):,} {unit}'} of {table.described}",
        facts={"model": origin.name, "data": table.name, **report.facts, f"{unit}_per_second": speed},
        remarks={**remarks, "speed": f"{speed:{speed_as}} {unit} per second"},
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
