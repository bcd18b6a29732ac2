"""Sentence pairs for training: read, turned into tokens, reported on, batched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import Buckets, Ragged, pad
from formers.data.report import DataReport, LengthReport
from formers.data.sources import Table, read_table
from formers.errors import ConfigError, DataError


class PairTokenizer(Protocol):
    """What is needed of a tokenizer."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]: ...
    def encode_target(self, texts: Sequence[str]) -> list[list[int]]: ...
    def unknown_share(self, texts: Sequence[str]) -> float: ...


@dataclass(frozen=True, kw_only=True)
class ParallelData:
    """Where the sentence pairs come from and how they are batched."""

    train: str = "builtin:phrasebook"
    """Pairs to learn from: .tsv .csv .jsonl .parquet, two text files "a.en,b.de", hf:owner/name, builtin:phrasebook."""
    validation: str = ""
    """Pairs to watch while training; empty: the source's own validation split, or else a part of the training data."""
    test: str = ""
    """Pairs to judge with in the end (formers evaluate); empty: the source's own test split, or else `validation`."""
    source: str = "en"
    """Column to translate from."""
    target: str = "de"
    """Column to translate into."""
    count: int = 0
    """How many training pairs to generate (builtin) or to take from the front (0: all there are)."""
    held_out: int = 1000
    """Pairs of each generated validation and test set, and most that are set aside of the training data."""
    vocab: int = 8000
    """Size of the joint BPE vocabulary that is trained when no tokenizer is given."""
    tokenizer: str = ""
    """Folder with a tokenizer to use instead of training one."""
    tokens_per_batch: int = 4096
    """Most tokens of the longer side of a batch, padding included."""
    longest: int = 0
    """Leave out pairs with more tokens on a side (0: the model's length)."""
    drop_empty: bool = False
    """Leave out rows with an empty sentence instead of refusing the file."""
    seed: int = 1
    """Seed of the order of the data and of what is generated."""

    def read(self, part: str) -> Table | None:
        """The table of "train", "validation" or "test"; None where a part was not named and the source has none."""
        if not self.train:
            raise ConfigError("data.train is empty: say what to learn from, for example --set data.train=pairs.tsv")
        name = {"train": self.train, "validation": self.validation, "test": self.test}[part]
        if not name and self.train.startswith(("builtin:", "hf:")):
            name = self.train
        if not name:
            return None
        columns = [self.source, self.target]
        count = (self.count if part == "train" else self.held_out) if name.startswith("builtin:") else None
        table = read_table(
            name,
            columns=columns,
            text=columns,
            split=part,
            seed=self.seed,
            count=count or None,
            drop_empty=self.drop_empty,
        )
        if part == "train" and self.count and not name.startswith("builtin:"):
            table = table.select(range(min(self.count, len(table))))
        return table

    def tables(self) -> tuple[Table, Table]:
        """Training and validation pairs; without a validation source every k-th training pair is set aside."""
        train = self.read("train")
        assert train is not None
        validation = self.read("validation")
        return train.set_aside(self.held_out, "pair") if validation is None else (train, validation)


@dataclass(frozen=True)
class PairBatch:
    """target starts with the start token; labels are the tokens to say, `real` where they are not padding."""

    source: Tensor
    source_keep: Tensor | None
    target: Tensor
    labels: Tensor
    real: Tensor | None


class PairBatches:
    """The batches of a table of pairs, and the report on it."""

    def __init__(
        self, table: Table, tokenizer: PairTokenizer, config: ParallelData, *, length: int, start: int, filler: int
    ) -> None:
        self.config, self.start, self.filler = config, start, filler
        texts = table.columns[config.source], table.columns[config.target]
        source, target = Ragged(tokenizer.encode(texts[0])), Ragged(tokenizer.encode_target(texts[1]))
        limit = min(config.longest or length, length)
        both = np.stack([source.lengths, target.lengths], 1)
        fits = both.max(1) <= limit
        if not fits.any():
            raise DataError(
                f"{table.name}: all {len(table):,} pairs are longer than {limit} tokens; "
                "raise model.length or data.longest"
            )
        self.rows = np.flatnonzero(fits)
        self.source, self.target, self.lengths, self.table = source, target, both[self.rows], table
        order = Buckets(self.lengths, config.tokens_per_batch, seed=config.seed, where=self.where)
        self.epoch, self.describe = order.epoch, order.describe
        self.report = DataReport(
            len(self.rows),
            [
                LengthReport(config.source, source.lengths, tokenizer.unknown_share(texts[0])),
                LengthReport(config.target, target.lengths, tokenizer.unknown_share(texts[1])),
            ],
            {
                f"longer than {limit} tokens on a side (model.length, data.longest)": int((~fits).sum()),
                "with an empty sentence (data.drop_empty)": table.dropped,
            },
        )

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> PairBatch:
        """The tensors of these rows."""
        places = self.rows[np.asarray(rows)]
        source, source_keep = pad([self.source[i] for i in places], self.filler)
        labels, real = pad([self.target[i] for i in places], self.filler)
        target = labels.roll(1, 1)
        target[:, 0] = self.start
        return PairBatch(source, source_keep, target, labels, real)

    def where(self, row: int) -> str:
        """Where a row is, and its text."""
        place = int(self.rows[row])
        return self.table.where(place, self.table.columns[self.config.source][place])
