"""Passages with questions and where their answers stand: read, checked, split by passage, cut into windows, batched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import Ragged, bucket
from formers.data.files import ending, fault, quoted
from formers.data.report import DataReport, LengthReport
from formers.data.sources import Table, read_table
from formers.data.squad import is_squad, read_squad
from formers.errors import ConfigError, DataError
from formers.text.reader import Inputs, Reader, Row

if TYPE_CHECKING:
    from formers.text.reader import Encoding

GROUP = 1000  # questions whose encodings are in memory at the same time


@dataclass(frozen=True, kw_only=True)
class PassageData:
    """Where passages, questions and answers come from, and how they are batched."""

    train: str = "builtin:facts"
    """Questions to learn from: .jsonl .parquet, SQuAD's .json, hf:owner/name, builtin:facts."""
    validation: str = ""
    """Questions to watch while training; empty: the source's own validation split, else some passages set aside."""
    test: str = ""
    """Questions to judge with in the end (formers evaluate); empty: the source's own test split, else `validation`."""
    context: str = "context"
    """Column with the passage."""
    question: str = "question"
    """Column with the question."""
    answers: str = "answers"
    """Column with the list of right answers (empty: there is none), or with {text, answer_start} as in SQuAD."""
    starts: str = "answer_starts"
    """Column with the character at which each answer begins (not needed where `answers` holds it)."""
    count: int = 0
    """How many training questions to generate (builtin) or to take from the front (0: all there are)."""
    held_out: int = 500
    """Questions of each generated validation and test set."""
    share: float = 0.1
    """Share of the passages, with all their questions, that is set aside where there is no validation data."""
    vocab: int = 4000
    """Size of the word piece vocabulary that is trained for a new encoder."""
    tokenizer: str = ""
    """Folder with a tokenizer for a new encoder instead of training one."""
    length: int = 0
    """Most tokens of a window: question and a part of the passage (0: the model's length)."""
    stride: int = 0
    """Tokens that neighbouring windows of a passage have in common (0: a quarter of `length`)."""
    tokens_per_batch: int = 2048
    """Most tokens of a batch, padding included."""
    drop_empty: bool = False
    """Leave out rows without a passage or question instead of refusing the file."""
    seed: int = 1
    """Seed of the order of the data and of what is generated."""

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"data.share ({self.share}) must be more than 0 and less than 1")
        if self.stride < 0:
            raise ConfigError(f"data.stride ({self.stride}) must be 0 or more")

    def read(self, part: str) -> Table | None:
        """The table of "train", "validation" or "test"; None where a part was not named and the source has none."""
        if not self.train and part == "train":
            raise ConfigError("data.train is empty: say what to learn from, for example --set data.train=squad.json")
        name = {"train": self.train, "validation": self.validation, "test": self.test}[part]
        if not name and self.train.startswith(("builtin:", "hf:")):
            name = self.train
        if not name:
            return None
        table = self.checked(self.flat(name, part))
        if part == "train" and self.count and not name.startswith("builtin:"):
            table = table.select(range(min(self.count, len(table))))
        return table

    def flat(self, name: str, part: str) -> Table:
        """The rows, answers and starts in columns of their own."""
        columns = [self.context, self.question, self.answers, self.starts]
        if ending(name) == ".json" and is_squad(name):
            return read_squad(name, columns)
        count = (self.count if part == "train" else self.held_out) if name.startswith("builtin:") else None
        options: dict[str, Any] = {
            "text": columns[:2],
            "split": part,
            "seed": self.seed,
            "count": count or None,
            "drop_empty": self.drop_empty,
        }
        try:
            return read_table(name, columns=columns, **options)
        except DataError as error:
            if f'"{self.starts}"' not in str(error):  # something else than that column
                raise
            table = read_table(name, columns=columns[:3], **options)
            if not all(is_nested(value) for value in table.columns[self.answers]):
                raise
        parts = [unnested(value) for value in table.columns[self.answers]]
        found = {self.answers: [texts for texts, _ in parts], self.starts: [starts for _, starts in parts]}
        return replace(table, columns=table.columns | found)

    def checked(self, table: Table) -> Table:
        """The table itself. Raises DataError for the first row whose answer is not where its offset says."""
        names = (self.context, self.answers, self.starts)
        for row, (text, answers, starts) in enumerate(zip(*(table.columns[name] for name in names), strict=True)):
            for column, values, kind in ((self.answers, answers, str), (self.starts, starts, int)):
                good = isinstance(values, list) and all(type(value) is kind for value in values)
                if not good:
                    wanted = "texts" if kind is str else "whole numbers"
                    raise fault(
                        table.where(row),
                        f"column {quoted(column)} holds {quoted(values)}, expected a list of "
                        f"{wanted} (empty: no answer)",
                    )
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

    def tables(self) -> tuple[Table, Table]:
        """Training and validation questions; without a validation source every k-th passage is set aside."""
        train = self.read("train")
        assert train is not None
        validation = self.read("validation")
        return self.apart(train) if validation is None else (train, validation)

    def apart(self, table: Table) -> tuple[Table, Table]:
        """The table split by passage: no passage is on both sides."""
        passages = list(dict.fromkeys(table.columns[self.context]))
        if len(passages) < 2:
            raise DataError(
                f"{table.name}: got {len(passages)} passage, expected at least 2 to set one aside for "
                "validation; give data.validation"
            )
        aside = min(len(passages) - 1, max(1, round(self.share * len(passages))))
        chosen = {passages[place] for place in np.unique(np.linspace(0, len(passages) - 1, aside).astype(int))}
        held = [row for row, text in enumerate(table.columns[self.context]) if text in chosen]
        rest = [row for row, text in enumerate(table.columns[self.context]) if text not in chosen]
        return table.select(rest), table.select(held)


