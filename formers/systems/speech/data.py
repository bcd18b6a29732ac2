"""Recordings with their texts: read, put together, changed at random, checked against what CTC can align, batched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import Ragged, bucket, first_and_more
from formers.data.sound_report import head
from formers.data.sounds import SoundTable, read_sounds
from formers.data.source import Source, settings_of
from formers.data.waves import Waves
from formers.decoding.ctc import frames_needed
from formers.errors import ConfigError, DataError, shown
from formers.fields import Between, Count, Natural, Part, check
from formers.models.conformer import ConformerEncoderConfig
from formers.notes import note
from formers.sound.augment import SoundAugmentation
from formers.sound.decode import Samples
from formers.sound.features import FeatureExtractor
from formers.systems.shuffled import EPOCH, epoch_of
from formers.text.tokenizer import Tokenizer

JOINING, NOISE = 1, 2  # beside (seed, epoch) of what is drawn
HUNDREDTHS = 100  # lengths are counted in hundredths of a second

PLAIN = SoundAugmentation()
Seconds = Annotated[float, Between(0, 60)]


@dataclass(frozen=True, kw_only=True)
class ClipRows:
    """Columns of recordings and texts, how they become clips and tokens, and how they are batched."""

    audio: str = "audio"
    """Column of the recording: its bytes, or its path."""
    text: str = "text"
    """Column of what is said in it."""
    lowercase: bool = False
    """Write all texts in lower case."""
    vocabulary: Literal["characters", "pieces"] = "characters"
    """What a new model says in a frame: a character, or a piece of a word (byte-pair encoding, as SentencePiece's)."""
    vocab: Natural = 500
    """How many pieces there are."""
    tokenizer: str = ""
    """Folder with a tokenizer to use instead."""
    join: tuple[Natural, ...] = ()
    """Put so many recordings at random together into a clip, such as 3,8, and their texts with blanks between."""
    gap: tuple[Seconds, ...] = (0.05, 0.4)
    """Seconds of silence before, between and behind them."""
    snr: tuple[float, ...] = ()
    """Add noise that is so many decibels below a clip, such as 10,40; to those that are judged with, too."""
    augmentation: Annotated[SoundAugmentation, Part()] = PLAIN
    """Random changes while training."""
    seconds_per_batch: Annotated[float, Between(above=0)] = 60.0
    """Most seconds of a batch, padding included."""
    misfits: Count = 0
    """How many rows may be left out whose text is too long for CTC to align with the frames, or has characters outside
    the vocabulary; one more ends the run."""
    unreadable: Count = 0
    """How many recordings may turn out to be broken: each is said and left out; one more ends the run."""

    def __post_init__(self) -> None:
        check(self, "rows")
        for name in ("join", "gap", "snr"):
            values = getattr(self, name)
            if (values or name == "gap") and (len(values) != 2 or values[0] > values[1]):
                raise ConfigError(f"rows.{name} ({', '.join(map(str, values))}) must be two numbers, least and most")

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads the rows."""
        settings = settings_of(self, "audio", "text")
        return {"reader": read_sounds, "columns": [self.text], "audio": self.audio, "settings": settings}

    def texts(self, table: SoundTable) -> list[str]:
        """What is said in each row, with single blanks."""
        texts = (" ".join(str(text).split()) for text in table.table.named(self.text))
        return [text.lower() if self.lowercase else text for text in texts]


class Clip(NamedTuple):
    """Recordings that are put together, and the seconds of silence around them."""

    rows: NDArray[np.int64]
    gaps: NDArray[np.float64]


@dataclass(frozen=True)
class ClipBatch:
    features: Tensor
    """(clips, frames, mels), or (clips, samples), as the model reads them."""
    lengths: Tensor
    """(clips,) the real ones."""
    targets: Tensor
    """(tokens of all clips,)."""
    counts: Tensor
    """(clips,) how many of them each has."""
    texts: list[str]


def frames_of(samples: NDArray[np.int64], config: ConformerEncoderConfig, extractor: FeatureExtractor) -> Any:
    """How many frames a model writes for so many samples."""
    if config.waves:
        for _, kernel, stride in config.waves:
            samples = (samples - kernel) // stride + 1
        return samples
    frames = np.maximum(1, samples // extractor.hop)
    for _ in range(config.halvings):
        frames = (frames - 1) // 2 + 1
    return frames


def outside(text: str, tokenizer: Tokenizer) -> str:
    """The characters of a text that no token has, as messages show them."""
    letters = {" ", *"".join(tokenizer.decode([token]) for token in range(tokenizer.vocab))}
    return shown("".join(dict.fromkeys(char for char in text if char not in letters)) or text)


class ClipBatches:
    """The batches of a table of recordings; each `epoch` puts them together anew where they are to be joined."""

    def __init__(
        self,
        table: SoundTable,
        extractor: FeatureExtractor,
        tokenizer: Tokenizer,
        config: ClipRows,
        model: ConformerEncoderConfig,
        *,
        seed: int,
    ) -> None:
        """model: of what the frames of a clip are counted for. Raises DataError for more misfits than may be."""
        self.table, self.extractor, self.config, self.seed = table, extractor, config, seed
        self.waves = Waves(table, extractor.rate, unreadable=config.unreadable)
        self.texts = config.texts(table)
        self.tokens = Ragged(tokenizer.encode_plain(self.texts))
        self.blanks = tokenizer.encode_plain([" "])[0] if config.join else []
        self.seconds = np.array([head(table, row).seconds for row in range(len(table))])
        self.frames = frames_of((self.seconds * extractor.rate).astype(np.int64), model, extractor)
        self.clips = lru_cache(maxsize=2)(self.clips_of)  # of the epoch that is read, and the next
        self.rows = np.setdiff1d(np.arange(len(table)), self.misfits(tokenizer))

    def __len__(self) -> int:
        return len(self.rows)

    def misfits(self, tokenizer: Tokenizer) -> list[int]:
        """The rows that cannot be learned from. Raises DataError where there are too many of them."""
        rows, reasons = [], []
        for row, frames in enumerate(self.frames.tolist()):
            tokens, needed = self.tokens[row], frames_needed(self.tokens[row])
            if not len(tokens):
                reasons.append("its text is empty")
            elif tokenizer.unk is not None and tokenizer.unk in tokens:
                reasons.append(f"its text has {outside(self.texts[row], tokenizer)}, outside the vocabulary")
            elif self.seconds[row] and needed > frames and not self.config.join:
                many = f"its text of {len(tokens)} tokens needs {needed} frames, but the recording has {frames}"
                reasons.append(f"{many} ({self.seconds[row]:.2f} s): lower model.halvings, or check the text")
            else:
                continue
            rows.append(row)
        if not rows:
            return rows
        first = f"{self.table.where(rows[0])}: {reasons[0]}"
        if len(rows) > self.config.misfits or len(rows) == len(self.table):
            more = f" ({len(rows):,} of {len(self.table):,} rows like that; let them be left out: --set rows.misfits=N)"
            raise DataError(first + more)
        note(f"{len(rows):,} row(s) of {self.table.name} left out, the first: {first}")
        return rows

    def clips_of(self, epoch: int) -> list[Clip]:
        """What every clip of an epoch is made of: a pure function of (seed, epoch)."""
        if not self.config.join:
            return [Clip(np.array([row]), np.zeros(2)) for row in self.rows]
        dice = np.random.default_rng([self.seed, epoch, JOINING])
        order, (least, most), (low, high) = dice.permutation(self.rows), self.config.join, self.config.gap
        counts = dice.integers(least, most + 1, size=len(order) // least + 1)
        ends = np.cumsum(counts)
        parts = [part for part in np.split(order, ends[ends < len(order)]) if len(part) >= min(least, len(order))]
        return [Clip(part, dice.uniform(low, high, len(part) + 1)) for part in parts]

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """The numbers of every batch's clips, which are alike in length: a pure function of (seed, epoch)."""
        lengths = [self.seconds[clip.rows].sum() + clip.gaps.sum() for clip in self.clips(epoch)]
        hundredths = np.ceil(np.array(lengths)[:, None] * HUNDREDTHS).astype(np.int64)
        most = int(self.config.seconds_per_batch * HUNDREDTHS)
        return [batch + epoch * EPOCH for batch in bucket(hundredths, most, seed=self.seed, epoch=epoch)]

    def collate(self, numbers: Sequence[int] | NDArray[np.int64], *, plain: bool = False) -> ClipBatch:
        """These clips, changed at random unless `plain`: a pure function of seed, epoch and numbers."""
        epoch, own = epoch_of(numbers)
        clips = self.clips(epoch)
        waves, targets, texts, used = [], [], [], []
        for number in own.tolist():
            rows, parts = self.waves.read(clips[number].rows, some=self.config.join == ())
            if not len(rows):
                continue
            dice = np.random.default_rng([self.seed, epoch, number, NOISE])
            waves.append(self.joined(parts, clips[number].gaps, dice))
            tokens = [piece for row in rows for piece in (self.blanks, self.tokens[row])][1:]
            targets.append(np.concatenate(tokens).astype(np.int64))
            texts.append(" ".join(self.texts[row] for row in rows))
            used.append(number)
        seeds = [] if plain else [(self.seed, epoch, number) for number in used]
        changes = PLAIN if plain else self.config.augmentation
        features, lengths = self.extractor(changes.waves(waves, seeds))
        features = changes.spectrograms(features, lengths, seeds)
        counts = torch.tensor([len(row) for row in targets])
        return ClipBatch(features, lengths, torch.from_numpy(np.concatenate(targets)), counts, texts)

    def joined(self, parts: Sequence[Samples], gaps: NDArray[np.float64], dice: np.random.Generator) -> Samples:
        """Recordings with silence around them, and noise over all."""
        wave = parts[0]
        if self.config.join:
            silences = [np.zeros(round(gap * self.extractor.rate), np.float32) for gap in gaps]
            wave = np.concatenate(
                [silences[0], *(piece for pair in zip(parts, silences[1:], strict=False) for piece in pair)]
            )
        if self.config.snr:
            low, high = self.config.snr
            height = float(np.sqrt(np.square(wave).mean())) * 10 ** (-dice.uniform(low, high) / 20)
            wave = wave + height * dice.standard_normal(len(wave), np.float32)
        return wave

    def plain(self) -> Iterator[ClipBatch]:
        """All clips of the first epoch, unchanged."""
        for numbers in self.epoch(0):
            yield self.collate(numbers, plain=True)

    def describe(self, numbers: Sequence[int] | NDArray[np.int64]) -> str:
        epoch, own = epoch_of(numbers)
        clips = self.clips(epoch)
        return first_and_more([int(clips[number].rows[0]) for number in own], self.table.where)

    def lines(self) -> list[str]:
        """What the report says of the clips."""
        clips = self.clips(0)
        seconds = np.array([self.seconds[clip.rows].sum() + clip.gaps.sum() for clip in clips])
        tokens = np.array(
            [self.tokens.lengths[clip.rows].sum() + (len(clip.rows) - 1) * len(self.blanks) for clip in clips]
        )
        frames = np.array([self.frames[clip.rows].sum() for clip in clips])
        joined = f", each of {self.config.join[0]} to {self.config.join[1]} recordings" if self.config.join else ""
        return [
            f"clips: {len(clips):,}{joined}, {seconds.min():.1f} to {seconds.max():.1f} s, "
            f"{seconds.sum() / 60:,.1f} minutes",
            f"frames beside tokens: {np.median(frames):.0f} beside {np.median(tokens):.0f} (medians), "
            f"at least {float((frames / np.maximum(1, tokens)).min()):.1f} for each token",
        ]
