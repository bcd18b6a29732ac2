"""Texts, or pairs of texts, with labels: read, turned into tokens, reported on, batched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from formers.data.batching import Buckets
from formers.data.encoded import EncodedRows
from formers.data.labels import Labels
from formers.data.report import DataReport, LengthReport
from formers.data.source import Source, settings_of
from formers.data.sources import Table
from formers.errors import ConfigError
from formers.fields import Count, Natural, check
from formers.systems.labelling import shares
from formers.text.reader import Inputs, Reader


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """Columns of the labelled texts, their tokens, and how they are batched."""

    text: str = "text"
    """Column of the text."""
    second: str = ""
    """Column of the second text, where pairs are labelled; empty: there is none."""
    label: str = "label"
    """Column of the label: a name, the number of a class, a list of them (several), or a number to learn."""
    separator: str = ""
    """What stands between the labels of one field, such as ";" in a CSV file: a text has several labels then."""
    length: Count = 0
    """Most tokens of a row, special ones included; longer texts are cut, and how many is reported (0: the model's)."""
    vocab: Natural = 4000
    """Size of the vocabulary of word pieces that is trained for a new model."""
    tokenizer: str = ""
    """Folder with a tokenizer to use for a new model instead of training one."""
    tokens_per_batch: Natural = 1024
    """Most tokens of a batch, padding included."""

    def __post_init__(self) -> None:
        check(self, "rows")
        if not self.text or not self.label:
            raise ConfigError("rows.text and rows.label must name columns")

    @property
    def columns(self) -> list[str]:
        """Of the texts."""
        return [self.text, *([self.second] if self.second else [])]

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads the rows, the label last."""
        settings = settings_of(self, "text", "second", "label")
        return {"columns": [*self.columns, self.label], "text": self.columns, "settings": settings}

    def texts(self, table: Table) -> tuple[list[str], list[str] | None]:
        """The texts of a table, and the second ones of pairs."""
        return table.columns[self.text], table.columns[self.second] if self.second else None


@dataclass(frozen=True)
class LabelledBatch:
    inputs: Inputs
    labels: Tensor
    """(rows,) class numbers, (rows, labels) 0 and 1 of several, or (rows,) numbers."""


class LabelledBatches:
    """The batches of a table of labelled texts, and the report on it."""

    def __init__(self, table: Table, reader: Reader, config: LabelledRows, labels: Labels, *, seed: int = 1) -> None:
        self.table, self.config = table, config
        self.labels = labels.answers(table, config.label, config.separator)
        texts, seconds = config.texts(table)
        self.rows = EncodedRows(reader, texts, seconds)
        lengths = self.rows.tokens.lengths
        order = Buckets(lengths, config.tokens_per_batch, seed=seed, where=lambda row: table.where(row, texts[row]))
        self.epoch, self.describe = order.epoch, order.describe
        what = "the longer text of a pair first" if config.second else "at the end"
        cut = self.rows.cut
        self.report = DataReport(
            len(table),
            [LengthReport("+".join(config.columns), lengths, self.rows.unknown_share)],
            {"with an empty text or label (data.drop_empty)": table.dropped},
            [
                shares(labels, self.labels),
                f"longer than {reader.length} tokens: {cut:,} ({cut / len(table):.1%}), cut {what}",
            ],
        )

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> LabelledBatch:
        """The tensors of these rows."""
        return LabelledBatch(self.rows.batch(rows), from_numpy(self.labels[np.asarray(rows)]))
