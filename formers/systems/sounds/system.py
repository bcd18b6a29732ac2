"""Sounds: the labels of a sound, of each of its seconds, and its vector.

samples -> parts of the model's length -> extractor -> SpectrogramTransformer -> mean over the parts, by their length
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.errors import ConfigError, DataError
from formers.models.spectrogram import SpectrogramTransformer
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded
from formers.sound.decode import Samples
from formers.sound.features import FeatureExtractor
from formers.systems.labelling import label_report
from formers.systems.ranked_labels import RankedLabels, likeliest
from formers.systems.reading import read_by, reading
from formers.systems.system import Report

if TYPE_CHECKING:
    from formers.data.labels import LabelKind
    from formers.systems.sounds.data import SoundBatches

Vectors = NDArray[np.float32]
Blocks = Iterable[Samples]
AT_ONCE = 32  # parts that are read together


class SoundPart(NamedTuple):
    """A part of a sound, which counts for row `row` of what is computed."""

    row: int
    samples: Samples
    frames: int
    """So many it is padded to."""


class SoundModel:
    """A model of sounds with its extractor: what `formers.load` gives for such models."""

    def __init__(
        self, model: SpectrogramTransformer, extractor: FeatureExtractor | None, *, family: str | None = None
    ) -> None:
        self.model, self._extractor, self.family = model, extractor, family

    @property
    def extractor(self) -> FeatureExtractor:
        """Raises ConfigError for a model without one, or with another's."""
        body, read = self.model.config.body, read_by(self._extractor, "sounds")
        if read.kind == "wave" or read.mels != body.height:
            got = "reads samples" if read.kind == "wave" else f"gives {read.mels} mels"
            raise ConfigError(f"preprocessor_config.json {got}, but the model reads {body.height} mels")
        return read

    @property
    def labels(self) -> tuple[str, ...]:
        """Raises ConfigError for a model without a head."""
        if not self.model.config.labels:
            raise ConfigError(
                "this model is a SpectrogramTransformer without labels; train some onto it: formers train sounds "
                "--set model.start=MODEL"
            )
        return self.model.config.labels

    @property
    def kind(self) -> LabelKind:
        """one or several."""
        return self.model.config.kind

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def width(self) -> int:
        """Frames that the model reads at once."""
        return self.extractor.frames or self.model.config.body.width

    def classify(self, sounds: Sequence[Blocks], *, fit: bool = False) -> Vectors:
        """(sounds, labels): the probability of each label; a sound is its samples in blocks, at the extractor's rate.

        fit: a grid of patches as long as the sound, which is faster, instead of padding to the model's own length.
        Raises DataError for a sound without samples.
        """
        assert self.labels
        return self.means(chain.from_iterable(self.parts(row, blocks, fit) for row, blocks in enumerate(sounds)))

    def timeline(self, blocks: Blocks) -> Vectors:
        """(seconds, labels): the same of each second of a sound, which is read alone."""
        assert self.labels
        second = self.extractor.rate // self.extractor.hop
        frames = min(self.width, second)
        parts = self.cut(blocks, frames)
        seconds = ((place * frames + frames // 2) // second for place in range(2**40))
        return self.means(SoundPart(row, samples, frames) for row, samples in zip(seconds, parts, strict=False))

    def encode(self, sounds: Sequence[Blocks], *, fit: bool = False) -> Vectors:
        """(sounds, dim): the vector that a head reads, or would read; the mean over the parts of a long sound."""
        parts = chain.from_iterable(self.parts(row, blocks, fit) for row, blocks in enumerate(sounds))
        return self.means(parts, self.model.vectors)

    def parts(self, row: int, blocks: Blocks, fit: bool = False) -> Iterator[SoundPart]:
        """A sound in parts that the model reads at once."""
        read, body = self.extractor, self.model.config.body
        step = (body.stride or (body.patch,) * 2)[1]
        empty = True
        for samples in self.cut(blocks, self.width):
            frames, empty = self.width, False
            if fit:
                own = max(0, (len(samples) - read.window) // read.hop + 1 - body.patch)
                frames = min(frames, body.patch + -(-own // step) * step)
            yield SoundPart(row, samples, frames)
        if empty:
            raise DataError("the sound has no samples")

    def cut(self, blocks: Blocks, frames: int) -> Iterator[Samples]:
        """The samples of so many frames each, the last one of what is left: hours take no more memory than seconds.

        A rest of less than a window is part of the one before.
        """
        read = self.extractor
        length, step = (frames - 1) * read.hop + read.window, frames * read.hop
        waiting, first = np.empty(0, np.float32), True
        for block in blocks:
            waiting = np.concatenate([waiting, block])
            while len(waiting) >= step + read.window:
                yield waiting[:length]
                waiting, first = waiting[step:], False
        if len(waiting) and (first or len(waiting) > read.window):
            yield waiting[:length]

    def means(self, parts: Iterable[SoundPart], compute: Callable[[Tensor], Tensor] | None = None) -> Vectors:
        """(rows, width): the mean of what `compute` gives for the parts of each row, by how long they are.

        compute: (parts, width) of spectrograms; None: probabilities.
        """
        compute = compute or self.probabilities
        sums: dict[int, Tensor] = {}
        weights: dict[int, int] = {}
        waiting: dict[int, list[SoundPart]] = {}

        def add(some: list[SoundPart]) -> None:
            extractor = replace(self.extractor, frames=some[0].frames)
            features, _ = extractor([part.samples for part in some])
            like = next(self.model.parameters())
            for part, output in zip(some, compute(features.to(like)).float().cpu(), strict=True):
                sums[part.row] = sums.get(part.row, 0) + output * len(part.samples)
                weights[part.row] = weights.get(part.row, 0) + len(part.samples)
            some.clear()

        with reading(self.model):
            for part in parts:
                some = waiting.setdefault(part.frames, [])
                some.append(part)
                if len(some) == AT_ONCE:
                    add(some)
            for some in filter(None, waiting.values()):
                add(some)
        return torch.stack([sums[row] / weights[row] for row in sorted(sums)]).numpy()

    def probabilities(self, spectrograms: Tensor) -> Tensor:
        logits = self.model(spectrograms).float()
        return logits.softmax(-1) if self.kind == "one" else logits.sigmoid()

    def likeliest(self, sound: str, row: Vectors, top: int, *, alone: bool = False) -> RankedLabels:
        """The `top` likeliest labels of a sound whose probabilities are `row`."""
        return likeliest(sound, row, self.labels, top, kind=self.kind, alone=alone, word="sound")

    def evaluate(self, batches: SoundBatches, *, fit: bool = False) -> Report:
        """The loss (no smoothing, no weights) and the scores of the sounds, unchanged."""
        rows: list[int] = []

        def parts() -> Iterator[SoundPart]:
            for row, samples in batches.plain():
                rows.append(row)
                yield from self.parts(len(rows) - 1, [samples], fit)

        probabilities = torch.from_numpy(self.means(parts()))
        expected = batches.labels[rows]
        facts = {"sounds": len(expected), "unreadable": len(batches.waves.refused)}
        return label_report(self.kind, self.labels, probabilities, expected, facts)

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout: of the family where that has a word for it, else our own."""
        save_model(folder, self.model, preprocessor=self._extractor, system="sounds")


def open_sounds(loaded: Loaded) -> SoundModel:
    """The system of a loaded checkpoint."""
    assert isinstance(loaded.model, SpectrogramTransformer)  # the registry names this opener for such models only
    return SoundModel(loaded.model, loaded.extractor, family=loaded.family)
