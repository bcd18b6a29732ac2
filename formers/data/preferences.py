"""Preferences: conversations with a better and a worse answer, for learning which one to give.

rows -> what was asked, chosen, rejected -> ChatEncoder, twice -> Choices: tokens, `counted` where the answers are
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import Ragged, bucket, pad
from formers.data.conversations import ConversationEncoder, check_least, read_part, tuple_of
from formers.data.files import quoted
from formers.data.report import DataReport, LengthReport
from formers.data.sources import Table
from formers.errors import DataError
from formers.text.chat import Message, check_messages

FORMS = (("prompt", "chosen", "rejected"), ("messages", "chosen", "rejected"), ("chosen", "rejected"))
SIDES = ("chosen", "rejected")


@dataclass(frozen=True, kw_only=True)
class PreferenceData:
    """Where the preferences come from and how they are batched."""

    train: str = "builtin:quiz-preferences"
    """Preferences: .jsonl or .parquet with prompt (or messages), chosen, rejected; hf:owner/name; builtin:NAME."""
    validation: str = ""
    """Preferences to watch while training; empty: the source's own, or else a part of the training data."""
    test: str = ""
    """Preferences to judge with in the end; empty: the source's own test split, or else `validation`."""
    template: str = ""
    """File with a chat template (Jinja); empty: the one of the model in model.start, or roles in plain words."""
    count: int = 0
    """How many training rows to take from the front, or to generate (0: all there are; builtin: 5000)."""
    held_out: int = 200
    """Rows of a generated validation set, and most that are set aside of the training data."""
    tokenizer: str = "bpe"
    """Without model.start: bpe (byte-level, trained now), characters, or a folder that has a tokenizer."""
    vocab: int = 1000
    """Tokens of a byte-level BPE that is trained now."""
    length: int = 0
    """Leave out rows with more tokens on a side (0: the model's length)."""
    tokens_per_batch: int = 2048
    """Most tokens of the chosen or of the rejected side of a batch, padding included, but at least one row."""
    drop_empty: bool = False
    """Leave out rows with an empty answer instead of refusing the file."""
    seed: int = 1
    """Seed of the order of the data and of what is generated."""

    def __post_init__(self) -> None:
        check_least("data", self, {"count": 0, "held_out": 1, "length": 0, "tokens_per_batch": 1, "vocab": 1})

    def read(self, part: str) -> Table | None:
        """The rows of "train", "validation" or "test" as they are written; None where there are none."""
        return read_part(self, part, FORMS)

    def tables(self) -> tuple[Table, Table]:
        """Training and validation rows: "messages" up to the answer, "chosen" and "rejected" as lists of messages."""
        return tuple_of(self, comparisons)


def comparisons(table: Table, drop_empty: bool = False) -> Table:
    """Rows of any form as two conversations that differ in the last answer. Raises DataError, one line."""
    found: dict[str, list[list[Message]]] = {name: [] for name in ("messages", *SIDES)}
    kept = []
    for row in range(len(table)):
        values = {name: column[row] for name, column in table.columns.items()}
        where = table.where(row)
        sides = {side: answered(values, side, where) for side in SIDES}
        if drop_empty and any(not str(messages[-1].get("content") or "").strip() for messages in sides.values()):
            continue
        for side, messages in sides.items():
            check_messages(messages, f"{where}, {side}", answered=True)
        asked = sides["chosen"][:-1]
        if asked != sides["rejected"][:-1]:
            raise DataError(
                f"{where}: chosen and rejected differ before their last message, expected two answers to "
                "the same conversation"
            )
        if not asked:
            raise DataError(f"{where}: an answer without a question; give prompt, messages, or whole conversations")
        found["messages"].append(asked)
        for side in SIDES:
            found[side].append(sides[side])
        kept.append(row)
    if not kept:
        raise DataError(f"{table.name}: none of the {len(table):,} rows has two answers")
    chosen = table.select(kept)
    return Table(
        table.name, dict(found), chosen.lines, table.dropped + len(table) - len(kept), chosen.rows, chosen.files
    )


