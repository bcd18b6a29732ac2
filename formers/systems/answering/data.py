"""Passages with questions and where their answers stand: read, checked, split by passage, cut into windows, batched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import Buckets, Ragged
from formers.data.files import MissingColumn, ending, fault, quoted
from formers.data.report import DataReport, LengthReport
from formers.data.source import Source, settings_of
from formers.data.sources import Table, read_table
from formers.errors import ConfigError, DataError
from formers.fields import Between, Count, Natural, check
from formers.systems.answering.squad import is_squad, read_squad
from formers.text.reader import Inputs, Reader, Row

if TYPE_CHECKING:
    from formers.text.reader import Encoding

GROUP = 1000  # questions whose encodings are in memory at the same time


@dataclass(frozen=True, kw_only=True)
class PassageRows:
    """Columns of passages, questions and answers, their windows, and how they are batched."""

    context: str = "context"
    """Column with the passage."""
    question: str = "question"
    """Column with the question."""
    answers: str = "answers"
    """Column with the list of right answers (empty: there is none), or with {text, answer_start} as in SQuAD."""
    starts: str = "answer_starts"
    """Column with the character at which each answer begins (not needed where `answers` holds it)."""
    share: Annotated[float, Between(above=0, below=1)] = 0.1
    """Share of the passages, with all their questions, that is set aside where there is no validation data."""
    vocab: Natural = 4000
    """Size of the word piece vocabulary that is trained for a new encoder."""
    tokenizer: str = ""
    """Folder with a tokenizer for a new encoder instead of training one."""
    length: Count = 0
    """Most tokens of a window: question and a part of the passage (0: the model's length)."""
    stride: Count = 0
    """Tokens that neighbouring windows of a passage have in common (0: a quarter of `length`)."""
    tokens_per_batch: Natural = 2048
    """Most tokens of a batch, padding included."""

    def __post_init__(self) -> None:
        check(self, "rows")

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads the rows, and sets passages aside."""
        settings = settings_of(self, "context", "question", "answers", "starts")
        return {"reader": self.read, "set_aside": self.apart, "settings": settings}

    def read(self, name: str, **options: Any) -> Table:
        """What `Source` reads with: the rows of whatever form; `options` as in `read_table`."""
        table = self.flat(name, options)
        return self.checked(table.usable(self.checked))

    def flat(self, name: str, options: Mapping[str, Any]) -> Table:
        """The rows, answers and starts in columns of their own."""
        columns = [self.context, self.question, self.answers, self.starts]
        if ending(name) == ".json" and is_squad(name):
            return read_squad(name, columns)
        try:
            return read_table(name, columns=columns, text=columns[:2], **options)
        except MissingColumn as error:
            if self.starts not in error.columns:
                raise
            table = read_table(name, columns=columns[:3], text=columns[:2], **options)
            if not all(is_nested(value) for value in table.columns[self.answers]):
                raise
        parts = [unnested(value) for value in table.columns[self.answers]]
        flat = {self.answers: [texts for texts, _ in parts], self.starts: [starts for _, starts in parts]}
        return replace(table, columns=table.columns | flat)

    def checked(self, table: Table) -> Table:
        """The table itself. Raises DataError for the first row whose answer is not where its offset says."""
        names = (self.context, self.answers, self.starts)
        for row, (text, answers, starts) in enumerate(zip(*(table.columns[name] for name in names), strict=True)):
            for column, values, kind in ((self.answers, answers, str), (self.starts, starts, int)):
                if not isinstance(values, list) or any(type(value) is not kind for value in values):
                    wanted = "texts" if kind is str else "whole numbers"
                    got = f"column {quoted(column)} holds {quoted(values)}"
                    raise fault(table.where(row), f"{got}, expected a list of {wanted} (empty: no answer)")
            if len(answers) != len(starts):
                raise fault(
                    table.where(row),
                    f"got {len(answers)} answers but {len(starts)} offsets ({self.starts}), expected one for each",
                )
            for answer, start in zip(answers, starts, strict=True):
                there = text[start : start + len(answer)] if start >= 0 else ""
                if there != answer or not answer.strip():
                    at = text.find(answer) if answer.strip() else -1
                    fix = f"it begins at {at}" if at >= 0 else "the passage does not contain it"
                    raise fault(
                        table.where(row),
                        f"at character {start} the passage has {quoted(there)}, expected the "
                        f"answer {quoted(answer)}; {fix}; offsets count characters from 0",
                    )
        return table

    def apart(self, table: Table) -> tuple[Table, Table]:
        """The table split by passage: no passage is on both sides."""
        passages = list(dict.fromkeys(table.columns[self.context]))
        if len(passages) < 2:
            raise DataError(
                f"{table.name}: got {len(passages)} passage, expected at least 2 to set one aside for "
                "validation; give data.validation"
            )
        count = min(len(passages) - 1, max(1, round(self.share * len(passages))))
        aside = {passages[place] for place in np.unique(np.linspace(0, len(passages) - 1, count).astype(int))}
        rest, held_out = (
            [row for row, text in enumerate(table.columns[self.context]) if (text in aside) == is_aside]
            for is_aside in (False, True)
        )
        return table.select(rest), table.select(held_out)


def is_nested(value: object) -> bool:
    """{"text": [...], "answer_start": [...]}, or a list of {"text": ..., "answer_start": ...}."""
    parts = value if isinstance(value, list) else [value]
    return all(isinstance(part, dict) and {"text", "answer_start"} <= part.keys() for part in parts)


def unnested(value: Any) -> tuple[list[Any], list[Any]]:
    """(texts, offsets) of either."""
    if isinstance(value, list):
        return [part["text"] for part in value], [part["answer_start"] for part in value]
    return value["text"], value["answer_start"]


class Window(NamedTuple):
    """A question and a part of its passage as a row of tokens."""

    row: Row
    null: int
    """The place that stands for "no answer": that of the first token."""
    first: int
    """The places of the passage: from `first` ..."""
    last: int
    """... to `last`, which is one of them."""
    start: int
    """The places of the answer's first and ..."""
    end: int
    """... last token; both `null` where this window does not hold the whole answer."""


class PassageBatch(NamedTuple):
    inputs: Inputs
    open: Tensor
    """(rows, longest): True where an answer may stand: the passage, and the place of "no answer"."""
    starts: Tensor
    """(rows): the answer's first token."""
    ends: Tensor
    """(rows): its last."""


class PassageBatches:
    """The windows of a table of questions in batches, and the report on them."""

    def __init__(self, table: Table, reader: Reader, config: PassageRows, *, seed: int) -> None:
        self.reader = reader
        self.of: list[int] = []  # the row of the table that each window is of
        ids: list[Any] = []
        kinds: list[Any] = []
        places, lengths, lost = [], [], 0
        stride = stride_of(reader, config)
        for row, encodings in enumerate(read_windows(table, reader, config)):
            windows = [placed(encoding, *first_answer(table, config, row)) for encoding in encodings]
            passage = sum(window.last + 1 - window.first for window in windows) - stride * (len(windows) - 1)
            lengths.append(windows[0].first + passage + len(windows[0].row.ids) - windows[0].last - 1)
            if table.columns[config.answers][row] and all(window.start == window.null for window in windows):
                lost += 1  # marked as unanswerable it would teach what is wrong
                continue
            for window in windows:
                ids.append(window.row.ids)
                kinds.append(window.row.type_ids)
                places.append(window[1:])
                self.of.append(row)
        if not ids:
            raise DataError(
                f"{table.name}: no window of {reader.length} tokens holds the answer of any of its "
                f"{len(table):,} questions; raise rows.length or rows.stride"
            )
        self.ids, self.kinds, self.places = Ragged(ids), Ragged(kinds), np.asarray(places, np.int64)
        questions = table.columns[config.question]
        order = Buckets(
            self.ids.lengths,
            config.tokens_per_batch,
            seed=seed,
            where=lambda window: table.where(self.of[window], questions[self.of[window]]),
        )
        self.epoch, self.describe = order.epoch, order.describe
        asked = len(table) - lost
        without = sum(not answers for answers in table.columns[config.answers])
        passages = len(set(table.columns[config.context]))
        unknown = reader.tokenizer.unk
        unknown_share = 0.0 if unknown is None else float((self.ids.flat == unknown).mean())
        self.report = DataReport(
            asked,
            [LengthReport("question and passage", np.asarray(lengths), unknown_share)],
            {
                "answer longer than what two windows have in common, and cut by them (rows.length, rows.stride)": lost,
                "without a passage or question (data.drop_empty)": table.dropped,
            },
            [
                f"passages: {passages:,}; questions without an answer: {without:,} ({without / len(table):.2%})",
                f"windows of at most {reader.length} tokens: {len(self.ids):,}, {len(self.ids) / asked:.2f} each",
            ],
        )

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> PassageBatch:
        """The tensors of these windows."""
        inputs = self.reader.batch([Row(self.ids[row], self.kinds[row]) for row in rows])
        null, first, last, start, end = torch.from_numpy(self.places[np.asarray(rows)]).T[:, :, None]
        at = torch.arange(inputs.tokens.shape[1])[None]
        return PassageBatch(inputs, ((at >= first) & (at <= last)) | (at == null), start[:, 0], end[:, 0])


def stride_of(reader: Reader, config: PassageRows) -> int:
    return config.stride or reader.length // 4


def read_windows(table: Table, reader: Reader, config: PassageRows) -> Iterator[list[Encoding]]:
    """The windows of every question, in order.

    Raises DataError where a question leaves no room for its passage, or the tokenizer leaves nothing of the passage.
    """
    questions, passages = table.columns[config.question], table.columns[config.context]
    stride = stride_of(reader, config)
    for begin in range(0, len(table), GROUP):
        group = slice(begin, begin + GROUP)
        try:
            read = reader.windows(questions[group], passages[group], stride=stride)
        except ConfigError:
            for row in range(begin, len(table)):
                try:
                    reader.windows([questions[row]], [passages[row]], stride=stride)
                except ConfigError as error:
                    raise fault(table.where(row), f"{error} (rows.length, rows.stride)") from None
            raise
        for row, windows in enumerate(read, begin):
            if 1 not in windows[0].sequence_ids:
                raise fault(table.where(row), f"the tokenizer leaves nothing of the passage {quoted(passages[row])}")
            yield windows


def first_answer(table: Table, config: PassageRows, row: int) -> tuple[int, int]:
    """(start, end) of the first right answer, characters of the passage; (0, 0): there is none."""
    answers, starts = table.columns[config.answers][row], table.columns[config.starts][row]
    return (starts[0], starts[0] + len(answers[0])) if answers else (0, 0)


def passage_places(encoding: Encoding) -> tuple[int, int]:
    """The first and the last place of the passage in a window."""
    kinds = encoding.sequence_ids
    first = kinds.index(1)
    return first, len(kinds) - 1 - kinds[::-1].index(1)


def placed(encoding: Encoding, start: int, end: int) -> Window:
    """A window with the places of the answer that is the characters from `start` to `end` (exclusive; equal: none)."""
    row = Row(np.asarray(encoding.ids, np.int32), np.asarray(encoding.type_ids, np.int32))
    first, last = passage_places(encoding)
    offsets = encoding.offsets
    none = Window(row, 0, first, last, 0, 0)
    if start == end or offsets[first][0] > start or offsets[last][1] < end:
        return none
    inside = [place for place in range(first, last + 1) if offsets[place][1] > start and offsets[place][0] < end]
    return none._replace(start=inside[0], end=inside[-1]) if inside else none
