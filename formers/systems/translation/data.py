"""Sentence pairs for training: read, turned into tokens, reported on, batched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import Buckets, Ragged, pad
from formers.data.report import DataReport, LengthReport
from formers.data.source import Source, settings_of
from formers.data.sources import Table
from formers.errors import DataError
from formers.fields import Count, Natural, check


class PairTokenizer(Protocol):
    """What is needed of a tokenizer."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]: ...
    def encode_target(self, texts: Sequence[str]) -> list[list[int]]: ...
    def unknown_share(self, texts: Sequence[str]) -> float: ...


@dataclass(frozen=True, kw_only=True)
class PairRows:
    """Columns of the sentence pairs (or endings: "a.en,a.de"), their tokens, and how they are batched."""

    source: str = "en"
    """Column to translate from."""
    target: str = "de"
    """Column to translate into."""
    to: str = ""
    """Language of the target column, of a model of several (NLLB: fra_Latn); empty: as that model asks."""
    source_language: str = ""
    """Language of the source column, of such a model."""
    vocab: Natural = 8000
    """Size of the joint BPE vocabulary that is trained when no tokenizer is given."""
    tokenizer: str = ""
    """Folder with a tokenizer to use instead of training one."""
    tokens_per_batch: Natural = 4096
    """Most tokens of the longer side of a batch, padding included."""
    longest: Count = 0
    """Leave out pairs with more tokens on a side (0: the model's length)."""

    def __post_init__(self) -> None:
        check(self, "rows")

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads the pairs."""
        columns = [self.source, self.target]
        settings = settings_of(self, "source", "target")
        return {"columns": columns, "text": columns, "settings": settings, "what": "pair"}


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
        self,
        table: Table,
        tokenizer: PairTokenizer,
        config: PairRows,
        *,
        length: int,
        start: int,
        filler: int,
        seed: int,
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
                "raise model.length or rows.longest"
            )
        self.rows = np.flatnonzero(fits)
        self.source, self.target, self.lengths, self.table = source, target, both[self.rows], table
        order = Buckets(self.lengths, config.tokens_per_batch, seed=seed, where=self.where)
        self.epoch, self.describe = order.epoch, order.describe
        self.report = DataReport(
            len(self.rows),
            [
                LengthReport(config.source, source.lengths, tokenizer.unknown_share(texts[0])),
                LengthReport(config.target, target.lengths, tokenizer.unknown_share(texts[1])),
            ],
            {
                f"longer than {limit} tokens on a side (model.length, rows.longest)": int((~fits).sum()),
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
