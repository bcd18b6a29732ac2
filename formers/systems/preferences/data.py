"""Preferences: conversations with a better and a worse answer, for learning which one to give.

rows -> what was asked, chosen, rejected -> ChatEncoder, twice -> Preferences: tokens, `counted` where the answers are
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import Buckets, Ragged, pad
from formers.data.files import quoted
from formers.data.report import DataReport, LengthReport
from formers.data.source import Source
from formers.data.sources import Table
from formers.errors import DataError
from formers.fields import Count, Natural, check
from formers.systems.conversing import messages_reader
from formers.text.chat import ChatEncoder, Message, check_messages

FORMS = (("prompt", "chosen", "rejected"), ("messages", "chosen", "rejected"), ("chosen", "rejected"))
SIDES = ("chosen", "rejected")


@dataclass(frozen=True, kw_only=True)
class PreferenceRows:
    """How the conversations are written and how they are batched."""

    template: str = ""
    """File with a chat template (Jinja); empty: the one of the model in model.start, or roles in plain words."""
    tokenizer: str = "bpe"
    """Without model.start: bpe (byte-level, trained now), characters, or a folder that has a tokenizer."""
    vocab: Natural = 1000
    """Tokens of a byte-level BPE that is trained now."""
    length: Count = 0
    """Leave out rows with more tokens on a side (0: the model's length)."""
    tokens_per_batch: Natural = 2048
    """Most tokens of the chosen or of the rejected side of a batch, padding included, but at least one row."""

    def __post_init__(self) -> None:
        check(self, "rows")

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads preferences: "messages" up to the answer, "chosen" and "rejected" as lists of messages."""
        return {"reader": messages_reader(FORMS, comparisons), "what": "pair"}


def comparisons(table: Table, drop_empty: bool = False) -> Table:
    """Rows of any form as two conversations that differ in the last answer. Raises DataError, one line."""
    columns: dict[str, list[list[Message]]] = {name: [] for name in ("messages", *SIDES)}
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
        columns["messages"].append(asked)
        for side in SIDES:
            columns[side].append(sides[side])
        kept.append(row)
    if not kept:
        raise DataError(f"{table.name}: none of the {len(table):,} rows has two answers")
    dropped = table.dropped + len(table) - len(kept)
    return replace(table.select(kept), columns=dict(columns), dropped=dropped)


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
class PreferenceBatch:
    """Chosen rows, then as many rejected ones: (2 pairs, length). `labels` are the tokens to say after each of
    `tokens`, `counted` where an answer says them; `reference`: the log-probability of each row's answer, if known.
    """

    tokens: Tensor
    labels: Tensor
    counted: Tensor
    reference: Tensor | None = None


class Preferences:
    """The batches of a table of preferences, and the report on it. `reference`, (rows, 2), is added once known."""

    def __init__(
        self, table: Table, encoder: ChatEncoder, config: PreferenceRows, *, length: int, filler: int, seed: int
    ) -> None:
        self.table, self.config, self.filler = table, config, filler
        self.reference: NDArray[np.float32] | None = None
        limit = config.length or length
        ids: dict[str, list[list[int]]] = {side: [] for side in SIDES}
        spoken: dict[str, list[list[bool]]] = {side: [] for side in SIDES}
        self.rows: list[int] = []
        lengths: dict[str, list[int]] = {side: [] for side in SIDES}
        long = equal = 0
        for row in range(len(table)):
            try:
                both = [encoder.encode(table.columns[side][row], last_only=True) for side in SIDES]
            except DataError as error:
                raise DataError(f"{table.where(row)}: {error}") from error
            for side, encoded in zip(SIDES, both, strict=True):
                lengths[side].append(len(encoded.ids))
            if max(len(encoded.ids) for encoded in both) > limit + 1:
                long += 1
            elif both[0].ids == both[1].ids:
                equal += 1
            else:
                for side, encoded in zip(SIDES, both, strict=True):
                    if not any(encoded.spoken[1:]):
                        raise DataError(f"{table.where(row)}: the template writes nothing for the {side} answer")
                    ids[side].append(encoded.ids)
                    spoken[side].append(encoded.spoken)
                self.rows.append(row)
        self.dropped = {
            f"longer than {limit} tokens on a side (model.length, rows.length)": long,
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
        self.spoken = [Ragged(spoken[side]) for side in SIDES]
        self.lengths = np.stack([side.lengths for side in self.ids], 1)
        order = Buckets(self.lengths, config.tokens_per_batch, seed=seed, where=lambda row: table.where(self.rows[row]))
        self.epoch, self.describe = order.epoch, order.describe

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> PreferenceBatch:
        """The tensors of these rows."""
        ids, _ = pad([side[row] for side in self.ids for row in rows], self.filler)
        spoken, _ = pad([side[row] for side in self.spoken for row in rows], 0)
        reference = None if self.reference is None else torch.from_numpy(self.reference[np.asarray(rows)].T.reshape(-1))
        return PreferenceBatch(ids[:, :-1], ids[:, 1:], spoken[:, 1:].bool(), reference)

    def report(self, unknown: int | None) -> DataReport:
        """What is in the rows; `unknown`: the id of that token, if there is one."""
        loss, every = (sum(int(side.flat.sum()) for side in self.spoken), sum(len(side.flat) for side in self.ids))
        shares = [0.0 if unknown is None else float((side.flat == unknown).mean()) for side in self.ids]
        sides = [LengthReport(side, np.array(self.seen[side]), shares[i]) for i, side in enumerate(SIDES)]
        return DataReport(
            len(self.rows),
            sides,
            self.dropped,
            [f"loss: on {loss:,} of {every:,} tokens ({loss / every:.1%}), those of the answers"],
        )
