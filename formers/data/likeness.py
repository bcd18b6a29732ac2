"""Texts that are alike or not, for learning sentence vectors: read, turned into tokens, reported on, batched.

labelled or scored pairs | anchor, positive (negatives) | groups -> Likeness: sides of rows -> LikenessBatch
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import Ragged, bucket, pad
from formers.data.files import fault, listed, quoted
from formers.data.report import DataReport, LengthReport
from formers.data.sources import Table, read_table
from formers.errors import ConfigError, nearest
from formers.text.reader import Inputs

ROWS = ("groups", "pairs", "triplets", "labelled", "scored")
POOL = 16  # batches of a fixed number of rows that are sorted by length together


@dataclass(frozen=True, kw_only=True)
class LikenessData:
    """Where texts that are alike come from, what a row of them is, and how they are batched."""

    train: str = "builtin:paraphrases"
    """Rows to learn from: .jsonl .parquet .csv .tsv, a pattern or folder, hf:owner/name, builtin:paraphrases."""
    rows: str = "groups"
    """What a row is: groups (a list of paraphrases), pairs (anchor, positive), triplets, labelled or scored (pairs)."""
    validation: str = ""
    """Scored pairs to watch; empty: a part of scored `train` rows, else pairs made of its held-out rows."""
    test: str = ""
    """Scored pairs to judge with in the end (empty: as `validation`)."""
    first: str = "sentence1"
    """Column of the first text of labelled and scored pairs, those of `validation` and `test` too."""
    second: str = "sentence2"
    """Column of the second text of such pairs."""
    label: str = "label"
    """Column of the class of labelled pairs: a word or a whole number."""
    score: str = "score"
    """Column of the number that says how alike the texts of scored pairs are."""
    lowest: float = 0.0
    """Score of two texts that have nothing in common."""
    highest: float = 5.0
    """Score of two texts that say the same."""
    anchor: str = "anchor"
    """Column of the text (a question, say) of pairs and triplets."""
    positive: str = "positive"
    """Column of the text that is like the anchor (its answer, say)."""
    negatives: tuple[str, ...] = ("negative",)
    """Columns of the texts that are not, though they may seem so, of triplets."""
    group: str = "texts"
    """Column of the paraphrases of groups: a list of two texts or more."""
    group_pairs: int = 1
    """Pairs that are drawn from each group, anew in every epoch."""
    count: int = 0
    """How many training rows to take from the front, or to generate (0: all there are; builtin: 2000)."""
    held_out: int = 200
    """Most training rows that are set aside to watch the loss on (0: none)."""
    tokenizer: str = ""
    """Folder with a tokenizer for a new encoder; empty: word pieces are trained on the training texts."""
    vocab: int = 8000
    """Word pieces that are trained for a new encoder."""
    length: int = 0
    """Most tokens of a text, longer ones are cut (0: the model's length)."""
    rows_per_batch: int = 64
    """Rows of a batch, as near as the number of rows allows."""
    tokens_per_batch: int = 0
    """Instead: most tokens of the longest side of a batch, padding included (0: rows_per_batch; not for in_batch)."""
    drop_empty: bool = False
    """Leave out rows with an empty text instead of refusing them."""
    seed: int = 1
    """Seed of the order of the data, of the pairs drawn from groups, and of what is generated."""

    def __post_init__(self) -> None:
        if self.rows not in ROWS:
            raise ConfigError(f'data.rows "{self.rows}" is not known{nearest(self.rows, ROWS)}')
        for name, least in (
            ("count", 0),
            ("held_out", 0),
            ("length", 0),
            ("rows_per_batch", 2),
            ("group_pairs", 1),
            ("tokens_per_batch", 0),
            ("vocab", 1),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"data.{name} ({getattr(self, name)}) must be at least {least}")
        if not -float("inf") < self.lowest < self.highest < float("inf"):
            raise ConfigError(f"data.lowest ({self.lowest}) must be less than data.highest ({self.highest})")
        if self.rows == "triplets" and not self.negatives:
            raise ConfigError("data.negatives is empty, but data.rows is triplets: name the column of the negatives")

    @property
    def sides(self) -> tuple[str, ...]:
        """The columns that hold the texts of a row."""
        return {
            "groups": (self.group,),
            "pairs": (self.anchor, self.positive),
            "triplets": (self.anchor, self.positive, *self.negatives),
        }.get(self.rows, (self.first, self.second))

    def read(self, part: str) -> Table | None:
        """The rows of "train", or the scored pairs of "validation" or "test"; None where none were named."""
        if part == "train":
            return self.read_rows(self.train, "train", self.count)
        name = self.validation if part == "validation" else self.test or self.validation
        return read_scored(self, name, part, within=False) if name else None

    def read_rows(self, name: str, split: str, count: int) -> Table:
        """Rows of the kind of the training rows, all their texts and values checked."""
        if not name:
            raise ConfigError("data.train is empty: say what to learn from, for example --set data.train=pairs.jsonl")
        if self.rows == "scored":
            return read_scored(self, name, split, within=True, count=count)
        columns = [*self.sides, self.label] if self.rows == "labelled" else list(self.sides)
        table = read_table(
            name,
            columns=columns,
            text=[] if self.rows == "groups" else self.sides,
            split=split,
            seed=self.seed,
            count=count or None,
            drop_empty=self.drop_empty,
        )
        if self.rows == "labelled":
            table.columns[self.label] = table.named(self.label)
        return check_groups(table, self.group, self.drop_empty) if self.rows == "groups" else table

    def tables(self) -> tuple[Table, Table | None, Table | None]:
        """Training rows, rows of the same kind to watch the loss on, and scored pairs; None where there are none."""
        train, scored, held = self.read("train"), self.read("validation"), None
        assert train is not None
        if self.train.startswith("builtin:") and self.held_out:
            held = self.read_rows(self.train, "validation", self.held_out)
        elif self.held_out:
            train, held = train.set_aside(self.held_out)
        if scored is None and held is not None:
            scored = made_pairs(held, self)
        return train, held, scored


# ---- rows as they must be ----------------------------------------------------------------------------------


def read_scored(data: LikenessData, name: str, split: str, *, within: bool, count: int = 0) -> Table:
    """Pairs with a number each. within: it must lie in the range that `data` says. Raises DataError, one line."""
    table = read_table(
        name,
        columns=[data.first, data.second, data.score],
        text=[data.first, data.second],
        split=split,
        seed=data.seed,
        count=count or None,
        drop_empty=data.drop_empty,
    )
    values = []
    for row, value in enumerate(table.columns[data.score]):
        number = as_number(value)
        if not np.isfinite(number):
            raise fault(table.where(row), f"column {quoted(data.score)} holds {quoted(value)}, expected a number")
        if within and not data.lowest <= number <= data.highest:
            raise fault(
                table.where(row),
                f"the score {number:g} is outside {data.lowest:g} to {data.highest:g}; set "
                "data.lowest and data.highest to the range of these scores",
            )
        values.append(number)
    table.columns[data.score] = values
    return table


def as_number(value: object) -> float:
    """A number, also where a text file spells it; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return float("nan")
    try:
        return float(value)
    except ValueError:
        return float("nan")


def check_groups(table: Table, column: str, drop_empty: bool) -> Table:
    """Every row a list of at least two texts, none of them empty; with drop_empty other lists are left out."""
    kept = []
    for row, texts in enumerate(table.columns[column]):
        where = table.where(row)
        if not isinstance(texts, list | tuple):
            raise fault(where, f"column {quoted(column)} holds {quoted(texts)}, expected a list of texts")
        wrong = next((text for text in texts if not isinstance(text, str)), None)
        if wrong is not None:
            raise fault(where, f"column {quoted(column)} holds {quoted(wrong)} in its list, expected texts only")
        blank = any(not text.strip() for text in texts)
        if len(texts) < 2 or blank:
            if not drop_empty:
                what = "an empty text in its list" if blank else f"a list of {len(texts)} text(s), expected at least 2"
                raise fault(where, f"column {quoted(column)} holds {what}; remove it or set data.drop_empty = true")
            continue
        kept.append(row)
    if not kept:
        raise fault(table.name, f"none of the {len(table):,} groups has two texts")
    chosen = table if len(kept) == len(table) else table.select(kept)
    return Table(
        table.name, chosen.columns, chosen.lines, table.dropped + len(table) - len(kept), chosen.rows, chosen.files
    )


def made_pairs(table: Table, data: LikenessData) -> Table | None:
    """Scored pairs out of held-out rows: 1 for texts of one row, 0 for texts of different ones or for negatives.

    Scored rows are such pairs already; of labelled ones nobody knows which class is alike: None.
    """
    if data.rows == "scored":
        return table
    if data.rows == "labelled" or len(table) < 2:
        return None
    if data.rows == "groups":
        firsts, seconds = ([texts[place] for texts in table.columns[data.group]] for place in (0, 1))
    else:
        firsts, seconds = table.columns[data.anchor], table.columns[data.positive]
    unlike = table.columns[data.negatives[0]] if data.rows == "triplets" else [*seconds[1:], seconds[0]]
    return Table(
        f"pairs made of {len(table):,} rows of {table.name}",
        {
            data.first: [*firsts, *firsts],
            data.second: [*seconds, *unlike],
            data.score: [1.0] * len(table) + [0.0] * len(table),
        },
    )


def classes_of(table: Table, column: str) -> list[Any]:
    """The different labels, sorted. Raises DataError where one is no label or there is one class only."""
    for row, value in enumerate(table.columns[column]):
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise fault(
                table.where(row),
                f"column {quoted(column)} holds {quoted(value)}, expected a class: a word or a whole number",
            )
    found = sorted(set(table.columns[column]), key=lambda value: (isinstance(value, str), value))
    if len(found) < 2:
        raise fault(
            table.name,
            f"all {len(table):,} rows have the class {quoted(found[0])} in column "
            f"{quoted(column)}, expected at least two classes",
        )
    return found


# ---- batches -----------------------------------------------------------------------------------------------


class Reads(Protocol):
    """What is needed of `text/reader.py`'s Reader."""

    pad: int

    def read(self, texts: Sequence[str], *, length: int = 0, offsets: bool = True) -> list[Any]: ...


@dataclass(frozen=True)
class LikenessBatch:
    """`texts` has side after side, each of as many rows: all anchors, then all positives ..."""

    texts: Inputs
    sides: int
    same: Tensor
    """(sides, rows): equal numbers are equal texts."""
    groups: Tensor
    """(rows,): equal numbers are rows of one group."""
    values: Tensor | None = None
    """(rows,): classes of labelled rows, scores from 0 to 1 of scored ones."""


class Likeness:
    """The batches of a table. A row number is a row, or for groups an ordered pair of texts of one group."""

    def __init__(self, table: Table, data: LikenessData, reader: Reads, classes: Sequence[Any] = ()) -> None:
        """classes: of labelled rows, as `classes_of` gives them."""
        self.table, self.data, self.filler, self.classes = table, data, reader.pad, list(classes)
        columns = [table.columns[name] for name in data.sides]
        grouped = data.rows == "groups"
        members = columns[0] if grouped else list(zip(*columns, strict=True))
        self.sizes = np.fromiter((len(texts) for texts in members), np.int64, len(members))  # texts of each row
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        pairs = self.sizes * (self.sizes - 1) if grouped else np.ones(len(members), np.int64)
        self.ends = np.cumsum(pairs)  # row numbers of each row or group end here
        read = reader.read([text for texts in members for text in texts], length=data.length, offsets=False)
        self.texts = Ragged([encoding.ids for encoding in read])
        self.cut = sum(bool(encoding.overflowing) for encoding in read)
        known: dict[tuple[int, ...], int] = {}
        self.same = np.fromiter((known.setdefault(tuple(encoding.ids), len(known)) for encoding in read), np.int64)
        self.values: NDArray[Any] | None = None
        if data.rows == "scored":
            scores = np.asarray(table.columns[data.score])
            self.values = ((scores - data.lowest) / (data.highest - data.lowest)).astype(np.float32)
        if data.rows == "labelled":
            numbers = {name: number for number, name in enumerate(self.classes)}
            self.values = np.asarray([numbers[name] for name in table.columns[data.label]])

    def row_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of the table that each number belongs to."""
        return np.searchsorted(self.ends, numbers, "right")

    def places(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """(sides, rows): the place in `texts` of each text of these row numbers."""
        rows = self.row_of(numbers)
        start, size = self.starts[rows], self.sizes[rows]
        if self.data.rows != "groups":
            return start + np.arange(size[0] if len(size) else 0)[:, None]
        within = numbers - (self.ends[rows] - size * (size - 1))
        one, other = np.divmod(within, size - 1)
        return start + np.stack([one, other + (other >= one)])

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """Row numbers of every batch: a pure function of (seed, epoch), as are the pairs drawn from groups."""
        random = np.random.default_rng([self.data.seed, epoch])
        numbers = np.arange(len(self.ends))
        if self.data.rows == "groups":
            chosen = np.tile(numbers, self.data.group_pairs)
            size = self.sizes[chosen]
            numbers = self.ends[chosen] - 1 - random.integers(size * (size - 1))
        lengths = self.texts.lengths[self.places(numbers)].T
        if self.data.tokens_per_batch:
            found = bucket(lengths, self.data.tokens_per_batch, seed=self.data.seed, epoch=epoch)
        else:
            found = even(lengths, self.data.rows_per_batch, random)
        return [numbers[batch] for batch in found]

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> LikenessBatch:
        """The tensors of these row numbers."""
        numbers = np.asarray(rows, np.int64)
        places, table_rows = self.places(numbers), self.row_of(numbers)
        tokens, keep = pad([self.texts[int(place)] for place in places.ravel()], self.filler)
        values = None if self.values is None else torch.from_numpy(self.values[table_rows])
        return LikenessBatch(
            Inputs(tokens, None, keep),
            len(places),
            torch.from_numpy(self.same[places]),
            torch.from_numpy(table_rows),
            values,
        )

    def describe(self, rows: Sequence[int] | NDArray[np.int64]) -> str:
        """The first of these rows with its text, and how many more."""
        first = int(self.row_of(np.asarray(rows[:1]))[0])
        text = self.table.columns[self.data.sides[0]][first]
        text = text[0] if self.data.rows == "groups" else text
        return f'{self.table.where(first)} ("{text[:60]}") and {len(rows) - 1} more'

    def report(self, unknown: int | None) -> DataReport:
        """Lengths, texts that are cut, classes or scores. unknown: the id of the unknown token, if there is one."""
        share = 0.0 if unknown is None else float((self.texts.flat == unknown).mean())
        notes = [
            f"texts: {len(self.texts):,}, {len(np.unique(self.same)):,} of them different; cut to "
            f"the longest length: {self.cut:,} ({self.cut / len(self.texts):.2%})"
        ]
        if self.data.rows == "labelled" and self.values is not None:
            counts = np.bincount(self.values, minlength=len(self.classes))
            shown = (f"{name} {count:,}" for name, count in zip(self.classes, counts, strict=True))
            notes.append(f"classes: {listed(shown)}")
        elif self.values is not None:
            scores = self.values * (self.data.highest - self.data.lowest) + self.data.lowest
            notes.append(f"scores: mean {scores.mean():.2f}, from {scores.min():g} to {scores.max():g}")
        elif self.data.rows == "groups":
            notes.append(
                f"groups: {len(self.sizes):,} of {self.sizes.min()} to {self.sizes.max()} texts, "
                f"{self.ends[-1]:,} pairs, {self.data.group_pairs} of each group in an epoch"
            )
        dropped = {"with an empty text or fewer than two (data.drop_empty)": self.table.dropped}
        return DataReport(len(self.sizes), [LengthReport("text", self.texts.lengths, share)], dropped, notes)


def even(lengths: NDArray[np.int64], rows: int, random: np.random.Generator) -> list[NDArray[np.int64]]:
    """Batches of `rows` rows or as little fewer as makes them equal, no row left out, texts of similar length together.

    lengths: (rows, sides). The rows of `POOL` batches at a time are sorted by length: what is in a batch still changes.
    """
    order = random.permutation(len(lengths))
    count = -(-len(order) // rows)
    pools = np.array_split(order, -(-count // POOL))
    order = np.concatenate([pool[np.argsort(lengths[pool].max(1), kind="stable")] for pool in pools])
    found = np.array_split(order, count)
    return [found[place] for place in random.permutation(count)]