def answered(values: dict[str, Any], side: str, where: str) -> list[Message]:
    """The whole conversation of one side; its last message is the answer."""
    asked, answer = values.get("prompt", values.get("messages", [])), values[side]
    before = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    before = list(check_messages(before, where)) if before else []
    if isinstance(answer, str):
        return [*before, {"role": "assistant", "content": answer}]
    if not isinstance(answer, list):
        raise DataError(f"{where}: {side} is {quoted(answer)}, expected text or a list of messages")
    messages = check_messages(answer, f"{where}, {side}")
    messages = messages if messages[: len(before)] == before else [*before, *messages]
    if messages[-1]["role"] != "assistant":
        raise DataError(f'{where}: the last message of {side} is from "{messages[-1]["role"]}", expected an assistant')
    return messages


@dataclass(frozen=True)
class ChoiceBatch:
    """Chosen rows, then as many rejected ones: (2 pairs, length). `labels` are the tokens to say after each of
    `tokens`, `counted` where an answer says them; `reference`: the log-probability of each row's answer, if known.
    """

    tokens: Tensor
    labels: Tensor
    counted: Tensor
    reference: Tensor | None = None


class Choices:
    """The batches of a table of preferences, and the report on it. `reference`, (rows, 2), is added once known."""

    def __init__(
        self, table: Table, encoder: ConversationEncoder, config: PreferenceData, *, length: int, filler: int
    ) -> None:
        self.table, self.config, self.filler = table, config, filler
        self.reference: NDArray[np.float32] | None = None
        limit = config.length or length
        ids: dict[str, list[list[int]]] = {side: [] for side in SIDES}
        said: dict[str, list[list[bool]]] = {side: [] for side in SIDES}
        self.rows: list[int] = []
        lengths: dict[str, list[int]] = {side: [] for side in SIDES}
        long = equal = 0
        for row in range(len(table)):
            try:
                both = [encoder.encode(table.columns[side][row], last_only=True) for side in SIDES]
            except DataError as error:
                raise DataError(f"{table.where(row)}: {error}") from error
            for side, found in zip(SIDES, both, strict=True):
                lengths[side].append(len(found.ids))
            if max(len(found.ids) for found in both) > limit + 1:
                long += 1
            elif both[0].ids == both[1].ids:
                equal += 1
            else:
                for side, found in zip(SIDES, both, strict=True):
                    if not any(found.spoken[1:]):
                        raise DataError(f"{table.where(row)}: the template writes nothing for the {side} answer")
                    ids[side].append(found.ids)
                    said[side].append(found.spoken)
                self.rows.append(row)
        self.dropped = {
            f"longer than {limit} tokens on a side (model.length, data.length)": long,
            "with two equal answers": equal,
            "with an empty answer (data.drop_empty)": table.dropped,
        }
        if not self.rows:
            raise DataError(
                f"{table.name}: all {len(table):,} rows are left out ({long:,} longer than {limit} tokens, "
                f"{equal:,} with two equal answers)"
            )
        self.seen = lengths
        self.ids = [Ragged(ids[side]) for side in SIDES]
        self.said = [Ragged(said[side]) for side in SIDES]
        self.lengths = np.stack([each.lengths for each in self.ids], 1)

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """Row numbers of every batch: a pure function of (seed, epoch)."""
        return bucket(self.lengths, self.config.tokens_per_batch, seed=self.config.seed, epoch=epoch)

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> ChoiceBatch:
        """The tensors of these rows."""
        ids, _ = pad([side[row] for side in self.ids for row in rows], self.filler)
        said, _ = pad([side[row] for side in self.said for row in rows], 0)
        reference = None if self.reference is None else torch.from_numpy(self.reference[np.asarray(rows)].T.reshape(-1))
        return ChoiceBatch(ids[:, :-1], ids[:, 1:], said[:, 1:].bool(), reference)

    def describe(self, rows: Sequence[int] | NDArray[np.int64]) -> str:
        """The first of these rows, and how many more."""
        return f"{self.table.where(self.rows[rows[0]])} and {len(rows) - 1} more"

    def report(self, unknown: int | None) -> DataReport:
        """What is in the rows; `unknown`: the id of that token, if there is one."""
        loss, every = (sum(int(side.flat.sum()) for side in self.said), sum(len(side.flat) for side in self.ids))
        shares = [0.0 if unknown is None else float((side.flat == unknown).mean()) for side in self.ids]
        sides = [LengthReport(side, np.array(self.seen[side]), shares[i]) for i, side in enumerate(SIDES)]
        return DataReport(
            len(self.rows),
            sides,
            self.dropped,
            [f"loss: on {loss:,} of {every:,} tokens ({loss / every:.1%}), those of the answers"],
        )
