"""Where rows come from, the section [data] of every recipe: what a system's rows are made of is the system's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from formers.data.documents import cut
from formers.data.limits import widened
from formers.data.sources import Table, read_table
from formers.data.splits import has_split
from formers.errors import ConfigError
from formers.fields import Between, Count, check

SetAside = Callable[[Table], tuple[Table, Table]]


def settings_of(rows: Any, *fields: str) -> dict[str, str]:
    """Column -> what chooses another, for messages: those that `fields` of a section [rows] hold."""
    columns = ((field, getattr(rows, field)) for field in fields)
    named = ((field, [value] if isinstance(value, str) else value) for field, value in columns)
    return {column: f"--set rows.{field}=COLUMN" for field, values in named for column in values}


@dataclass(frozen=True, kw_only=True)
class Source:
    """What to learn from, what to watch and what to judge with."""

    train: str = ""
    """Rows to learn from: a file, a pattern or folder of files, hf:owner/name, builtin:NAME."""
    validation: str = ""
    """Rows to watch while training; empty: the source's own validation split, or else a part of the training data."""
    test: str = ""
    """Rows to judge with in the end (formers evaluate); empty: the source's own test split, or else `validation`."""
    count: Count = 0
    """How many training rows to generate (builtin) or to take from the front (0: all there are)."""
    held_out: Annotated[float, Between(0)] = 1000
    """Rows of each generated validation and test set, and most that are set aside; below 1: that share of the text."""
    drop_empty: bool = False
    """Leave out rows in which something is empty instead of refusing the file."""
    seed: int = 1
    """Seed of the order of the data and of what is generated."""
    budget: Annotated[float, Between(above=0)] = 1.0
    """How many times the usual most of a file may be read: 512 MiB unpacked, 10 million rows, 20 million values."""

    def __post_init__(self) -> None:
        check(self, "data")
        if self.held_out > 1 and self.held_out % 1:
            raise ConfigError(f"data.held_out ({self.held_out}) must be a whole number of rows, or a share below 1")

    @property
    def rows_aside(self) -> int:
        """`held_out` as a number of rows. Raises ConfigError where it is a share."""
        if 0 < self.held_out < 1:
            rule = "is a share of a text, but here it must be at least 1 row"
            raise ConfigError(f"data.held_out ({self.held_out}) {rule}")
        return int(self.held_out)

    def name(self, part: str) -> str:
        """What to read for "train", "validation" or "test"; empty where it is not named and `train` has no splits.

        Raises ConfigError for training without a source.
        """
        if not self.train and part == "train":
            raise ConfigError("data.train is empty: say what to learn from, for example --set data.train=FILE")
        own = {"train": self.train, "validation": self.validation, "test": self.test}[part]
        holds = self.train.startswith(("builtin:", "hf:")) or (not own and has_split(self.train, part))
        return own or (self.train if holds else "")

    def read(
        self,
        part: str,
        *,
        reader: Callable[..., Any] = read_table,
        set_aside: SetAside | None = None,
        what: str = "row",
        **options: Any,
    ) -> Any:
        """The table of "train", "validation" or "test"; None where there is none. set_aside, what: of `tables` alone.

        reader: gives a table, of whatever kind; called with the name, `options` (such as columns and text of
        `read_table`), split, seed, drop_empty and count, which is that of generated rows only: of others the front is
        taken after reading.
        """
        if not (name := self.name(part)):
            return None
        count = self.count if part == "train" else int(self.held_out)  # a share of a text is 0 here: all there is
        generated = name.startswith("builtin:")
        most = count or None if generated else None
        with widened(self.budget):
            table = reader(name, **options, split=part, seed=self.seed, count=most, drop_empty=self.drop_empty)
        front = part == "train" and not generated and 0 < count < len(table)
        return table.select(range(count)) if front else table

    def tables(self, *, set_aside: SetAside | None = None, what: str = "row", **options: Any) -> tuple[Any, Any]:
        """Training and validation rows, read with `options` as `read` does.

        Without a validation source, rows are set aside of those for training: by `set_aside`, else every k-th of them,
        `what` being the word for a row in a fault.
        """
        train, validation = self.read("train", **options), self.read("validation", **options)
        assert train is not None
        if validation is not None:
            return train, validation
        return train.set_aside(self.rows_aside, what) if set_aside is None else set_aside(train)

    def test_or_validation(self, *, set_aside: SetAside | None = None, what: str = "row", **options: Any) -> Any:
        """What to judge with: the test rows, else those to watch as `tables` gives them."""
        for part in ("test", "validation"):
            if (table := self.read(part, **options)) is not None:
                return table
        return self.tables(set_aside=set_aside, what=what, **options)[1]

    def end_of_text(self, column: str) -> SetAside:
        """What sets the last `held_out`, a share, of the text in a column aside, for `tables`."""
        if not 0 < self.held_out < 1:
            raise ConfigError(f"data.held_out ({self.held_out}) must be between 0 and 1: a share of the text")
        return partial(cut, column=column, share=self.held_out)
