"""Learning to reconstruct: any pictures or documents, from the beginning or from a checkpoint.

inputs -> Autoencoder -> cross-entropy of pixels or words | squared error (variational: and the codes' divergence)
inputs -> VAE -> absolute or squared error, and the divergence of the latents; TinyVAE: the same of another's latents
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from formers.data.picture_report import picture_lines
from formers.data.words import commonest
from formers.errors import ConfigError
from formers.fields import Between, check
from formers.metrics.pictures import psnr, squared_error
from formers.models.autoencoder import Autoencoder
from formers.models.vae import VAE, TinyVAE, VAEConfig
from formers.pretrained.load import load_model
from formers.pretrained.loaded import Loaded
from formers.systems.begin import Beginning, Prepared, on_device
from formers.systems.memory import new_model
from formers.systems.reconstruction.data import CountedDocuments, PictureRepairs, counted
from formers.systems.reconstruction.latent import LatentCoder, coder_of
from formers.systems.reconstruction.repair import ReconstructionBatch, channels_of, summed_loss
from formers.systems.reconstruction.system import Reconstructor, open_reconstruction
from formers.systems.system import Report, Score
from formers.training.task import Loss


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig:
    """What is learned of what comes out."""

    loss: Literal["cross_entropy", "squared_error", "absolute_error"] = "cross_entropy"
    """cross_entropy of pixels as shares of white, squared_error or absolute_error; of documents always the
    cross-entropy of words. What is judged as the loss is the squared error in place of the absolute one."""
    space: Literal["ycbcr", "lab"] = "lab"
    """The colours that are predicted beside the lightness (rows.corruption grey)."""
    divergence: Annotated[float, Between(0)] = 1.0
    """How much the distance of codes from the standard normal distribution counts, summed over their numbers
    beside an error summed over pixels (model.variational; of latent about 1e-6 to 1e-2)."""

    def __post_init__(self) -> None:
        check(self, "task")


class ReconstructionTask:
    """What the trainer sees: the loss of what comes out, and scores on held-out rows."""

    def __init__(
        self,
        system: Reconstructor,
        validation: PictureRepairs | CountedDocuments,
        config: ReconstructionConfig,
        *,
        teacher: LatentCoder | None = None,
        scaled: bool = False,
    ) -> None:
        """teacher: whose latents a tiny one learns; scaled: the scale of latents is measured when they are saved."""
        self.system, self.model, self.validation, self.config = system, system.model, validation, config
        self.teacher, self.scaled = teacher, scaled
        self.format = torch.channels_last if system.config.convolutional else torch.contiguous_format
        self.model.to(memory_format=self.format)  # type: ignore[call-overload]

    def loss(self, batch: ReconstructionBatch) -> Loss:
        """Summed over pictures, or over the words of documents."""
        inputs = batch.inputs.to(self.system.device).contiguous(memory_format=self.format)
        coder, beside, weight = self.system.coder, {}, 1.0
        if self.teacher is not None:
            with torch.no_grad():
                latents = self.teacher.encode(inputs)
            outputs = coder.decode(latents)  # no weight is in both errors, so neither has to count more
            beside["latents"] = squared_error(coder.encode(inputs), latents).sum()
        elif coder.config.variational:
            outputs, beside["divergence"] = coder.sampled(inputs)
            weight = self.config.divergence
        else:
            outputs = coder(inputs)
        absolute = self.config.loss == "absolute_error"
        total, count = summed_loss(coder, outputs.float(), batch, absolute=absolute)
        parts = {"tokens" if coder.config.words else "pictures": count}
        parts |= {name: value.detach() for name, value in beside.items()}
        return Loss(total + weight * sum(beside.values()), count, parts)

    def evaluate(self) -> Report:
        """As the system does, and how well the latents of a teacher are read."""
        report, nearness = self.system.evaluate(self.validation), list[Tensor]()
        if self.teacher is None or isinstance(self.validation, CountedDocuments):
            return report
        for _, pictures in self.validation.order.plain():
            result = self.system.coder.decode(self.teacher.encode(self.system.placed(pictures)))
            nearness.append(psnr(result.clamp(0, 1).float().cpu(), pictures))
        value = float(torch.cat(nearness).double().mean())
        return replace(report, scores=[*report.scores, Score("psnr_of_latents", value, "dB", lower_is_better=False)])

    def save(self, folder: Path) -> None:
        """As the system does, with the scale of its latents."""
        if self.scaled and isinstance(self.validation, PictureRepairs):
            coder = self.system.coder
            assert isinstance(coder, LatentCoder)
            _, pictures = next(self.validation.order.plain())
            deviation = float(coder.drawn(self.system.placed(pictures))[0].std())
            scale = float(f"{1 / deviation:.5g}") if deviation > 0 else 1.0  # without any latent there is none
            coder.model.config = replace(coder.model.config, scale=scale)
        self.system.save(folder)

    def sample(self) -> Sequence[tuple[str, str | bytes]]:
        """Pictures as they were, as they went in, as they came out."""
        if isinstance(self.validation, CountedDocuments):
            return []
        from formers.systems.reconstruction.looks import before_and_after

        content = io.BytesIO()
        before_and_after(self.system, self.validation).savefig(content, format="png")
        return [("before and after", content.getvalue())]

    def set_recompute(self) -> None:
        raise ConfigError("train.recompute is for transformers, but this is an autoencoder; set it to false")


def reconstructor(start: Loaded) -> Reconstructor:
    """The model to begin with. Raises ConfigError for another kind."""
    if not isinstance(start.model, Autoencoder | VAE | TinyVAE):
        raise ConfigError(f"{start.folder} is a {type(start.model).__name__}, expected an autoencoder")
    return open_reconstruction(start)


def new_picture_model(beginning: Beginning) -> Autoencoder | VAE | TinyVAE:
    """As the recipe says. Raises ConfigError for what its kind does not do."""
    rows, sizes, task = beginning.rows, beginning.sizes, beginning.task
    channels = 1 if rows.grey else 3
    if not sizes.of_latents:
        into, out = channels_of(rows.task, channels)
        output = "logits" if task.loss == "cross_entropy" and rows.task != "colour" else "values"
        shape: Any = {"outputs": out, "task": rows.task, "space": task.space, "output": output}
        return new_model(Autoencoder, sizes.config((into, *sizes.side), **shape))
    config = sizes.latent_config(channels)
    return new_model(VAE, config) if isinstance(config, VAEConfig) else new_model(TinyVAE, config)


def check_latents(beginning: Beginning, system: Reconstructor) -> None:
    """Refuse what is not for autoencoders of latents, or only for them. Raises ConfigError."""
    rows, task, kind = beginning.rows, beginning.task, type(system.model).__name__
    if isinstance(system.coder, LatentCoder) and task.loss == "cross_entropy":
        raise ConfigError(f'task.loss "cross_entropy" is of logits, but a {kind} gives colours; '
                          'write loss = "absolute_error", or "squared_error"')  # fmt: skip
    if system.config.words:
        return
    if (read := system.config.inputs[0]) != (expected := channels_of(rows.task, 1 if rows.grey else 3)[0]):
        raise ConfigError(f"the model reads {read} channels, but rows.grey and rows.corruption give it {expected}")


def teacher_of(beginning: Beginning, system: Reconstructor) -> LatentCoder | None:
    """The model of [parts] whose latents are learned. Raises ConfigError where they are not as the recipe's are."""
    check_latents(beginning, system)
    place = beginning.parts.get("teacher")
    if place is None:
        return None
    if not isinstance(own := system.model, TinyVAE):
        raise ConfigError(f'parts.teacher is for model.kind "tiny", but this is a {type(own).__name__}; leave it empty')
    teacher = load_model(place).model
    assert isinstance(teacher, VAE)  # the classes of the part
    for name in ("channels", "latent_channels", "factor"):
        got, expected = getattr(own.config, name), getattr(teacher.config, name)
        if got != expected:
            raise ConfigError(f"the {name} of the model ({got}) must be those of parts.teacher, {place} ({expected})")
    return LatentCoder(on_device(teacher).requires_grad_(False), beginning.sizes.side)


