"""The verbs of multiple choice: what they take, what they give."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from formers.fields import Natural
from formers.systems.choosing import Choose, PredictedChoice
from formers.systems.system import NOWHERE, Event, Origin, Remark

if TYPE_CHECKING:
    from formers.systems.choice.system import Chooser


def choose(chooser: Chooser, options: Choose) -> Iterator[Event]:
    """The likeliest choice of each question."""
    questions = options.questions()
    scored = chooser.choose_all(questions)
    for (question, choices), best in zip(questions, scored, strict=True):
        yield PredictedChoice(question, best.text, best.place, choices, best.probabilities)
    if cut := sum(each.cut for each in scored):
        yield Remark(f"cut: {cut} choice(s) that are too long, with their question, for this model")


@dataclass(frozen=True, kw_only=True)
class EvaluateChooser:
    """What to measure a model of choices on."""

    origin: Origin = NOWHERE
    """The model's own recipe."""
    data: str = ""
    """Questions with choices and answers (default for a run: its test data)."""
    count: Natural | None = None
    """Only the first N questions."""


def evaluate(chooser: Chooser, options: EvaluateChooser) -> Iterator[Event]:
    """Loss, accuracy and chance on the questions of --data, or on a run's own test data."""
    from formers.systems.begin import judged_on
    from formers.systems.choice.data import ChoiceBatches, ChoiceRows

    rows = options.origin.section("rows", "choice") or ChoiceRows()
    table = judged_on(options.origin, "choice", options.data, options.count, what="question", **rows.columns)
    chooser.length = rows.length
    begin = time.perf_counter()
    report = chooser.evaluate(ChoiceBatches(table, chooser.reader, rows))
    speed = len(table) / (time.perf_counter() - begin)
    yield replace(
        report,
        title=f"{options.origin.name}: {len(table):,} questions of {table.name}",
        facts={"model": options.origin.name, "data": table.name, **report.facts, "questions_per_second": speed},
        remarks={"chance": "what guessing gives", "speed": f"{speed:.1f} questions per second"},
    )
