"""Conversations for instruction tuning: read, turned into tokens, and which of these an assistant says.

rows -> messages -> ChatEncoder -> Talks (one array of tokens, `counted` where the loss is) -> Packed (language.py)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from formers.data.files import quoted
from formers.data.forms import read_form
from formers.data.language import Packed
from formers.data.report import DataReport, LengthReport
from formers.data.sources import Table
from formers.errors import ConfigError, DataError, nearest
from formers.text.chat import EncodedChat, Message, check_messages

PACKINGS = ("documents", "none")
ANSWERS = ("all", "last")
# The forms of a row: its columns, of which the first names it
FORMS = (("messages",), ("prompt", "answer"), ("conversations",))
SPEAKERS = {"human": "user", "gpt": "assistant"}  # "from" of the third form, besides the roles themselves


@dataclass(frozen=True, kw_only=True)
class ConversationData:
    """Where the conversations come from, what of them is learned and how they fill the rows of a batch."""

    train: str = "builtin:quiz"
    """Conversations: .jsonl or .parquet with messages, or prompt and answer; hf:owner/name; builtin:quiz."""
    validation: str = ""
    """Conversations to watch while training; empty: the source's own, or else a part of the training data."""
    test: str = ""
    """Conversations to judge with in the end; empty: the source's own test split, or else `validation`."""
    template: str = ""
    """File with a chat template (Jinja); empty: the one of the model in model.start, or roles in plain words."""
    answers: str = "all"
    """What of a conversation is learned: all answers, or the last only."""
    count: int = 0
    """How many training conversations to take from the front, or to generate (0: all there are; builtin: 5000)."""
    held_out: int = 200
    """Conversations of a generated validation set, and most that are set aside of the training data."""
    tokenizer: str = "bpe"
    """Without model.start: bpe (byte-level, trained now), characters, or a folder that has a tokenizer."""
    vocab: int = 1000
    """Tokens of a byte-level BPE that is trained now."""
    packing: str = "documents"
    """Rows of conversations that do not see each other, or none: one a row."""
    too_long: str = "cut"
    """Conversations that do not fit into a row: cut (their beginning is kept) or drop."""
    length: int = 0
    """Tokens of a row (0: the model's length)."""
    tokens_per_batch: int = 4096
    """Most tokens of a batch, padding included, but at least one row."""
    drop_empty: bool = False
    """Leave out rows with an empty answer instead of refusing the file."""
    seed: int = 1
    """Seed of the order of the data and of what is generated."""

    def __post_init__(self) -> None:
        check_words("data", self, {"answers": ANSWERS, "packing": PACKINGS, "too_long": ("cut", "drop")})
        check_least("data", self, {"count": 0, "held_out": 1, "length": 0, "tokens_per_batch": 1, "vocab": 1})

    def read(self, part: str) -> Table | None:
        """The conversations of "train", "validation" or "test" as they are written; None where there are none."""
        return read_part(self, part, FORMS)

    def tables(self) -> tuple[Table, Table]:
        """Training and validation conversations, each row a list of messages in the column "messages"."""
        return tuple_of(self, talks)


