"""The verbs of multiple choice: what they take, what they give."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from formers.errors import ConfigError
from formers.fields import Inline, Natural, check
from formers.systems.suites.options import NO_SUITE, SuiteOptions
from formers.systems.system import NOWHERE, Event, Origin, Remark, Typed

if TYPE_CHECKING:
    from formers.systems.choice.system import Chooser


@dataclass(frozen=True, kw_only=True)
class Choose:
    """Questions with choices."""

    question: Annotated[str, Typed(positional=True, metavar="QUESTION")] = ""
    """What to choose an answer to, or the text to continue."""
    choices: Annotated[tuple[str, ...], Typed(metavar="A,B,...")] = ()
    """The choices with commas between them; given several times, one each."""
    file: Annotated[str, Typed(metavar="FILE")] = ""
    """Questions as JSONL: {"question": ..., "choices": [...]} a line."""

    def __post_init__(self) -> None:
        check(self)
        if bool(self.question) == bool(self.file) or (self.file and self.choices):
            raise ConfigError(
                'give a question and --choices, or --file: formers choose MODEL "a question" --choices a,b'
            )
        if self.question and len(self.listed) < 2:
            raise ConfigError(f"got {len(self.listed)} choice(s), expected at least two: --choices a,b,c")

    @property
    def listed(self) -> tuple[str, ...]:
        """The choices one by one."""
        parts = self.choices[0].split(",") if len(self.choices) == 1 else self.choices
        return tuple(part.strip() for part in parts if part.strip())


@dataclass(frozen=True)
class PredictedChoice:
    """A question and the choice that fits it best; `place` counts from 0."""

    question: str
    choice: str
    place: int
    choices: Sequence[str]
    probabilities: Sequence[float]

    def line(self) -> str:
        return self.choice

    def spans(self) -> Sequence[tuple[str, str]]:
        """The choice, and how sure the model is."""
        return [(self.choice, "bold"), (f"  {self.probabilities[self.place]:.1%}", "dim")]


def choose(chooser: Chooser, options: Choose) -> Iterator[Event]:
    """The likeliest choice of each question."""
    from formers.data.questions import read_questions

    questions: list[tuple[str, tuple[str, ...]]] = [(options.question, options.listed)]
    if options.file:
        questions = [(each.question, each.choices) for each in read_questions(options.file, answered=False)]
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
    suites: Annotated[SuiteOptions, Inline()] = NO_SUITE
    """Sets that papers measure with."""

    def __post_init__(self) -> None:
        self.suites.check_data(self.data)


def evaluate(chooser: Chooser, options: EvaluateChooser) -> Iterator[Event]:
    """Loss, accuracy and chance on the questions of --data, or on a run's own test data."""
    from formers.systems.begin import judged_on
    from formers.systems.choice.data import ChoiceBatches, ChoiceRows

    if options.suites.suite is not None:
        from formers.systems.suites.report import suite_report

        yield from suite_report(chooser, options.suites, options.origin.name, options.data)
        return
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
