"""Dialtones: the two tones of a telephone's sixteen keys with noise, one key alone or several as they are dialled.

    (split, seed, index) -> Dialled: which keys, when -> .sound(), .wav(), .text, .times

What is particular: a row is data, the same on every machine, and sounds when it is asked for. Every tone has its own
length, loudness and balance, and is out of tune by up to 1.5 % as the standard (ITU-T Q.23) allows; the noise lies
20 to 0 dB below. Dialled strings have groups of keys with a pause between them: words, for those who write them down.
"""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from formers.data.builtin.split import check_split
from formers.sound.decode import Sound

RATE = 16_000
KEYS = "123A456B789C*0#D"
LOW, HIGH = (697, 770, 852, 941), (1209, 1336, 1477, 1633)  # Hz of the rows and columns of keys
DETUNED = 0.015
FADE = 0.004  # seconds in which a tone begins and ends
MOST_GROUPS, MOST_KEYS = 3, 4  # of a dialled string


@dataclass(frozen=True)
class Tone:
    """One key that is pressed."""

    key: str
    start: float
    """Seconds from the beginning."""
    seconds: float
    level: float
    """The height of each of its two waves."""
    balance: float
    """How much higher the second wave is; 1 is as high."""
    tuning: float
    """What both frequencies are multiplied by."""

    def wave(self) -> NDArray[np.float64]:
        row, column = divmod(KEYS.index(self.key), len(HIGH))
        time = np.arange(round(self.seconds * RATE)) / RATE
        low, high = (np.sin(2 * np.pi * self.tuning * hertz * time) for hertz in (LOW[row], HIGH[column]))
        fade = np.clip(np.minimum(time, time[-1] - time) / FADE, 0, 1)
        return self.level * (low + self.balance * high) * fade


@dataclass(frozen=True)
class Dialled:
    """Keys that are pressed one after the other, and the noise on the line."""

    tones: tuple[Tone, ...]
    text: str
    """The keys, with a space where a pause is."""
    seconds: float
    noise: float
    """The deviation of its samples."""
    seed: int

    @property
    def times(self) -> list[tuple[float, float]]:
        """When each tone begins and ends, in seconds."""
        return [(tone.start, tone.start + tone.seconds) for tone in self.tones]

    def sound(self) -> Sound:
        samples = self.noise * np.random.default_rng(self.seed).standard_normal(round(self.seconds * RATE))
        for tone in self.tones:
            wave, start = tone.wave(), round(tone.start * RATE)
            samples[start : start + len(wave)] += wave
        return Sound(samples.clip(-1, 1).astype(np.float32), RATE)

    def wav(self) -> bytes:
        """A WAV file of 16 bits."""
        with wave.open(file := io.BytesIO(), "wb") as written:
            written.setparams((1, 2, RATE, 0, "NONE", ""))
            written.writeframes((self.sound().samples * 32767).round().astype("<i2").tobytes())
        return file.getvalue()


def single(split: str, count: int, seed: int = 0) -> list[tuple[Dialled, str]]:
    """`count` rows (sound, key) of one key each, a third to half a second long."""
    check_split(split, count)
    return [(one, one.text) for one in (dialled(split, index, seed, several=False) for index in range(count))]


def strings(split: str, count: int, seed: int = 0) -> list[tuple[Dialled, str]]:
    """`count` rows (sound, "40 7#1") of one to three groups of one to four keys each."""
    check_split(split, count)
    return [(one, one.text) for one in (dialled(split, index, seed, several=True) for index in range(count))]


def dialled(split: str, index: int, seed: int = 0, *, several: bool) -> Dialled:
    """What is dialled at a place in a split."""
    dice = Random(f"dialtones/{split}/{seed}/{several}/{index}")
    groups, most = (dice.randint(1, MOST_GROUPS), MOST_KEYS) if several else (1, 1)
    texts = ["".join(dice.choices(KEYS, k=dice.randint(1, most))) for _ in range(groups)]
    level, tones, now = dice.uniform(0.05, 0.2), [], dice.uniform(0.05, 0.15)
    for text in texts:
        for key in text:
            seconds = dice.uniform(0.07, 0.2)
            tuning = 1 + dice.uniform(-DETUNED, DETUNED)
            tones.append(Tone(key, now, seconds, level * dice.uniform(0.7, 1), dice.uniform(0.6, 1.6), tuning))
            now += seconds + dice.uniform(0.05, 0.12)
        now += dice.uniform(0.25, 0.4)
    noise = level * 10 ** (-dice.uniform(0, 20) / 20)
    return Dialled(tuple(tones), " ".join(texts), now, noise, dice.getrandbits(32))