class DataSection(Protocol):
    """What reading needs of a [data] section."""

    @property
    def train(self) -> str: ...
    @property
    def validation(self) -> str: ...
    @property
    def test(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def held_out(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def drop_empty(self) -> bool: ...
    def read(self, part: str) -> Table | None: ...


class ConversationEncoder(Protocol):
    """What is needed of a `ChatEncoder`."""

    def encode(self, messages: Sequence[Message], *, last_only: bool = False) -> EncodedChat: ...


def check_words(section: str, config: Any, words: dict[str, Sequence[str]]) -> None:
    """Refuse a word that a field does not know."""
    for name, known in words.items():
        if (value := getattr(config, name)) not in known:
            raise ConfigError(f'{section}.{name} "{value}" is not known{nearest(value, known)}')


def check_least(section: str, config: Any, least: dict[str, float]) -> None:
    """Refuse a number that is too small."""
    for name, bound in least.items():
        if not getattr(config, name) >= bound:
            raise ConfigError(f"{section}.{name} ({getattr(config, name)}) must be at least {bound}")


# ---- reading -----------------------------------------------------------------------------------------------


def read_part(config: DataSection, part: str, forms: Sequence[Sequence[str]]) -> Table | None:
    """The table of "train", "validation" or "test" with the columns of one of `forms`; None where there is none."""
    if not config.train:
        raise ConfigError("data.train is empty: say what to learn from, for example --set data.train=chats.jsonl")
    name = {"train": config.train, "validation": config.validation, "test": config.test}[part]
    made = config.train.startswith(("builtin:", "hf:"))
    name = config.train if not name and made else name
    if not name:
        return None
    count = config.count if part == "train" else config.held_out if name.startswith("builtin:") else 0
    return read_form(name, forms=forms, split=part, seed=config.seed, count=count or None, drop_empty=config.drop_empty)


def tuple_of(config: DataSection, convert: Callable[[Table, bool], Table]) -> tuple[Table, Table]:
    """Training and validation rows, converted; without validation every k-th training row is set aside."""
    train, validation = config.read("train"), config.read("validation")
    assert train is not None
    train = convert(train, config.drop_empty)
    if validation is not None:
        return train, convert(validation, config.drop_empty)
    return train.set_aside(config.held_out)


def talks(table: Table, drop_empty: bool = False) -> Table:
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
    made = Table(table.name, {"messages": rows}, table.lines, table.dropped, table.rows, table.files)
    left_out = len(table) - len(kept)
    return made if not left_out else Table(**{**vars(made.select(kept)), "dropped": table.dropped + left_out})


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
        {"role": SPEAKERS.get(turn["from"], turn["from"]), "content": turn.get("value")} if "from" in turn else turn
        for turn in turns
    ]


def unanswered(messages: Any) -> bool:
    """Whether an answer of these messages is empty, which is all that data.drop_empty forgives."""
    return isinstance(messages, list) and any(
        isinstance(each, dict)
        and each.get("role") == "assistant"
        and not each.get("tool_calls")
        and not str(each.get("content") or "").strip()
        for each in messages
    )


def texts_of(conversations: Iterable[Sequence[Message]]) -> list[str]:
    """Everything that is said and by whom, to train a tokenizer on."""
    return [
        text
        for messages in conversations
        for each in messages
        for text in (f"{each['role'].capitalize()}:\n", each.get("content"))
        if text
    ]


# ---- tokens ------------------------------------------------------------------------------------------------


class Talks:
    """Conversations as one array of tokens: number i is `tokens[first[i] : last[i] + 1]`.

    `counted` where an assistant says the token: only these are learned. Raises DataError where there is none.
    """

    def __init__(
        self, table: Table, encoder: ConversationEncoder, *, length: int, last_only: bool, drop_long: bool
    ) -> None:
        self.table, self.dropped = table, {"with an empty answer (data.drop_empty)": table.dropped}
        self.rows: list[int] = []
        """The row in the table of each conversation."""
        self.cut = 0
        kept: list[EncodedChat] = []
        seen, silent, long = [], 0, 0
        for row, messages in enumerate(table.columns["messages"]):
            try:
                found = encoder.encode(messages, last_only=last_only)
            except DataError as error:
                raise DataError(f"{table.where(row)}: {error}") from error
            seen.append(len(found.ids))
            if len(found.ids) > length + 1:  # the last token is only said, never read
                if drop_long:
                    long += 1
                    continue
                found = EncodedChat(found.ids[: length + 1], found.spoken[: length + 1])
                self.cut += 1
            if not any(found.spoken[1:]):
                silent += 1
                continue
            kept.append(found)
            self.rows.append(row)
        self.lengths = np.array(seen)
        self.dropped |= {
            f"longer than {length} tokens (data.too_long)": long,
            "with no token of an answer left to learn": silent,
        }
        if not kept:
            why = f"all {len(table):,} conversations are left out" if len(table) > 1 else "its conversation is left out"
            raise DataError(
                f"{table.name}: no token carries loss: {why}; look at them with formers data --show-loss, "
                f"the row length is {length} tokens (model.length, data.length)"
            )
        self.sizes = np.array([len(each.ids) for each in kept], np.int64)
        self.first = np.cumsum(self.sizes) - self.sizes
        self.last = self.first + self.sizes - 1
        self.tokens = np.concatenate([np.asarray(each.ids, np.int32) for each in kept])
        self.counted = np.concatenate([np.asarray(each.spoken, bool) for each in kept])
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
        found: list[Message] = self.table.columns["messages"][self.rows[number]]
        return found

    def report(self, rows: Packed, unknown: int | None) -> DataReport:
        """What is in the conversations and how they are packed; `unknown`: the id of that token, if there is one."""
        missed = 0.0 if unknown is None else float((self.tokens == unknown).mean())
        loss = int(self.counted.sum())
        return DataReport(
            len(self.rows),
            [LengthReport("conversations", self.lengths, missed)],
            self.dropped,
            [
                f"loss: on {loss:,} of {len(self.tokens):,} tokens ({loss / len(self.tokens):.1%}), those of answers",
                f"cut: {self.cut:,} conversations end before their end (data.too_long)",
                rows.notes()[0],
            ],
        )
