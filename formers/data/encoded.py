"""Texts, or pairs of texts, as an encoder reads them, kept as tokens in flat arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from formers.data.batching import Ragged
from formers.text.reader import Inputs, Reader, Row

READ_AT_ONCE = 2048  # texts whose encodings, which are large, exist at one time


class EncodedRows:
    """The tokens of every row, and its segments where the model tells two texts apart; long rows are cut."""

    def __init__(self, reader: Reader, texts: Sequence[str], seconds: Sequence[str] | None = None) -> None:
        """seconds: the second texts of pairs."""
        ids: list[NDArray[np.int32]] = []
        kinds: list[NDArray[np.int32]] = []
        self.reader, self.is_cut = reader, np.zeros(len(texts), bool)
        segmented = reader.segments > 1 and seconds is not None
        for start in range(0, len(texts), READ_AT_ONCE):
            some = slice(start, start + READ_AT_ONCE)
            encodings = reader.read(texts[some], None if seconds is None else seconds[some], offsets=False)
            for row, encoding in enumerate(encodings, start):
                ids.append(np.array(encoding.ids, np.int32))
                if segmented:
                    kinds.append(np.array(encoding.type_ids, np.int32))
                self.is_cut[row] = bool(encoding.overflowing)
        self.tokens, self.segments = Ragged(ids), Ragged(kinds) if segmented else None

    @property
    def cut(self) -> int:
        """How many rows were longer than the reader's length."""
        return int(self.is_cut.sum())

    @property
    def unknown_share(self) -> float:
        """The share of tokens that are the unknown one."""
        unknown = self.reader.tokenizer.unk
        return 0.0 if unknown is None else float((self.tokens.flat == unknown).mean())

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, row: int) -> Row:
        ids = self.tokens[row]
        return Row(ids, np.zeros_like(ids) if self.segments is None else self.segments[row])

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> Inputs:
        """The tensors of these rows; no segments where all are the first."""
        inputs = self.reader.batch([self[int(row)] for row in rows])
        return inputs if self.segments is not None else inputs._replace(segments=None)
