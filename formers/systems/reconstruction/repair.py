"""What a model that restores pictures reads, what should come out, and how that becomes a picture again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from formers.images.colour import merged, parted
from formers.models.autoencoder import Autoencoder, AutoencoderConfig
from formers.systems.reconstruction.classical_methods import filled
from formers.systems.reconstruction.latent import LatentCoder


@dataclass(frozen=True)
class ReconstructionBatch:
    inputs: Tensor
    """What the model reads."""
    targets: Tensor
    """What should come out: pixels, colours, or the counts of words."""
    mask: Tensor | None = None
    """(rows, 1, height, width), True where something is to be filled in, and only there it counts."""


def channels_of(task: str, channels: int) -> tuple[int, int]:
    """How many channels go into a model and come out of it, for pictures of so many."""
    return {"colour": (1, 2), "inpaint": (channels + 1, channels)}.get(task, (channels, channels))


def inputs_of(config: AutoencoderConfig, pictures: Tensor, mask: Tensor | None) -> Tensor:
    """What a model reads of pictures, (n, channels, height, width) in 0 to 1: their lightness; or with their holes
    filled from the edge, which is nearly right already, and the mask."""
    if config.task == "colour":
        return parted(pictures, config.space)[0]
    if config.task == "inpaint":
        assert mask is not None
        mask = mask.expand(len(pictures), -1, -1, -1)
        return torch.cat([filled(pictures, mask), mask.to(pictures.dtype)], 1)
    return pictures


def targets_of(config: AutoencoderConfig, pictures: Tensor) -> Tensor:
    """What should come out for pictures as they ought to be."""
    return parted(pictures, config.space)[1] if config.task == "colour" else pictures


def restored(model: Autoencoder | LatentCoder, outputs: Tensor, pictures: Tensor, mask: Tensor | None) -> Tensor:
    """Pictures in 0 to 1 of what comes out for pictures as they went in: what the mask shows, or their lightness, is
    theirs."""
    if model.config.task == "colour":
        return merged(parted(pictures, model.config.space)[0], outputs, model.config.space)
    values = model.values(outputs)
    return values if mask is None else torch.where(mask, values, pictures)


def summed_loss(
    model: Autoencoder | LatentCoder, outputs: Tensor, batch: ReconstructionBatch, *, absolute: bool = False
) -> tuple[Tensor, float | Tensor]:
    """What is learned, summed, and over how many: of pictures the cross-entropy of their pixels or the squared error
    (`absolute`: the absolute one), only where a mask hides something; of documents the cross-entropy of each of their
    words."""
    targets, mask = batch.targets.to(outputs), batch.mask
    if model.config.words:
        return -(targets * outputs.log_softmax(1)).sum(), targets.sum()
    weight = None if mask is None else mask.to(outputs)
    if model.config.output == "logits":
        return F.binary_cross_entropy_with_logits(outputs, targets, weight, reduction="sum"), len(outputs)
    error = outputs - targets if weight is None else (outputs - targets) * weight
    return (error.abs() if absolute else error.square()).sum(), len(outputs)
