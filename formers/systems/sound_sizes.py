"""The section [model] of a recipe of sounds: the sizes of a new model, or the checkpoint that it starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from formers.blocks.stack import StackConfig
from formers.errors import ConfigError
from formers.fields import Between, check
from formers.models.spectrogram import spectrogram_body
from formers.models.vit import ViTConfig
from formers.systems.sizes import Layers, Share, Width


@dataclass(frozen=True, kw_only=True)
class SoundSizes:
    """The sizes of a new model of sounds."""

    start: str = ""
    """A run, folder or hub id whose weights to start from: a model of sounds, or of pictures (ViT, DeiT), whose colours
    are summed; dim, layers, heads, hidden and patch are then its own."""
    ignore_keys: tuple[str, ...] = ()
    """Keys of its config.json to take for absent, which are not computed here and are known to change nothing."""
    seconds: Annotated[float, Between(0, 60)] = 0.0
    """Of sound that it reads at once: shorter clips are padded, longer ones read in parts (0: the checkpoint's; of a
    new model 1)."""
    mels: Annotated[int, Between(8, 512)] = 128
    """Bands of the spectrogram."""
    patch: Width = 16
    """Side of a patch, in bands and frames of 10 ms."""
    stride: Width = 10
    """From one patch to the next, in both directions: below `patch` they overlap."""
    dim: Width = 192
    """Width of the residual stream."""
    layers: Layers = 6
    """Blocks."""
    heads: Width = 3
    """Attention heads."""
    hidden: Width = 768
    """Width inside the feed-forward."""
    dropout: Share = 0.0
    """Share of each residual branch and of the embeddings set to zero while training."""
    drop_path: Share = 0.0
    """Stochastic depth: how often the last block is left out while training, those before it less."""

    def __post_init__(self) -> None:
        check(self, "model")
        if self.start:
            return
        if self.dim % self.heads:
            raise ConfigError(f"model.dim ({self.dim}) must be a multiple of model.heads ({self.heads})")
        if self.stride > self.patch:
            raise ConfigError(f"model.stride ({self.stride}) must be at most model.patch ({self.patch})")
        if self.patch > min(self.mels, self.frames or 100):
            raise ConfigError(
                f"model.patch ({self.patch}) must be at most model.mels ({self.mels}) and the {self.frames} frames of "
                f"model.seconds"
            )

    @property
    def frames(self) -> int:
        """Of the spectrogram, 10 ms apart; 0: the checkpoint's."""
        return round(100 * self.seconds)

    def config(self) -> ViTConfig:
        """Of a new body."""
        stack = StackConfig(
            dim=self.dim, layers=self.layers, heads=self.heads, hidden=self.hidden, norm_eps=1e-6, dropout=self.dropout
        )
        plain = ViTConfig(stack=stack, patch=self.patch, drop_path=self.drop_path)
        stride = (self.stride, self.stride)
        return spectrogram_body(plain, mels=self.mels, frames=self.frames or 100, stride=stride)
