"""The verbs of multiple choice: what they take; what they give is in system.py."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from formers.errors import ConfigError
from formers.systems.measure import Measure, measured
from formers.systems.system import Event, Remark, Typed

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
        if bool(self.question) == bool(self.file) or (self.file and self.choices):
            raise ConfigError('give a question and --choices, or --file: formers choose MODEL "question" --choices a,b')
        if self.question and len(self.listed) < 2:
            raise ConfigError(f"got {len(self.listed)} choice(s), expected at least two: --choices a,b,c")

    @property
    def listed(self) -> tuple[str, ...]:
        """The choices one by one."""
        parts = self.choices[0].split(",") if len(self.choices) == 1 else self.choices
        return tuple(part.strip() for part in parts if part.strip())


def choose(chooser: Chooser, options: Choose) -> Iterator[Event]:
    """The likeliest choice of each question."""
    from formers.data.questions import read_questions

    questions = [(options.question, options.listed)]
    if options.file:
        questions = [(row.question, row.choices) for row in read_questions(options.file, answered=False)]
    results = chooser.choose_all(questions)
    yield from results
    if cut := sum(result.cut for result in results):
        yield Remark(f"cut: {cut} choice(s) that are too long, with their question, for this model")


def evaluate(chooser: Chooser, options: Measure) -> Iterator[Event]:
    """Loss, accuracy and chance on the questions of --data, or on a run's own test data."""
    from formers.systems.begin import judged_on
    from formers.systems.choice.data import ChoiceBatches, ChoiceRows

    rows, begin = options.origin.section("rows", "choice") or ChoiceRows(), time.perf_counter()
    table = judged_on(options.origin, "choice", rows, options.data, options.count)
    chooser = type(chooser)(chooser.model, chooser.tokenizer, length=rows.length)
    report, remarks = chooser.evaluate(ChoiceBatches(table, chooser.reader, rows)), {"chance": "what guessing gives"}
    yield measured(report, options.origin, table, time.perf_counter() - begin, unit="questions", remarks=remarks)
