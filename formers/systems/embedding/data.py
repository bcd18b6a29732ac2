"""Texts that are alike or not, for learning sentence vectors: read, turned into tokens, reported on, batched.

labelled or scored pairs | anchor, positive (negatives) | groups -> Likeness: sides of rows -> LikenessBatch
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import Ragged, bucket, first_and_more, pad
from formers.data.files import fault, listed, quoted
from formers.data.report import DataReport, LengthReport
from formers.data.source import Source, settings_of
from formers.data.sources import Table, read_table
from formers.errors import ConfigError
from formers.fields import Between, Count, Natural, check
from formers.text.reader import Inputs, Reader

POOL = 16  # batches of a fixed number of rows that are sorted by length together


@dataclass(frozen=True, kw_only=True)
class LikenessRows:
    """What a row of texts that are alike is, the columns of them and of scored pairs, and how rows are batched.

    [data]: `validation` and `test` are scored pairs; without them, a part of scored `train` rows, or pairs made of the
    rows that are set aside of the others, whose loss is watched.
    """

    rows: Literal["groups", "pairs", "triplets", "labelled", "scored"] = "groups"
    """What a row is: groups (a list of paraphrases), pairs (anchor, positive), triplets, labelled or scored (pairs)."""
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
    group_pairs: Natural = 1
    """Pairs that are drawn from each group, anew in every epoch."""
    tokenizer: str = ""
    """Folder with a tokenizer for a new encoder; empty: word pieces are trained on the training texts."""
    vocab: Natural = 8000
    """Word pieces that are trained for a new encoder."""
    length: Count = 0
    """Most tokens of a text, longer ones are cut (0: the model's length)."""
    rows_per_batch: Annotated[int, Between(2)] = 64
    """Rows of a batch, as near as the number of rows allows."""
    tokens_per_batch: Count = 0
    """Instead: most tokens of the longest side of a batch, padding included (0: rows_per_batch; not for in_batch)."""

    def __post_init__(self) -> None:
        check(self, "rows")
        if not -float("inf") < self.lowest < self.highest < float("inf"):
            raise ConfigError(f"rows.lowest ({self.lowest}) must be less than rows.highest ({self.highest})")
        if self.rows == "triplets" and not self.negatives:
            raise ConfigError("rows.negatives is empty, but rows.rows is triplets: name the column of the negatives")

    @property
    def sides(self) -> tuple[str, ...]:
        """The columns that hold the texts of a row."""
        return {
            "groups": (self.group,),
            "pairs": (self.anchor, self.positive),
            "triplets": (self.anchor, self.positive, *self.negatives),
        }.get(self.rows, (self.first, self.second))

    def texts(self, table: Table) -> list[str]:
        """All texts of rows of this kind, row by row."""
        columns = [table.columns[name] for name in self.sides]
        members = columns[0] if self.rows == "groups" else zip(*columns, strict=True)
        return [text for row in members for text in row]

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads the rows to learn from, and scored pairs where it names some to watch or judge with."""
        scored = {source.validation, source.test} - {source.train}

        def read(name: str, *, count: int | None, drop_empty: bool, **options: Any) -> Table:
            if name not in scored:
                return self.read_rows(name, count=count, drop_empty=drop_empty, **options)
            columns = [self.first, self.second, self.score]  # all of them, however many are generated elsewhere
            table = read_table(name, columns=columns, text=columns[:2], drop_empty=drop_empty, **options)
            return with_numbers(table.usable(lambda row: with_numbers(row, self.score)), self.score)

        names = {"pairs": ["anchor", "positive"], "triplets": ["anchor", "positive", "negatives"], "groups": ["group"]}
        scored_too = ["first", "second", "label", "score"]
        return {"reader": read, "settings": settings_of(self, *names.get(self.rows, []), *scored_too)}

    def read_rows(self, name: str, *, drop_empty: bool, **options: Any) -> Table:
        """Rows to learn from, all their texts and values checked; options: of `read_table`."""
        values = {"labelled": [self.label], "scored": [self.score]}.get(self.rows, [])
        texts = [] if self.rows == "groups" else self.sides
        table = read_table(name, columns=[*self.sides, *values], text=texts, drop_empty=drop_empty, **options)
        if self.rows == "scored":
            return with_numbers(table, self.score, (self.lowest, self.highest))
        if self.rows == "labelled":
            return replace(table, columns={**table.columns, self.label: table.named(self.label)})
        return check_groups(table, self.group, drop_empty) if self.rows == "groups" else table

    def tables(self, source: Source) -> tuple[Table, Table | None, Table | None]:
        """Training rows, rows of the same kind to watch the loss on, and scored pairs; None where there are none."""
        unwatched = replace(source, validation="")
        train, aside = unwatched.read("train", **self.reading(unwatched)), None
        assert train is not None  # it is named, or refused
        if source.train.startswith("builtin:") and source.held_out:
            aside = unwatched.read("validation", **self.reading(unwatched))
        elif source.held_out:
            train, aside = train.set_aside(source.rows_aside)
        if source.validation:
            return train, aside, source.read("validation", **self.reading(source))
        return train, aside, None if aside is None else self.pairs_of(aside)

    def pairs_of(self, table: Table) -> Table | None:
        """Scored pairs out of rows: 1 for texts of one row, 0 for texts of different ones or for negatives.

        Scored rows are such pairs already; of labelled ones nobody knows which class is alike: None.
        """
        if self.rows == "scored":
            return table
        if self.rows == "labelled" or len(table) < 2:
            return None
        if self.rows == "groups":
            firsts, seconds = ([texts[place] for texts in table.columns[self.group]] for place in (0, 1))
        else:
            firsts, seconds = table.columns[self.anchor], table.columns[self.positive]
        unlike = table.columns[self.negatives[0]] if self.rows == "triplets" else [*seconds[1:], seconds[0]]
        return Table(
            f"pairs made of {len(table):,} rows of {table.name}",
            {
                self.first: [*firsts, *firsts],
                self.second: [*seconds, *unlike],
                self.score: [1.0] * len(table) + [0.0] * len(table),
            },
        )


# ---- rows as they must be ----------------------------------------------------------------------------------


def with_numbers(table: Table, column: str, within: tuple[float, float] | None = None) -> Table:
    """The table with a number in every row of a column. Raises DataError, one line: none, or one outside `within`."""
    numbers = []
    for row, value in enumerate(table.columns[column]):
        number = as_number(value)
        if not np.isfinite(number):
            raise fault(table.where(row), f"column {quoted(column)} holds {quoted(value)}, expected a number")
        if within is not None and not within[0] <= number <= within[1]:
            raise fault(
                table.where(row),
                f"the score {number:g} is outside {within[0]:g} to {within[1]:g}; set "
                "rows.lowest and rows.highest to the range of these scores",
            )
        numbers.append(number)
    return replace(table, columns={**table.columns, column: numbers})


def as_number(value: object) -> float:
    """A number, also where a text file spells it; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return float("nan")
    try:
        return float(value)
    except (ValueError, OverflowError):
        return float("nan")


def check_groups(table: Table, column: str, drop_empty: bool) -> Table:
    """Every row a list of at least two texts, none of them empty; with drop_empty other lists are left out."""
    kept = []
    for row, texts in enumerate(table.columns[column]):
        where = table.where(row)
        if not isinstance(texts, list | tuple):
            raise fault(where, f"column {quoted(column)} holds {quoted(texts)}, expected a list of texts")
        if wrong := [text for text in texts if not isinstance(text, str)]:
            raise fault(where, f"column {quoted(column)} holds {quoted(wrong[0])} in its list, expected texts only")
        blank = any(not text.strip() for text in texts)
        if len(texts) < 2 or blank:
            if not drop_empty:
                what = "an empty text in its list" if blank else f"a list of {len(texts)} text(s), expected at least 2"
                raise fault(where, f"column {quoted(column)} holds {what}; remove it or set data.drop_empty = true")
            continue
        kept.append(row)
    if not kept:
        raise fault(table.name, f"none of the {len(table):,} groups has two texts")
    if len(kept) == len(table):
        return table
    return replace(table.select(kept), dropped=table.dropped + len(table) - len(kept))


def classes_of(table: Table, column: str) -> list[Any]:
    """The different labels, sorted. Raises DataError where one is no label or there is one class only."""
    for row, value in enumerate(table.columns[column]):
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise fault(
                table.where(row),
                f"column {quoted(column)} holds {quoted(value)}, expected a class: a word or a whole number",
            )
    classes = sorted(set(table.columns[column]), key=lambda value: (isinstance(value, str), value))
    if len(classes) < 2:
        raise fault(
            table.name,
            f"all {len(table):,} rows have the class {quoted(classes[0])} in column "
            f"{quoted(column)}, expected at least two classes",
        )
    return classes


# ---- batches -----------------------------------------------------------------------------------------------


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

    def __init__(
        self, table: Table, config: LikenessRows, reader: Reader, classes: Sequence[Any] = (), *, seed: int = 1
    ) -> None:
        """classes: of labelled rows, as `classes_of` gives them."""
        self.table, self.config, self.filler, self.classes, self.seed = table, config, reader.pad, list(classes), seed
        grouped = config.rows == "groups"
        counts = map(len, table.columns[config.group]) if grouped else [len(config.sides)] * len(table)
        self.sizes = np.fromiter(counts, np.int64, len(table))  # texts of each row
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        pairs = self.sizes * (self.sizes - 1) if grouped else np.ones(len(table), np.int64)
        self.ends = np.cumsum(pairs)  # row numbers of each row or group end here
        encodings = reader.read(config.texts(table), length=config.length, offsets=False)
        self.texts = Ragged([encoding.ids for encoding in encodings])
        self.cut = sum(bool(encoding.overflowing) for encoding in encodings)
        numbers: dict[tuple[int, ...], int] = {}
        self.same = np.fromiter((numbers.setdefault(tuple(each.ids), len(numbers)) for each in encodings), np.int64)
        self.values: NDArray[Any] | None = None
        if config.rows == "scored":
            scores = np.asarray(table.columns[config.score])
            self.values = ((scores - config.lowest) / (config.highest - config.lowest)).astype(np.float32)
        if config.rows == "labelled":
            self.values = np.asarray([self.classes.index(name) for name in table.columns[config.label]])

    def row_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of the table that each number belongs to."""
        return np.searchsorted(self.ends, numbers, "right")

    def places(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """(sides, rows): the place in `texts` of each text of these row numbers."""
        rows = self.row_of(numbers)
        start, size = self.starts[rows], self.sizes[rows]
        if self.config.rows != "groups":
            return start + np.arange(size[0] if len(size) else 0)[:, None]
        within = numbers - (self.ends[rows] - size * (size - 1))
        one, other = np.divmod(within, size - 1)
        return start + np.stack([one, other + (other >= one)])

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """Row numbers of every batch: a pure function of (seed, epoch), as are the pairs drawn from groups."""
        random = np.random.default_rng([self.seed, epoch])
        numbers = np.arange(len(self.ends))
        if self.config.rows == "groups":
            rows = np.tile(np.arange(len(self.ends)), self.config.group_pairs)
            size = self.sizes[rows]
            numbers = self.ends[rows] - 1 - random.integers(size * (size - 1))
        lengths = self.texts.lengths[self.places(numbers)].T
        if self.config.tokens_per_batch:
            batches = bucket(lengths, self.config.tokens_per_batch, seed=self.seed, epoch=epoch)
        else:
            batches = even(lengths, self.config.rows_per_batch, random)
        return [numbers[batch] for batch in batches]

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
        return first_and_more(rows, self.where)

    def where(self, number: int) -> str:
        """Where a row number's row is, and its first text."""
        row = int(self.row_of(np.asarray([number]))[0])
        text = self.table.columns[self.config.sides[0]][row]
        return self.table.where(row, text[0] if self.config.rows == "groups" else text)

    def report(self, unknown: int | None) -> DataReport:
        """Lengths, texts that are cut, classes or scores. unknown: the id of the unknown token, if there is one."""
        share = 0.0 if unknown is None else float((self.texts.flat == unknown).mean())
        notes = [
            f"texts: {len(self.texts):,}, {len(np.unique(self.same)):,} of them different; cut to "
            f"the longest length: {self.cut:,} ({self.cut / len(self.texts):.2%})"
        ]
        if self.config.rows == "labelled" and self.values is not None:
            counts = np.bincount(self.values, minlength=len(self.classes))
            shown = (f"{name} {count:,}" for name, count in zip(self.classes, counts, strict=True))
            notes.append(f"classes: {listed(shown)}")
        elif self.values is not None:
            scores = self.values * (self.config.highest - self.config.lowest) + self.config.lowest
            notes.append(f"scores: mean {scores.mean():.2f}, from {scores.min():g} to {scores.max():g}")
        elif self.config.rows == "groups":
            notes.append(
                f"groups: {len(self.sizes):,} of {self.sizes.min()} to {self.sizes.max()} texts, "
                f"{self.ends[-1]:,} pairs, {self.config.group_pairs} of each group in an epoch"
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
    batches = np.array_split(order, count)
    return [batches[place] for place in random.permutation(count)]