def is_nested(value: object) -> bool:
    """{"text": [...], "answer_start": [...]}, or a list of {"text": ..., "answer_start": ...}."""
    parts = value if isinstance(value, list) else [value]
    return all(isinstance(part, dict) and {"text", "answer_start"} <= part.keys() for part in parts)


def unnested(value: Any) -> tuple[list, list]:
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

    def __init__(self, table: Table, reader: Reader, config: PassageData) -> None:
        self.table, self.reader, self.config = table, reader, config
        self.of: list[int] = []  # the row of the table that each window is of
        ids: list[Any] = []
        kinds: list[Any] = []
        places, lengths, lost = [], [], 0
        stride = stride_of(reader, config)
        for row, windows in enumerate(read_windows(table, reader, config)):
            found = [placed(each, *answer(table, config, row)) for each in windows]
            passage = sum(each.last + 1 - each.first for each in found) - stride * (len(found) - 1)
            lengths.append(found[0].first + passage + len(found[0].row.ids) - found[0].last - 1)
            if table.columns[config.answers][row] and all(each.start == each.null for each in found):
                lost += 1  # marked as unanswerable it would teach what is wrong
                continue
            for each in found:
                ids.append(each.row.ids)
                kinds.append(each.row.type_ids)
                places.append(each[1:])
                self.of.append(row)
        if not ids:
            raise DataError(
                f"{table.name}: no window of {reader.length} tokens holds the answer of any of its "
                f"{len(table):,} questions; raise data.length or data.stride"
            )
        self.ids, self.kinds, self.places = Ragged(ids), Ragged(kinds), np.asarray(places, np.int64)
        self.lengths = self.ids.lengths[:, None]
        asked = len(table) - lost
        without = sum(not each for each in table.columns[config.answers])
        passages = len(set(table.columns[config.context]))
        unknown = reader.tokenizer.unk
        notes = [
            f"passages: {passages:,}; questions without an answer: {without:,} ({without / len(table):.2%})",
            f"windows of at most {reader.length} tokens: {len(self.ids):,}, {len(self.ids) / asked:.2f} each",
        ]
        self.report = DataReport(
            asked,
            [
                LengthReport(
                    "question and passage",
                    np.asarray(lengths),
                    0.0 if unknown is None else float((self.ids.flat == unknown).mean()),
                )
            ],
            {
                "answer longer than what two windows have in common, and cut by them (data.length, data.stride)": lost,
                "without a passage or question (data.drop_empty)": table.dropped,
            },
            notes,
        )

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """Window numbers of every batch."""
        return bucket(self.lengths, self.config.tokens_per_batch, seed=self.config.seed, epoch=epoch)

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> PassageBatch:
        """The tensors of these windows."""
        inputs = self.reader.batch([Row(self.ids[row], self.kinds[row]) for row in rows])
        null, first, last, start, end = torch.from_numpy(self.places[np.asarray(rows)]).T[:, :, None]
        at = torch.arange(inputs.tokens.shape[1])[None]
        return PassageBatch(inputs, ((at >= first) & (at <= last)) | (at == null), start[:, 0], end[:, 0])

    def describe(self, rows: Sequence[int] | NDArray[np.int64]) -> str:
        """The question of the first of these windows, and how many more."""
        row = self.of[int(rows[0])]
        text = self.table.columns[self.config.question][row]
        return f'{self.table.where(row)} ("{text[:60]}") and {len(rows) - 1} more'


def stride_of(reader: Reader, config: PassageData) -> int:
    return config.stride or reader.length // 4


def read_windows(table: Table, reader: Reader, config: PassageData) -> Iterator[list[Encoding]]:
    """The windows of every question, in order.

    Raises DataError where a question leaves no room for its passage, or the tokenizer leaves nothing of the passage.
    """
    questions, passages = table.columns[config.question], table.columns[config.context]
    stride = stride_of(reader, config)
    for begin in range(0, len(table), GROUP):
        chosen = slice(begin, begin + GROUP)
        try:
            found = reader.windows(questions[chosen], passages[chosen], stride=stride)
        except ConfigError:
            for row in range(begin, len(table)):
                try:
                    reader.windows([questions[row]], [passages[row]], stride=stride)
                except ConfigError as error:
                    raise fault(table.where(row), f"{error} (data.length, data.stride)") from None
            raise
        for row, windows in enumerate(found, begin):
            if 1 not in windows[0].sequence_ids:
                raise fault(table.where(row), f"the tokenizer leaves nothing of the passage {quoted(passages[row])}")
            yield windows


def answer(table: Table, config: PassageData, row: int) -> tuple[int, int]:
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
