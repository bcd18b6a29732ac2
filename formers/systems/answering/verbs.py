"""The verbs of answering: what they take, what they give."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from formers.errors import ConfigError
from formers.fields import Count, Natural
from formers.files import replace_file
from formers.systems.measure import MeasureColumns, measured, or_suite
from formers.systems.system import Event, Passage, Typed

if TYPE_CHECKING:
    from formers.systems.answering.system import Answer, Answerer

SHOWN = 4  # questions of an evaluation that are shown
NONE = "(no answer)"


@dataclass(frozen=True, kw_only=True)
class AnswerQuestions:
    """What to ask, and where to look."""

    questions: Annotated[tuple[str, ...], Typed(positional=True, metavar="QUESTION")]
    """One or more questions."""
    passage: Passage
    """Where to look: a text, a text file, or - (standard input)."""
    top: Natural = 1
    """The N likeliest answers."""
    threshold: float = 0.0
    """How much likelier "no answer" must be to be said (logits; inf: never)."""
    longest: Natural = 30
    """Most tokens of an answer."""
    stride: Count = 0
    """Tokens that the windows of a long passage share (0: a quarter)."""

    def __post_init__(self) -> None:
        if math.isnan(self.threshold):
            raise ConfigError("--threshold (nan) must be a number")


@dataclass(frozen=True)
class Answered:
    """A question and its likeliest answers."""

    question: str
    answers: Sequence[Answer]
    passage: str = field(metadata={"json": False})
    titled: bool = field(metadata={"json": False})
    """Whether its lines begin with the question."""

    def line(self) -> str:
        return "".join(text for text, _ in self.spans())

    def spans(self) -> list[tuple[str, str]]:
        """Each answer with its probability, and the sentence that it stands in."""
        lines = [[(self.question, "bold")]] if self.titled else []
        for answer in self.answers:
            lines.append([(f"{answer.score:.3f}  {answer.text or NONE}", "")])
            if answer.text:
                before, inside, after = in_sentence(answer, self.passage)
                lines.append([(f"       {before}", ""), (f"[{inside}]", "bold green"), (after, "")])
        parts = [part for line in lines for part in [*line, ("\n", "")]]
        return parts if self.titled else parts[:-1]  # an empty line parts questions


def in_sentence(answer: Answer, passage: str) -> tuple[str, str, str]:
    """(before, answer, after): the sentence or sentences of an answer, on one line."""
    from formers.data.sentences import split_spans

    begin = end = 0
    for sentence, gap in split_spans(passage):
        after = end + len(sentence) + len(gap)
        if after <= answer.start:
            begin = after
        end = after
        if end >= answer.end:
            break
    parts = passage[begin : answer.start], passage[answer.start : answer.end], passage[answer.end : end]
    before, inside, rest = ("".join(" " if sign.isspace() else sign for sign in part) for part in parts)
    return before.lstrip(), inside, rest.rstrip()


def answer(answerer: Answerer, options: AnswerQuestions) -> Iterator[Event]:
    """Each question's answers, all in the same passage."""
    answers = answerer.answers(
        options.questions,
        [options.passage] * len(options.questions),
        top=options.top,
        threshold=options.threshold,
        longest=options.longest,
        stride=options.stride,
    )
    for question, best in zip(options.questions, answers, strict=True):
        yield Answered(question, best, options.passage, len(options.questions) > 1)


@or_suite
def evaluate(answerer: Answerer, options: MeasureColumns) -> Iterator[Event]:
    """Exact match and F1 as SQuAD defines them; --out: question, answer and true answers as JSON lines."""
    from formers.systems.answering.data import PassageRows, read_windows
    from formers.systems.answering.system import Answerer
    from formers.systems.answering.task import AnsweringConfig
    from formers.systems.begin import judged_rows

    origin = options.measure.origin
    config = origin.section("task", "answering") or AnsweringConfig()
    columns = {"context": "source", "question": "second", "answers": "label"}
    rows, table = judged_rows(options, "answering", PassageRows, **columns)
    answerer = Answerer(answerer.model, answerer.tokenizer, length=rows.length)
    table = table.usable(lambda row: list(read_windows(row, answerer.reader, rows)))
    questions, truths = table.columns[rows.question], table.columns[rows.answers]
    begin = time.perf_counter()
    report, answers = answerer.evaluate(table, rows, threshold=config.threshold(truths), longest=config.longest_answer)

    def write(path: Path) -> None:
        lines = (
            json.dumps({"question": question, **asdict(best), "answers": true}, ensure_ascii=False) + "\n"
            for question, best, true in zip(questions, answers, truths, strict=True)
        )
        replace_file(path, "".join(lines).encode())

    passages = len(set(table.columns[rows.context]))
    yield measured(
        report,
        "answering",
        origin,
        table,
        begin,
        unit="questions",
        rows=f"{len(table):,} questions on {passages:,} passages",
        examples=[
            {
                "question": questions[row],
                "answer": answers[row].text or NONE,
                "right": truths[row][0] if truths[row] else NONE,
            }
            for row in range(0, len(table), max(1, len(table) // SHOWN))
        ][:SHOWN],
        files={"": write},
    )
