"""Texts, or pairs of texts, with labels: read, turned into tokens, reported on, batched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from formers.data.batching import Buckets, Ragged, pad
from formers.data.labels import Labels
from formers.data.report import DataReport, LengthReport
from formers.data.sources import Table, read_table
from formers.errors import ConfigError
from formers.text.reader import Inputs, Reader

READ_AT_ONCE = 2048  # texts whose encodings, which are large, exist at one time
SHOWN = 12  # classes whose share is shown


@dataclass(frozen=True, kw_only=True)
class LabelledData:
    """Where the labelled texts come from and how they are batched."""

    train: str = "builtin:opinions"
    """Texts to learn from: .tsv .csv .jsonl .parquet, a folder of Parquet, hf:owner/name, builtin:opinions."""
    validation: str = ""
    """Texts to watch while training; empty: the source's own validation split, or else a part of the training data."""
    test: str = ""
    """Texts to judge with in the end (formers evaluate); empty: the source's own test split, or else `validation`."""
    text: str = "text"
    """Column of the text."""
    second: str = ""
    """Column of the second text, where pairs are labelled; empty: there is none."""
    label: str = "label"
    """Column of the label: a name, the number of a class, a list of them (several), or a number to learn."""
    separator: str = ""
    """What stands between the labels of one field, such as ";" (several labels in a CSV file)."""
    count: int = 0
    """How many training rows to generate (builtin) or to take from the front (0: all there are)."""
    held_out: int = 1000
    """Rows of each generated validation and test set, and most that are set aside of the training data."""
    length: int = 0
    """Most tokens of a row, special ones included; longer texts are cut, and how many is reported (0: the model's)."""
    vocab: int = 4000
    """Size of the vocabulary of word pieces that is trained for a new model."""
    tokenizer: str = ""
    """Folder with a tokenizer to use for a new model instead of training one."""
    tokens_per_batch: int = 1024
    """Most tokens of a batch, padding included."""
    drop_empty: bool = False
    """Leave out rows with an empty text or label instead of refusing the file."""
    seed: int = 1
    """Seed of the order of the data and of what is generated."""

    def __post_init__(self) -> None:
        for name in ("count", "held_out", "length", "vocab", "tokens_per_batch"):
            least = 0 if name in ("count", "length") else 1
            if getattr(self, name) < least:
                raise ConfigError(f"data.{name} ({getattr(self, name)}) must be at least {least}")
        if not self.text or not self.label:
            raise ConfigError("data.text and data.label must name columns")

    @property
    def columns(self) -> list[str]:
        """The columns that are read, the label last."""
        return [self.text, *([self.second] if self.second else []), self.label]

    def read(self, part: str) -> Table | None:
        """The table of "train", "validation" or "test"; None where a part was not named and the source has none."""
        if not self.train:
            raise ConfigError("data.train is empty: say what to learn from, for example --set data.train=texts.csv")
        name = {"train": self.train, "validation": self.validation, "test": self.test}[part]
        if not name and self.train.startswith(("builtin:", "hf:")):
            name = self.train
        if not name:
            return None
        made = name.startswith("builtin:")
        count = (self.count if part == "train" else self.held_out) if made else None
        table = read_table(
            name,
            columns=self.columns,
            text=self.columns[:-1],
            split=part,
            seed=self.seed,
            count=count or None,
            drop_empty=self.drop_empty,
        )
        if part == "train" and self.count and not made:
            table = table.select(range(min(self.count, len(table))))
        return table

    def tables(self) -> tuple[Table, Table]:
        """Training and validation rows; without a validation source every k-th training row is set aside."""
        train = self.read("train")
        assert train is not None
        validation = self.read("validation")
        return train.set_aside(self.held_out) if validation is None else (train, validation)

    def texts(self, table: Table) -> tuple[list[str], list[str] | None]:
        """The texts of a table, and the second ones of pairs."""
        return table.columns[self.text], table.columns[self.second] if self.second else None


@dataclass(frozen=True)
class LabelledBatch:
    inputs: Inputs
    answers: Tensor
    """(rows,) class numbers, (rows, labels) 0 and 1 of several, or (rows,) numbers."""


class LabelledBatches:
    """The batches of a table of labelled texts, and the report on it."""

    def __init__(self, table: Table, reader: Reader, config: LabelledData, labels: Labels) -> None:
        self.table, self.reader, self.config, self.labels = table, reader, config, labels
        self.answers = labels.answers(table, config.label, config.separator)
        self.tokens, self.kinds, self.cut = read_rows(reader, *config.texts(table))
        texts = table.columns[config.text]
        order = Buckets(
            self.tokens.lengths,
            config.tokens_per_batch,
            seed=config.seed,
            where=lambda row: table.where(row, texts[row]),
        )
        self.epoch, self.describe = order.epoch, order.describe
        unknown = reader.tokenizer.unk
        share = 0.0 if unknown is None else float((self.tokens.flat == unknown).mean())
        what = "the longer text of a pair first" if config.second else "at the end"
        self.report = DataReport(
            len(table),
            [LengthReport("+".join(config.columns[:-1]), self.tokens.lengths, share)],
            {"with an empty text or label (data.drop_empty)": table.dropped},
            [
                shares(labels, self.answers),
                f"longer than {reader.length} tokens: {self.cut:,} ({self.cut / len(table):.1%}), cut {what}",
            ],
        )

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> LabelledBatch:
        """The tensors of these rows."""
        tokens, keep = pad([self.tokens[i] for i in rows], self.reader.pad)
        kinds = None if self.kinds is None else pad([self.kinds[i] for i in rows], 0)[0]
        return LabelledBatch(Inputs(tokens, kinds, keep), from_numpy(self.answers[np.asarray(rows)]))


def read_rows(reader: Reader, texts: list[str], seconds: list[str] | None) -> tuple[Ragged, Ragged | None, int]:
    """Tokens and segments (None where the model tells none apart, or all are 0) of every row, and how many were cut."""
    ids: list[NDArray[np.int32]] = []
    kinds: list[NDArray[np.int32]] = []
    cut = 0
    segmented = reader.segments > 1 and seconds is not None
    for start in range(0, len(texts), READ_AT_ONCE):
        some = slice(start, start + READ_AT_ONCE)
        for encoding in reader.read(texts[some], None if seconds is None else seconds[some], offsets=False):
            ids.append(np.array(encoding.ids, np.int32))
            if segmented:
                kinds.append(np.array(encoding.type_ids, np.int32))
            cut += bool(encoding.overflowing)
    return Ragged(ids), Ragged(kinds) if segmented else None, cut


def shares(labels: Labels, answers: NDArray[Any]) -> str:
    """How often each label occurs, or how the numbers lie."""
    if labels.kind == "number":
        low, high, mean, spread = (float(each(answers)) for each in (np.min, np.max, np.mean, np.std))
        return f"{labels.names[0]}: from {low:g} to {high:g}, mean {mean:.3g}, deviation {spread:.3g}"
    counts = answers.sum(0) if labels.kind == "several" else np.bincount(answers, minlength=len(labels.names))
    order = np.argsort(-counts, kind="stable")
    said = [f"{labels.names[i]} {counts[i] / len(answers):.1%} ({counts[i]:,})" for i in order[:SHOWN]]
    more = f" and {len(order) - SHOWN} more" if len(order) > SHOWN else ""
    missing = [labels.names[i] for i in order if not counts[i]]
    without = f"; without a row: {', '.join(missing[:SHOWN])}" if missing else ""
    return f"labels ({labels.kind} of {len(labels.names)}): {', '.join(said)}{more}{without}"
