"""Recordings with their transcripts: each a window of sound, and what is said in it as tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.sounds import SoundTable, read_sounds
from formers.data.source import Source, settings_of
from formers.data.waves import Waves
from formers.errors import ConfigError, DataError
from formers.fields import Count, Natural, check
from formers.metrics.speech import basic, english
from formers.sound.features import FeatureExtractor
from formers.systems.shuffled import Shuffled, epoch_of
from formers.text.speech_tokens import SpeechTokens


@dataclass(frozen=True, kw_only=True)
class SpeechRows:
    """Columns of the recordings and how they are batched."""

    audio: str = "audio"
    """Column of the sound: its bytes, or its path."""
    text: str = "text"
    """Column of what is said."""
    language: str = "en"
    """Its language."""
    task: Literal["transcribe", "translate"] = "transcribe"
    """translate: the recordings are in the language, their transcripts are English."""
    normalise: Literal["language", "none"] = "language"
    """How texts are made alike before word errors are counted: as their language wants it, or not at all."""
    batch: Natural = 16
    """Recordings of a batch."""
    unreadable: Count = 0
    """How many recordings may turn out to be broken: each is said and left out; one more ends the run."""
    tokenizer: str = ""
    """Folder of a tokenizer for a new model (empty: one is trained on the transcripts)."""
    vocab: Natural = 300
    """Most tokens of text of a tokenizer that is trained, the 256 bytes among them."""

    def __post_init__(self) -> None:
        check(self, "rows")
        if not self.audio or not self.text:
            raise ConfigError("rows.audio and rows.text must name columns")

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads the rows."""
        return {
            "reader": read_sounds,
            "columns": [self.text],
            "audio": self.audio,
            "text": [self.text],
            "settings": settings_of(self, "audio", "text"),
        }


@dataclass(frozen=True)
class SpeechBatch:
    mels: Tensor
    """(rows, bands, frames)"""
    tokens: Tensor
    """(rows, length), what the decoder reads."""
    labels: Tensor
    """(rows, length), what it should say; -1 where that is given."""
    texts: list[str]
    """What is said."""


class SpeechBatches:
    """The batches of a table of recordings, as a model reads them."""

    def __init__(
        self,
        table: SoundTable,
        tokens: SpeechTokens,
        extractor: FeatureExtractor,
        config: SpeechRows,
        *,
        length: int,
        language: str = "",
        seed: int = 1,
    ) -> None:
        """length: most tokens of the model; language: instead of the one in `config`.

        Raises DataError for transcripts that have no room.
        """
        order = Shuffled(table, config.batch, seed)
        self.epoch, self.describe = order.epoch, order.describe
        self.table, self.config = table, config
        self.tokens, self.extractor = tokens, extractor
        self.language = language or config.language
        self.opening = self.tokens.opening(self.language, config.task, timestamps=False)
        self.waves = Waves(table, self.extractor.rate, unreadable=config.unreadable)
        self.texts: list[str] = list(map(str, table.table.columns[config.text]))
        self.rows = [[*self.opening, *self.tokens.encode(f" {text.strip()}"), self.tokens.end] for text in self.texts]
        longest = max(range(len(self.rows)), key=lambda row: len(self.rows[row]), default=0)
        if self.rows and len(self.rows[longest]) > length + 1:
            got = (
                f"the transcript of {table.where(longest)} has {len(self.rows[longest]) - len(self.opening) - 1} tokens"
            )
            raise DataError(f"{got}, but this model writes at most {length - len(self.opening)}; cut the recording")

    @property
    def normalise(self) -> Callable[[str], str]:
        """What makes texts alike before they are compared."""
        if self.config.normalise == "none":
            return lambda text: " ".join(text.split())
        return english if self.language == "en" or self.config.task == "translate" else basic

    def __len__(self) -> int:
        return len(self.table)

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[np.int64], Tensor]:
        """Those of these rows that can be read, and their spectrograms (rows, bands, frames)."""
        numbers, waves = self.waves.read(epoch_of(rows)[1])
        return numbers, self.extractor(waves).values.transpose(1, 2)

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> SpeechBatch:
        """These recordings and what is said in them."""
        numbers, mels = self.read(rows)
        some = [self.rows[row] for row in numbers]
        size = max(map(len, some)) - 1
        tokens = torch.full((len(some), size), self.tokens.end)
        labels = torch.full((len(some), size), -1)
        given = len(self.opening) - 1
        for i, row in enumerate(some):
            tokens[i, : len(row) - 1] = torch.tensor(row[:-1])
            labels[i, given : len(row) - 1] = torch.tensor(row[given + 1 :])
        return SpeechBatch(mels, tokens, labels, [self.texts[row] for row in numbers])

    def lines(self) -> list[str]:
        """What the report says of the transcripts."""
        lengths = [len(row) - len(self.opening) - 1 for row in self.rows]
        return [f"transcripts: {len(self):,}, {np.mean(lengths):.1f} tokens, at most {max(lengths)}"]
