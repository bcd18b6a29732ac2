"""Random changes of sounds while training, of samples and of spectrograms: a pure function of a sound's seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.fields import Between, Count, check
from formers.sound.decode import Samples

Seeds = Sequence[Sequence[int]]
QUIET = 1e-4  # so loud is a sound at least, of noise below it
WAVES, SPECTROGRAMS = 1, 2  # after the seeds of a sound


@dataclass(frozen=True, kw_only=True)
class SoundAugmentation:
    """How sounds are changed at random."""

    speed: Annotated[float, Between(0, below=1)] = 0.0
    """Up to this share faster or slower, and so higher or lower, such as 0.1 (Ko et al. 2015)."""
    loudness: Annotated[float, Between(0, 60)] = 0.0
    """Decibels that they are louder or quieter at most."""
    noise: Annotated[float, Between(0, 120)] = 0.0
    """Decibels that white noise lies below the sound at least, such as 10, and at most 40 more (0: none)."""
    bands: Count = 0
    """Neighbouring bands that each of `masks` hides at most (SpecAugment, Park et al. 2019)."""
    frames: Count = 0
    """Neighbouring frames of 10 ms that each of `masks` hides at most."""
    masks: Count = 1
    """Masks of bands, and of frames."""

    def __post_init__(self) -> None:
        check(self, "rows")

    def waves(self, sounds: Sequence[Samples], seeds: Seeds) -> list[Samples]:
        """Changed copies of samples; seeds: of each sound, such as seed, epoch and row."""
        if not (self.speed or self.loudness or self.noise):
            return list(sounds)
        return [
            self._wave(wave, np.random.default_rng([*seed, WAVES])) for wave, seed in zip(sounds, seeds, strict=True)
        ]

    def _wave(self, wave: Samples, dice: np.random.Generator) -> Samples:
        faster, louder, below = dice.uniform(-1, 1), dice.uniform(-1, 1), dice.random()
        if self.speed:
            speed = (1 + self.speed) ** faster
            places = np.arange(max(1, round(len(wave) / speed))) * speed
            wave = np.interp(places, np.arange(len(wave)), wave).astype(np.float32)
        if self.noise:
            level = max(QUIET, float(np.sqrt(np.square(wave).mean()))) * 10 ** (-(self.noise + 40 * below) / 20)
            wave = wave + dice.standard_normal(len(wave), np.float32) * np.float32(level)
        return wave * np.float32(10 ** (self.loudness * louder / 20))

    def spectrograms(self, features: Tensor, lengths: Tensor, seeds: Seeds) -> Tensor:
        """Changed copies of (sounds, frames, mels), normalised so that 0 is the mean, which a mask shows; lengths: of
        each, without padding."""
        if not (self.bands or self.frames) or not self.masks:
            return features
        hidden = torch.zeros(features.shape, dtype=torch.bool)
        for row, (length, seed) in enumerate(zip(lengths.tolist(), seeds, strict=True)):
            dice = np.random.default_rng([*seed, SPECTROGRAMS])
            for _ in range(self.masks):
                first, end = _span(self.bands, features.shape[2], dice)
                hidden[row, :, first:end] = True
                first, end = _span(self.frames, length, dice)
                hidden[row, first:end] = True
        return features.masked_fill(hidden, 0)


def _span(most: int, length: int, dice: np.random.Generator) -> tuple[int, int]:
    wide = int(dice.integers(0, min(most, length // 2) + 1))
    first = int(dice.integers(0, length - wide + 1))
    return first, first + wide


def mixed_waves(
    sounds: Sequence[Samples], dice: np.random.Generator, strength: float
) -> tuple[list[Samples], NDArray[np.int64], NDArray[np.float32]]:
    """Sounds of equal loudness added to others of the batch: the sums, which others, and the share that each keeps.

    Shares are from Beta(strength, strength). Source: Tokozume et al. 2018; Gong et al. 2021, with strength 10.
    """
    others = dice.permutation(len(sounds))
    shares = dice.beta(strength, strength, len(sounds)).astype(np.float32)
    even = [wave - wave.mean() for wave in sounds]
    even = [wave / max(QUIET, float(np.sqrt(np.square(wave).mean()))) for wave in even]
    sums = []
    for row, (other, share) in enumerate(zip(others, shares, strict=True)):
        sounds_of = even[row], even[other]
        total = np.zeros(max(map(len, sounds_of)), np.float32)
        for wave, part in zip(sounds_of, (share, 1 - share), strict=True):
            total[: len(wave)] += part * wave
        sums.append(total * np.float32(np.sqrt(np.square(sounds[row]).mean())))
    return sums, others, shares
