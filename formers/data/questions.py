"""Questions with several choices of which one is right: out of a file or the rows of a table, every fault with its row.

rows {"question": text, "choices": [text, text ...], "answer": one of them, or its place from 0}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from formers.data.bad_rows import refuse
from formers.data.files import fault, quoted
from formers.data.readers import read_file
from formers.data.sources import Table
from formers.errors import DataError

KEYS = ("question", "choices", "answer")


@dataclass(frozen=True)
class ChoiceQuestion:
    question: str
    choices: tuple[str, ...]
    answer: int
    """The place of the right choice."""


def read_questions(name: str, *, answered: bool = True) -> list[ChoiceQuestion]:
    """The questions of a JSONL (or JSON, Parquet) file; not `answered`: without answers, which are then all 0.

    Raises DataError, one line that names file and row.
    """
    keys = KEYS if answered else KEYS[:2]
    columns = read_file(name, keys)
    places = columns.lines or range(1, len(columns.values["question"]) + 1)
    word = "row" if columns.lines is None else "line"
    questions = []
    for at, *row in zip(places, *(columns.values[key] for key in keys), strict=True):
        if any(value is not None for value in row):  # else a blank line
            try:
                questions.append(question_of(f"{name}, {word} {at}", row[0], row[1], row[2] if answered else 0))
            except DataError as error:
                refuse(error)
    if not questions:
        raise fault(name, "holds no questions")
    return questions


def questions_of(table: Table) -> list[ChoiceQuestion]:
    """The questions of a table with the columns of `KEYS`. Raises DataError with the row of one that is none."""
    rows = enumerate(zip(*(table.columns[key] for key in KEYS), strict=True))
    return [question_of(table.where(row), *values) for row, values in rows]


def check_choices(where: str, choices: Sequence[str]) -> None:
    """Refuse fewer than two texts, or an empty one. Raises DataError."""
    if isinstance(choices, str) or len(choices) < 2 or not all(choice.strip() for choice in choices):
        raise fault(where, f"got the choices {quoted(choices)}, expected at least two texts that are not empty")


def question_of(where: str, question: Any, choices: Any, answer: Any) -> ChoiceQuestion:
    """What the values of a row come to. Raises DataError where they are no question."""
    if not isinstance(question, str) or not question.strip():
        raise fault(where, f"its question is {quoted(question)}, expected text")
    if not isinstance(choices, list) or len(choices) < 2:
        raise fault(where, f"its choices are {quoted(choices)}, expected a list of at least two texts")
    for choice in choices:
        if not isinstance(choice, str) or not choice.strip():
            raise fault(where, f"one of its choices is {quoted(choice)}, expected text")
    if isinstance(answer, str) and answer in choices:
        answer = choices.index(answer)
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        expected = f"one of its choices, or its place from 0 to {len(choices) - 1}"
        raise fault(where, f"its answer is {quoted(answer)}, expected {expected}")
    return ChoiceQuestion(question, tuple(choices), answer)
