"""Conversations to learn from: read, turned into tokens, and which of these an assistant says.

rows -> messages -> ChatEncoder -> Conversations (one array of tokens, `counted` where the loss is) -> PackedRows
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from formers.data.files import quoted
from formers.data.packing import PackedRows
from formers.data.report import DataReport, LengthReport
from formers.data.source import Source
from formers.data.sources import Table
from formers.errors import DataError
from formers.fields import Count, Natural, check
from formers.systems.conversing import messages_reader
from formers.text.chat import ChatEncoder, EncodedChat, Message, check_messages

# The forms of a row: its columns, of which the first names it
FORMS = (("messages",), ("prompt", "answer"), ("conversations",))
SPEAKERS = {"human": "user", "gpt": "assistant"}  # "from" of the third form, besides the roles themselves


@dataclass(frozen=True, kw_only=True)
class ConversationRows:
    """How the conversations are written, what of them is learned and how they fill the rows of a batch."""

    template: str = ""
    """File with a chat template (Jinja); empty: the one of the model in model.start, or roles in plain words."""
    answers: Literal["all", "last"] = "all"
    """What of a conversation is learned: all answers, or the last only."""
    tokenizer: str = "bpe"
    """Without model.start: bpe (byte-level, trained now), characters, or a folder that has a tokenizer."""
    vocab: Natural = 1000
    """Tokens of a byte-level BPE that is trained now."""
    packing: Literal["documents", "none"] = "documents"
    """Rows of conversations that do not see each other, or none: one a row."""
    too_long: Literal["cut", "drop"] = "cut"
    """Conversations that do not fit into a row: cut (their beginning is kept) or drop."""
    length: Count = 0
    """Tokens of a row (0: the model's length)."""
    tokens_per_batch: Natural = 4096
    """Most tokens of a batch, padding included, but at least one row."""

    def __post_init__(self) -> None:
        check(self, "rows")

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads conversations: each row a list of messages in the column "messages"."""
        return {"reader": messages_reader(FORMS, conversations), "what": "conversation"}


# ---- reading -----------------------------------------------------------------------------------------------


def conversations(table: Table, drop_empty: bool = False) -> Table:
    """Rows of any form as lists of messages. Raises DataError, one line that says where."""
    rows = [
        messages_of({name: values[row] for name, values in table.columns.items()}, table.where(row))
        for row in range(len(table))
    ]
    kept = [row for row, messages in enumerate(rows) if not (drop_empty and unanswered(messages))]
    for row in kept:
        check_messages(rows[row], table.where(row), answered=True)
    if not kept:
        raise DataError(f"{table.name}: none of the {len(table):,} rows has an answer")
    converted = Table(table.name, {"messages": rows}, table.lines, table.dropped, table.rows, table.files)
    if not (left_out := len(table) - len(kept)):
        return converted
    return replace(converted.select(kept), dropped=table.dropped + left_out)


def messages_of(row: dict[str, Any], where: str) -> Any:
    """The messages of a row; what is no list of messages is left for `check_messages` to refuse."""
    if "messages" in row:
        return row["messages"]
    if "prompt" in row:
        asked = row["prompt"]
        asked = [{"role": "user", "content": asked}] if isinstance(asked, str) else check_messages(asked, where)
        return [*asked, {"role": "assistant", "content": row["answer"]}]
    turns = row["conversations"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise DataError(f'{where}: got {quoted(turns)}, expected a list of {{"from": ..., "value": ...}}')
    return [
        {"role": SPEAKERS.get(str(turn["from"]), turn["from"]), "content": turn.get("value")}
        if "from" in turn
        else turn
        for turn in turns
    ]


def unanswered(messages: Any) -> bool:
    """Whether an answer of these messages is empty, which is all that data.drop_empty forgives."""
    return isinstance(messages, list) and any(
        isinstance(message, dict)
        and message.get("role") == "assistant"
        and not message.get("tool_calls")
        and not str(message.get("content") or "").strip()
        for message in messages
    )


# ---- tokens ------------------------------------------------------------------------------------------------


class Conversations:
    """Conversations as one array of tokens: number i is `tokens[first[i] : last[i] + 1]`.

    `counted` where an assistant says the token: only these are learned. Raises DataError where there is none.
    """

    def __init__(self, table: Table, encoder: ChatEncoder, *, length: int, last_only: bool, drop_long: bool) -> None:
        self.table, self.dropped = table, {"with an empty answer (data.drop_empty)": table.dropped}
        self.rows: list[int] = []
        """The row in the table of each conversation."""
        self.cut = 0
        kept: list[EncodedChat] = []
        seen, silent, long = [], 0, 0
        for row, messages in enumerate(table.columns["messages"]):
            try:
                encoded = encoder.encode(messages, last_only=last_only)
            except DataError as error:
                raise DataError(f"{table.where(row)}: {error}") from error
            seen.append(len(encoded.ids))
            if len(encoded.ids) > length + 1:  # the last token is only said, never read
                if drop_long:
                    long += 1
                    continue
                encoded = EncodedChat(encoded.ids[: length + 1], encoded.spoken[: length + 1])
                self.cut += 1
            if not any(encoded.spoken[1:]):
                silent += 1
                continue
            kept.append(encoded)
            self.rows.append(row)
        self.lengths = np.array(seen)
        self.dropped |= {
            f"longer than {length} tokens (rows.too_long)": long,
            "with no token of an answer left to learn": silent,
        }
        if not kept:
            why = f"all {len(table):,} conversations are left out" if len(table) > 1 else "its conversation is left out"
            raise DataError(
                f"{table.name}: no token carries loss: {why}; look at them with formers data --show-loss, "
                f"the row length is {length} tokens (model.length, rows.length)"
            )
        self.sizes = np.array([len(chat.ids) for chat in kept], np.int64)
        self.first = np.cumsum(self.sizes) - self.sizes
        self.last = self.first + self.sizes - 1
        self.tokens = np.concatenate([np.asarray(chat.ids, np.int32) for chat in kept])
        self.counted = np.concatenate([np.asarray(chat.spoken, bool) for chat in kept])
        self.counted[self.first] = False  # nothing comes before it

    @property
    def labels(self) -> int:
        """Tokens that are read."""
        return int((self.last - self.first).sum())

    def where(self, place: int) -> str:
        """The conversation that a place in `tokens` belongs to."""
        number = max(0, int(np.searchsorted(self.first, place, "right")) - 1)
        return f"{self.table.where(self.rows[number])} (token {place - int(self.first[number])})"

    def messages(self, number: int) -> list[Message]:
        """The messages of a conversation."""
        messages: list[Message] = self.table.columns["messages"][self.rows[number]]
        return messages

    def report(self, rows: PackedRows[Any], unknown: int | None) -> DataReport:
        """What is in the conversations and how they are packed; `unknown`: the id of that token, if there is one."""
        missed = 0.0 if unknown is None else float((self.tokens == unknown).mean())
        loss = int(self.counted.sum())
        return DataReport(
            len(self.rows),
            [LengthReport("conversations", self.lengths, missed)],
            self.dropped,
            [
                f"loss: on {loss:,} of {len(self.tokens):,} tokens ({loss / len(self.tokens):.1%}), those of answers",
                f"cut: {self.cut:,} conversations end before their end (rows.too_long)",
                rows.notes()[0],
            ],
        )
