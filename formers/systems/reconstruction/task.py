"""Learning to reconstruct: any pictures or documents, from the beginning or from a checkpoint.

inputs -> Autoencoder -> cross-entropy of pixels or words | squared error (variational: and the codes' divergence)
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch

from formers.data.picture_report import picture_lines
from formers.data.words import commonest
from formers.errors import ConfigError
from formers.fields import Between, check
from formers.models.autoencoder import Autoencoder
from formers.systems.begin import Beginning, Prepared, on_device
from formers.systems.memory import new_model
from formers.systems.reconstruction.data import Documents, PictureRepairs, counted
from formers.systems.reconstruction.repair import ReconstructionBatch, channels_of, summed_loss
from formers.systems.reconstruction.system import Reconstructor
from formers.training.task import Loss


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig:
    """What is learned of what comes out."""

    loss: Literal["cross_entropy", "squared_error"] = "cross_entropy"
    """cross_entropy of pixels as shares of white, or squared_error; of documents always the cross-entropy of words."""
    space: Literal["ycbcr", "lab"] = "lab"
    """The colours that are predicted beside the lightness (rows.corruption grey)."""
    divergence: Annotated[float, Between(0)] = 1.0
    """How much the distance of codes from the standard normal distribution counts (model.variational)."""

    def __post_init__(self) -> None:
        check(self, "task")


class ReconstructionTask:
    """What the trainer sees: the loss of what comes out, and scores on held-out rows."""

    def __init__(
        self, system: Reconstructor, validation: PictureRepairs | Documents, config: ReconstructionConfig
    ) -> None:
        self.system, self.model, self.validation, self.config = system, system.model, validation, config
        self.save = system.save
        self.evaluate = partial(system.evaluate, validation)
        self.format = torch.channels_last if self.model.config.convolutional else torch.contiguous_format
        self.model.to(memory_format=self.format)  # type: ignore[call-overload]

    def loss(self, batch: ReconstructionBatch) -> Loss:
        """Summed over pictures, or over the words of documents."""
        inputs = batch.inputs.to(self.system.device).contiguous(memory_format=self.format)
        divergence = None
        if self.model.config.variational:
            outputs, divergence = self.model.sampled(inputs)
        else:
            outputs = self.model(inputs)
        total, count = summed_loss(self.model, outputs.float(), batch)
        parts = {"tokens" if self.model.config.words else "pictures": count}
        if divergence is None:
            return Loss(total, count, parts)
        return Loss(total + self.config.divergence * divergence, count, {**parts, "divergence": divergence.detach()})

    def sample(self) -> Sequence[tuple[str, str | bytes]]:
        """Pictures as they were, as they went in, as they came out."""
        if isinstance(self.validation, Documents):
            return []
        from formers.systems.reconstruction.looks import before_and_after

        content = io.BytesIO()
        before_and_after(self.system, self.validation).savefig(content, format="png")
        return [("before and after", content.getvalue())]

    def set_recompute(self) -> None:
        raise ConfigError("train.recompute is for transformers, but this is an autoencoder; set it to false")


def prepare(beginning: Beginning) -> Prepared:
    """Rows, model and task of a recipe, and the lines of the report on them."""
    rows, source, sizes = beginning.rows, beginning.source, beginning.sizes
    start = None if beginning.start is None else beginning.loaded()
    old: Any = None if start is None else start.model
    if old is not None and not isinstance(old, Autoencoder):
        raise ConfigError(f"{sizes.start} is a {type(old).__name__}, expected an autoencoder")
    model: Autoencoder
    table, held_out = beginning.tables()
    lines = [f"training data: {table.described}", f"examples: {len(table):,}"]
    batches: PictureRepairs | Documents
    validation: PictureRepairs | Documents
    if rows.kind == "documents":
        words = old.config.words if old else commonest(table.columns[rows.text], rows.words, skip=rows.skip)
        if not words:
            raise ConfigError(f'{sizes.start or table.name} has no words to count, but rows.kind is "documents"')
        model = old or new_model(Autoencoder, sizes.config((len(words),), words=words))
        table, counts = counted(table, rows, words, drop=source.drop_empty)
        held_out, aside = counted(held_out, rows, words, drop=source.drop_empty)
        batches = Documents(table, counts, rows, seed=source.seed)
        validation = Documents(held_out, aside, rows, seed=source.seed)
        preprocessor = None
        lines.append(f"words: the {len(words):,} commonest, {counts.lengths.mean():.1f} of them in a document")
    else:
        if old and (old.config.words or old.config.task != rows.task):
            kind = "read documents" if old.config.words else f"{old.config.task} pictures"
            raise ConfigError(f"{sizes.start} was made to {kind}, but rows.corruption says {rows.task}")
        preprocessor = start.preprocessor if start else rows.preprocessor(sizes.side)
        assert preprocessor is not None
        into, out = channels_of(rows.task, 1 if rows.grey else 3)
        space = beginning.task.space
        output = "values" if beginning.task.loss == "squared_error" or rows.task == "colour" else "logits"
        model = old or new_model(
            Autoencoder, sizes.config((into, *sizes.side), outputs=out, task=rows.task, space=space, output=output)
        )
        batches = PictureRepairs(table, preprocessor, rows, model.config, seed=source.seed)
        validation = PictureRepairs(held_out, preprocessor, rows, model.config, seed=source.seed)
        lines += picture_lines(table, held_out, label=rows.label)
    lines.append(f"validation: {held_out.name}, {len(held_out):,} examples")
    shape = model.config.inputs[:1] if model.config.convolutional else (math.prod(model.config.inputs),)
    lines.append(f"to {model.config.task}: {' - '.join(map(str, (*shape, *model.config.sizes)))}, and back")
    task = ReconstructionTask(Reconstructor(on_device(model), preprocessor), validation, beginning.task)
    return beginning.prepared(task, batches, lines, batch=f"{rows.batch:,} {rows.kind}")
