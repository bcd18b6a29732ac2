"""Questions with choices: each choice turned into tokens with its question, reported on, batched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from formers.data.batching import Buckets
from formers.data.encoded import EncodedRows
from formers.data.questions import KEYS, questions_of
from formers.data.report import DataReport, LengthReport
from formers.data.source import Source
from formers.data.sources import Table
from formers.fields import Count, Natural, check
from formers.text.reader import Inputs, Reader


@dataclass(frozen=True, kw_only=True)
class ChoiceRows:
    """The tokens of the questions (columns question, choices, answer), and how they are batched."""

    length: Count = 0
    """Most tokens of a question with a choice; longer ones are cut, and how many is reported (0: the model's)."""
    vocab: Natural = 4000
    """Size of the vocabulary of word pieces that is trained for a new model."""
    tokenizer: str = ""
    """Folder with a tokenizer to use for a new model instead of training one."""
    tokens_per_batch: Natural = 1024
    """Most tokens of a batch, padding and all choices included."""

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads the questions."""
        return {"columns": KEYS, "text": KEYS[:1], "what": "question"}

    def __post_init__(self) -> None:
        check(self, "rows")


class EncodedQuestions:
    """A row of tokens for each choice, those of a question one after the other: `counts` of them."""

    def __init__(self, reader: Reader, questions: Sequence[tuple[str, Sequence[str]]]) -> None:
        pairs = [(question, choice) for question, choices in questions for choice in choices]
        self.rows = EncodedRows(reader, [first for first, _ in pairs], [second for _, second in pairs])
        self.counts = np.array([len(choices) for _, choices in questions])
        self.starts = np.cumsum(self.counts) - self.counts


@dataclass(frozen=True)
class QuestionBatch:
    inputs: Inputs
    counts: list[int]
    answers: Tensor
    """(questions,) the place of the right choice."""


class ChoiceBatches:
    """The batches of a table of questions, and the report on it."""

    def __init__(self, table: Table, reader: Reader, config: ChoiceRows, *, seed: int = 1) -> None:
        rows = questions_of(table)
        self.questions = [(row.question, row.choices) for row in rows]
        self.answers = np.array([row.answer for row in rows])
        self.encoded = EncodedQuestions(reader, self.questions)
        counts, tokens, cut = self.encoded.counts, self.encoded.rows.tokens, self.encoded.rows.cut
        self.chance = float((1 / counts).mean())
        sizes = counts * np.maximum.reduceat(tokens.lengths, self.encoded.starts)
        order = Buckets(sizes, config.tokens_per_batch, seed=seed, where=table.where)
        self.epoch, self.describe = order.epoch, order.describe
        sides = [LengthReport("question+choice", tokens.lengths, self.encoded.rows.unknown_share)]
        notes = f"chance: {self.chance:.1%}", f"longer than {reader.length} tokens: {cut:,}, cut the longer text first"
        dropped = {"with an empty question (data.drop_empty)": table.dropped}
        self.report = DataReport(len(table), sides, dropped, [*notes])

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> QuestionBatch:
        """The tensors of these questions."""
        rows = np.asarray(rows)
        counts, starts = self.encoded.counts[rows], self.encoded.starts[rows]
        flat = np.concatenate([start + np.arange(count) for start, count in zip(starts, counts, strict=True)])
        return QuestionBatch(self.encoded.rows.batch(flat), counts.tolist(), from_numpy(self.answers[rows]))
