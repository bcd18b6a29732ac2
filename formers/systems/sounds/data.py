"""Labelled sounds: read, changed at random, reported on, batched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.labels import Labels
from formers.data.sounds import SoundTable, by_fold, read_sounds
from formers.data.source import Source, settings_of
from formers.data.waves import Waves
from formers.errors import ConfigError
from formers.fields import Count, Natural, Part, check
from formers.sound.augment import SoundAugmentation, mixed_waves
from formers.sound.decode import Samples
from formers.sound.features import FeatureExtractor
from formers.systems.labelling import row_weights
from formers.systems.shuffled import Shuffled, epoch_of

PLACE, MIXING = 3, 4  # beside (seed, epoch, row): where a sound lies in what the model reads; of a batch's first sound
PLAIN = SoundAugmentation()
AT_ONCE = 256  # sounds that are decoded together


@dataclass(frozen=True, kw_only=True)
class LabelledSounds:
    """Columns of the labelled sounds, how they are changed while training, and how they are batched."""

    audio: str = "audio"
    """Column of the sound: its bytes, or its path."""
    label: str = "label"
    """Column of the label: a name, the number of a class, or a list of them (several); of folders their name."""
    separator: str = ""
    """What stands between the labels of one field, such as ";" in a CSV file: a sound has several labels then."""
    folds: str = ""
    """Column of official folds (ESC-50: fold); rows of `fold` are watched and judged with, the others learned from."""
    fold: str = "1"
    """The fold that is not learned from."""
    balanced: bool = False
    """Rows are drawn so that labels come equally often: rare ones again and again, common ones not in every epoch."""
    batch: Natural = 64
    """Sounds of a batch."""
    unreadable: Count = 0
    """How many sounds may turn out to be broken: each is said and left out; one more ends the run."""
    augmentation: Annotated[SoundAugmentation, Part()] = PLAIN
    """Random changes while training."""

    def __post_init__(self) -> None:
        check(self, "rows")
        if not self.audio or not self.label:
            raise ConfigError("rows.audio and rows.label must name columns")

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads the rows."""
        columns = [self.label, *([self.folds] if self.folds else [])]
        settings = settings_of(self, "audio", "label", *(["folds"] if self.folds else []))
        reading = {"reader": read_sounds, "columns": columns, "audio": self.audio, "settings": settings}
        return {**reading, "set_aside": self.aside} if self.folds else reading

    def aside(self, table: SoundTable) -> tuple[SoundTable, SoundTable]:
        """The rows to learn from, and those of the fold."""
        return by_fold(table, self.folds, self.fold)


@dataclass(frozen=True)
class SoundBatch:
    features: Tensor
    """(rows, frames, mels), as the model reads them."""
    labels: Tensor
    """(rows,) class numbers, or (rows, labels) the share of each: of several labels, and where sounds are mixed."""


class SoundBatches:
    """The batches of a table of labelled sounds."""

    def __init__(
        self,
        table: SoundTable,
        extractor: FeatureExtractor,
        config: LabelledSounds,
        labels: Labels,
        *,
        seed: int = 1,
        mixup: float = 0.0,
    ) -> None:
        """mixup: how strongly sounds of a batch are mixed, see `mixed_waves`."""
        self.labels = labels.answers(table.table, config.label, config.separator)
        order = Shuffled(table, config.batch, seed, row_weights(self.labels) if config.balanced else None)
        self.epoch, self.describe = order.epoch, order.describe
        self.table, self.extractor, self.config, self.kind, self.seed = table, extractor, config, labels, seed
        self.waves = Waves(table, extractor.rate, unreadable=config.unreadable)
        self.mixup = mixup

    def __len__(self) -> int:
        return len(self.table)

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> SoundBatch:
        """These sounds, changed, mixed, and somewhere in what the model reads: a pure function of seed, epoch, rows."""
        epoch, numbers = epoch_of(rows)
        numbers, waves = self.waves.read(numbers)
        seeds = [(self.seed, epoch, int(row)) for row in numbers]
        changes, labels = self.config.augmentation, torch.from_numpy(self.labels[numbers])
        waves = changes.waves(waves, seeds)
        if self.mixup:
            if labels.ndim == 1:
                labels = torch.nn.functional.one_hot(labels, len(self.kind.names))
            waves, others, shares = mixed_waves(waves, np.random.default_rng([*seeds[0], MIXING]), self.mixup)
            labels = torch.lerp(labels[others].float(), labels.float(), torch.from_numpy(shares)[:, None])
        placed = [
            self.placed(wave, np.random.default_rng([*seed, PLACE])) for wave, seed in zip(waves, seeds, strict=True)
        ]
        features, lengths = self.extractor(placed)
        return SoundBatch(changes.spectrograms(features, lengths, seeds), labels)

    def placed(self, wave: Samples, dice: np.random.Generator) -> Samples:
        """A short sound later in what is read, a random part of a long one."""
        read = self.extractor
        assert read.frames is not None
        room = (read.frames - 1) * read.hop + read.window - len(wave)
        if room >= 0:
            return np.concatenate([np.zeros(dice.integers(0, room + 1), np.float32), wave])
        start = int(dice.integers(0, 1 - room))
        return wave[start : start + len(wave) + room]

    def plain(self) -> Iterator[tuple[int, Samples]]:
        """(row, samples) one after the other, unchanged and in order; of what can be read."""
        for start in range(0, len(self.table), AT_ONCE):
            yield from zip(
                *self.waves.read(range(start, min(start + AT_ONCE, len(self.table))), some=False), strict=True
            )
