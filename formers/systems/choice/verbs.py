"""The verbs of multiple choice: what they take; what they give is in system.py."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from formers.systems.choosing import Choose
from formers.systems.measure import MeasureRows, measured, or_suite
from formers.systems.system import Event, Remark

if TYPE_CHECKING:
    from formers.systems.choice.system import Chooser


def choose(chooser: Chooser, options: Choose) -> Iterator[Event]:
    """The likeliest choice of each question."""
    yield from (results := chooser.choose_all(options.questions()))
    if cut := sum(result.cut or 0 for result in results):
        yield Remark(f"cut: {cut} choice(s) that are too long, with their question, for this model")


@or_suite
def evaluate(chooser: Chooser, options: MeasureRows) -> Iterator[Event]:
    """Loss, accuracy and chance on the questions of --data, or on a run's own test data."""
    from formers.data.questions import questions_of
    from formers.systems.begin import judged_rows
    from formers.systems.choice.data import ChoiceBatches, ChoiceRows

    begin = time.perf_counter()
    rows, table = judged_rows(options, "choice", ChoiceRows)
    table = table.usable(questions_of)
    chooser = type(chooser)(chooser.model, chooser.tokenizer, length=rows.length)
    report = chooser.evaluate(ChoiceBatches(table, chooser.reader, rows))
    yield measured(report, "choice", options.measure.origin, table, begin, unit="questions")
