"""Questions with choices for training: read, each choice turned into tokens with its question, batched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from formers.data.batching import Buckets
from formers.data.encoded import EncodedRows
from formers.data.questions import question_of
from formers.data.report import DataReport, LengthReport
from formers.data.sources import Table
from formers.fields import Count, Natural, check
from formers.text.reader import Inputs, Reader


@dataclass(frozen=True, kw_only=True)
class ChoiceRows:
    """Columns of the questions, their tokens, and how they are batched."""

    question: str = "question"
    """Column of the question."""
    choices: str = "choices"
    """Column of the lists of choices, at least two each."""
    answer: str = "answer"
    """Column of the right choice: its text, or its place from 0."""
    length: Count = 0
    """Most tokens of a question with a choice; longer ones are cut, and how many is reported (0: the model's)."""
    vocab: Natural = 4000
    """Size of the vocabulary of word pieces that is trained for a new model."""
    tokenizer: str = ""
    """Folder with a tokenizer to use for a new model instead of training one."""
    tokens_per_batch: Natural = 1024
    """Most tokens of a batch, padding and all choices included."""

    def __post_init__(self) -> None:
        check(self, "rows")

    @property
    def columns(self) -> dict[str, list[str]]:
        """What `Source` reads."""
        return {"columns": [self.question, self.choices, self.answer], "text": [self.question]}


@dataclass(frozen=True)
class ChoiceBatch:
    inputs: Inputs
    """A row for each choice, those of a question one after the other."""
    counts: list[int]
    """How many choices each question has."""
    answers: Tensor
    """(questions,) the place of the right choice."""


class ChoiceBatches:
    """The batches of a table of questions, and the report on it."""

    def __init__(self, table: Table, reader: Reader, config: ChoiceRows, *, seed: int = 1) -> None:
        columns = (table.columns[name] for name in config.columns["columns"])
        rows = enumerate(zip(*columns, strict=True))
        self.table, self.questions = table, [question_of(table.where(row), *values) for row, values in rows]
        self.counts = np.array([len(question.choices) for question in self.questions])
        self.ends = np.cumsum(self.counts)
        pairs = [(question.question, choice) for question in self.questions for choice in question.choices]
        self.rows = EncodedRows(reader, [first for first, _ in pairs], [second for _, second in pairs])
        lengths = self.rows.tokens.lengths
        longest = np.maximum.reduceat(lengths, self.ends - self.counts)
        order = Buckets(longest * self.counts, config.tokens_per_batch, seed=seed, where=table.where)
        self.epoch, self.describe = order.epoch, order.describe
        self.report = DataReport(
            len(table),
            [LengthReport("question+choice", lengths, self.rows.unknown_share)],
            {"with an empty question (data.drop_empty)": table.dropped},
            [
                f"choices: {self.counts.min()} to {self.counts.max()} a question, chance {self.chance:.1%}",
                f"longer than {reader.length} tokens: {self.rows.cut:,}, cut the longer text first",
            ],
        )

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return float((1 / self.counts).mean())

    def answers(self, rows: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """(rows,) the places of the right choices."""
        return from_numpy(np.array([self.questions[row].answer for row in rows], np.int64))

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> ChoiceBatch:
        """The tensors of these questions."""
        flat = [place for row in rows for place in range(self.ends[row] - self.counts[row], self.ends[row])]
        return ChoiceBatch(self.rows.batch(flat), self.counts[np.asarray(rows)].tolist(), self.answers(rows))
