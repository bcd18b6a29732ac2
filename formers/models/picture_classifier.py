"""What stands on a body of vision: one label of a picture, or several.

pictures -> ViT or ResNet -> pool -> dense -> logits
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from formers.models.resnet import ResNet, ResNetConfig
from formers.models.vit import ViT, ViTConfig, initialise

PicturePooling = Literal["pool", "mean", "first_and_mean", "teacher"]


@dataclass(frozen=True, kw_only=True)
class PictureHeadConfig:
    """A body and what its head needs to know."""

    body: ViTConfig | ResNetConfig
    labels: tuple[str, ...] = ()
    """Names of the classes, in the order of the logits."""
    kind: Literal["one", "several"] = "one"
    """One of the labels, or any number of them."""
    pooling: PicturePooling = "pool"
    """What is read: the body's own vector, the mean of patches (SigLIP), the class token beside it (DINOv2); or each
    class token by a head of its own, whose logits are averaged (DeiT with its teacher)."""


class PictureClassifier(nn.Module):
    def __init__(self, config: PictureHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.body = ViT(config.body) if isinstance(config.body, ViTConfig) else ResNet(config.body)
        width = config.body.stack.dim if isinstance(config.body, ViTConfig) else config.body.widths[-1]
        width *= 2 if config.pooling == "first_and_mean" else 1
        teacher = config.pooling == "teacher"
        heads = config.body.class_tokens if teacher and isinstance(config.body, ViTConfig) else 1
        self.out = nn.ModuleList(nn.Linear(width, len(config.labels)) for _ in range(heads))
        self.out.apply(initialise)

    def forward(self, pictures: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch labels"]:
        return self.label(self.read(pictures))

    def read(self, pictures: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch heads features"]:
        """What each head reads of a picture."""
        x = self.body(pictures)
        return x[:, : len(self.out)] if self.config.pooling == "teacher" else self.features(x)[:, None]

    def label(self, x: Float[Tensor, "batch heads features"]) -> Float[Tensor, "batch labels"]:
        """The logits of what was read."""
        logits = [head(x[:, i]) for i, head in enumerate(self.out)]
        return logits[0] if len(logits) == 1 else torch.stack(logits).mean(0)

    def features(self, x: Tensor) -> Float[Tensor, "batch features"]:
        """What the head reads of what the body gives."""
        if isinstance(self.body, ResNet) or self.config.pooling in ("pool", "teacher"):
            return self.body.pool(x)
        mean = x[:, self.body.leading :].mean(1)
        return mean if self.config.pooling == "mean" else torch.cat([x[:, 0], mean], 1)
