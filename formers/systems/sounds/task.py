"""Learning to label sounds: a spectrogram transformer, new, or from a checkpoint of sounds or of pictures.

samples -> random changes, mixing -> spectrogram -> SpectrogramTransformer -> logits -> cross-entropy | binary
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import torch
from numpy.typing import NDArray

from formers.data.labels import learn_labels
from formers.data.sound_report import sound_lines
from formers.errors import ConfigError
from formers.fields import Between, Part, check
from formers.models.spectrogram import SpectrogramConfig, SpectrogramTransformer
from formers.sound.features import usual_extractor
from formers.systems.begin import Beginning, Prepared, on_device
from formers.systems.labelling import LABELS, LabelLearning, summed_loss
from formers.systems.sound_bodies import begun_body
from formers.systems.sounds.data import SoundBatch, SoundBatches
from formers.systems.sounds.system import SoundModel
from formers.training.task import Loss

SAMPLES = 3  # sounds of the validation data that are shown
MEASURED = 2000  # sounds from which mean and deviation are taken


@dataclass(frozen=True, kw_only=True)
class SoundsConfig:
    """What is learned of a sound, and how."""

    labels: Annotated[LabelLearning, Part()] = LABELS
    """How labels are learned."""
    mixup: Annotated[float, Between(0)] = 0.0
    """Sounds are added to others of their batch, in shares from Beta(mixup, mixup), such as 10 (0: not)."""

    def __post_init__(self) -> None:
        check(self, "task")


class SoundsTask:
    """What the trainer sees: the loss of the labels, and scores on held-out sounds."""

    def __init__(
        self, sounds: SoundModel, validation: SoundBatches, config: SoundsConfig, weights: NDArray[Any] | None = None
    ) -> None:
        """weights: how much each label counts; None: all the same."""
        self.sounds, self.validation, self.config = sounds, validation, config
        self.model, self.save = sounds.model, sounds.save
        self.evaluate = partial(sounds.evaluate, validation)
        self.weights = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=sounds.device)

    def loss(self, batch: SoundBatch) -> Loss:
        """Summed over the sounds (of several labels, over these too); a weighted one counts as its weight."""
        total, count = summed_loss(
            self.sounds.kind,
            self.model(batch.features.to(self.sounds.device)).float(),
            batch.labels.to(self.sounds.device),
            weights=self.weights,
            smoothing=self.config.labels.label_smoothing,
        )
        return Loss(total, count, {"sounds": len(batch.features)})

    def sample(self) -> Sequence[tuple[str, str]]:
        """Sounds of the validation data with their likeliest labels."""
        rows, waves = self.validation.waves.read(range(min(SAMPLES, len(self.validation))))
        found = self.sounds.classify([[wave] for wave in waves])
        names = [self.validation.table.where(int(row)) for row in rows]
        return [
            (name, self.sounds.likeliest(name, row, 3, alone=True).line().replace("\t", ", "))
            for name, row in zip(names, found, strict=True)
        ]

    def set_recompute(self) -> None:
        self.model.body.stack.recompute = True


def prepare(beginning: Beginning) -> Prepared:
    """Labelled sounds, model and task of a recipe, and the lines of the report on them."""
    rows, config, source = beginning.rows, beginning.task, beginning.source
    table, held_out = beginning.tables()
    loaded = None if beginning.start is None else beginning.loaded()
    old = loaded.model if loaded is not None and isinstance(loaded.model, SpectrogramTransformer) else None
    body, size = begun_body(beginning.sizes, loaded)
    known = () if old is None else old.config.labels
    labels = learn_labels(table.table, rows.label, config.labels.kind, known=known, separator=rows.separator)
    if labels.kind == "number":
        what = f'the column "{rows.label}" holds numbers with fractions, expected labels'
        raise ConfigError(f"{what}; choose another with --set rows.label=COLUMN")
    mels, frames = body.config.height, body.config.width
    extractor = usual_extractor("fbank", mels=mels, frames=frames)
    if loaded is not None and old is not None:
        extractor = replace(SoundModel(old, loaded.extractor).extractor, frames=frames)
    batches = SoundBatches(table, extractor, rows, labels, seed=source.seed, mixup=config.mixup)
    if old is None:
        some = range(0, len(table), max(1, len(table) // MEASURED))
        batches.extractor = extractor = extractor.measured(batches.waves.read(some)[1])
    validation = SoundBatches(held_out, extractor, rows, labels, seed=source.seed)
    model = SpectrogramTransformer(SpectrogramConfig(body=body.config, labels=labels.names, kind=labels.kind))
    model.body, head = body, f"a new head of {len(labels.names)} label(s)"
    if old is not None and (old.config.labels, old.config.kind) == (labels.names, labels.kind):
        model.norm, model.out, head = old.norm, old.out, f"the checkpoint's head of {len(labels.names)} label(s) kept"
    weights = config.labels.weights(labels, batches.labels)
    task = SoundsTask(SoundModel(on_device(model), extractor), validation, config, weights)
    lines = [
        f"training data: {table.described}",
        f"examples: {len(table):,}",
        *sound_lines(table, held_out, label=rows.label),
        *config.labels.lines(labels, batches.labels),
        f"validation: {held_out.name}, {len(held_out):,} examples",
        size,
        head,
        f"spectrograms: mean {extractor.mean:.2f}, deviation {extractor.std:.2f} of the logarithms",
    ]
    return beginning.prepared(task, batches, lines, batch=f"{rows.batch:,} sounds")