def prepare(beginning: Beginning) -> Prepared:
    """Rows, model and task of a recipe, and the lines of the report on them."""
    rows, source, sizes = beginning.rows, beginning.source, beginning.sizes
    start = None if beginning.start is None else beginning.loaded()
    old = None if start is None else reconstructor(start)
    model: Any
    table, held_out = beginning.tables()
    lines = [f"training data: {table.described}", f"examples: {len(table):,}"]
    batches: PictureRepairs | CountedDocuments
    validation: PictureRepairs | CountedDocuments
    if rows.kind == "documents":
        words = list(old.config.words) if old else commonest(table.columns[rows.text], rows.words, skip=rows.skip)
        if not words:
            raise ConfigError(f'{sizes.start or table.name} has no words to count, but rows.kind is "documents"')
        model = old.model if old else new_model(Autoencoder, sizes.config((len(words),), words=words))
        table, counts = counted(table, rows, words, drop=source.drop_empty)
        held_out, aside = counted(held_out, rows, words, drop=source.drop_empty)
        batches = CountedDocuments(table, counts, rows, seed=source.seed)
        validation = CountedDocuments(held_out, aside, rows, seed=source.seed)
        preprocessor = None
        lines.append(f"words: the {len(words):,} commonest, {counts.lengths.mean():.1f} of them in a document")
    else:
        if old and (old.config.words or old.config.task != rows.task):
            kind = "read documents" if old.config.words else f"{old.config.task} pictures"
            raise ConfigError(f"{sizes.start} was made to {kind}, but rows.corruption says {rows.task}")
        preprocessor = old.preprocessor if old else rows.preprocessor(sizes.side)
        model = old.model if old else new_picture_model(beginning)
        config = coder_of(model, sizes.side).config
        batches = PictureRepairs(table, preprocessor, rows, config, seed=source.seed)
        validation = PictureRepairs(held_out, preprocessor, rows, config, seed=source.seed)
        lines += picture_lines(table, held_out, label=rows.label)
    lines.append(f"validation: {held_out.name}, {len(held_out):,} examples")
    system = Reconstructor(on_device(model), preprocessor)
    shape = system.config.inputs[:1] if system.config.convolutional else (math.prod(system.config.inputs),)
    lines.append(f"to {system.config.task}: {' - '.join(map(str, (*shape, *system.config.sizes)))}, and back")
    teacher = teacher_of(beginning, system)
    if scaled := isinstance(system.coder, LatentCoder) and not old and teacher is None:
        lines.append("scale of latents: measured on validation pictures whenever the model is saved")
    task = ReconstructionTask(system, validation, beginning.task, teacher=teacher, scaled=scaled)
    return beginning.prepared(task, batches, lines, batch=f"{rows.pictures.batch:,} {rows.kind}")
