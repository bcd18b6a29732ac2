"""The section [model] of a recipe of speech: the sizes of a new Conformer, or the checkpoint that it starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from formers.blocks.stack import StackConfig
from formers.errors import ConfigError
from formers.fields import Between, Count, check
from formers.models.conformer import ConformerConfig, ConformerEncoderConfig
from formers.models.hybrid import HybridConfig
from formers.systems.sizes import Layers, Share, Width, of_stack


@dataclass(frozen=True, kw_only=True)
class ConformerSizes:
    """The sizes of a new Conformer, in the form of Parakeet (FastConformer)."""

    start: str = ""
    """A run, folder or hub id whose weights and tokens to start from; the sizes below are then its own."""
    ignore_keys: tuple[str, ...] = ()
    """Keys of its config.json to take for absent, which are not computed here and are known to change nothing."""
    mels: Annotated[int, Between(2, 512)] = 80
    """Mel bands of a frame of a hundredth of a second."""
    halvings: Annotated[int, Between(1, 5)] = 2
    """How often time, and mels, are halved before the first block: 2 is a frame every 40 ms."""
    channels: Width = 64
    """Channels of the convolutions that do so."""
    dim: Width = 144
    """Width of the residual stream."""
    layers: Layers = 4
    """Blocks of the Conformer."""
    heads: Width = 4
    """Attention heads."""
    hidden: Width = 576
    """Width inside the feed-forwards."""
    kernel: Annotated[int, Between(1, 1001)] = 9
    """Frames that a block's convolution sees, an odd number."""
    dropout: Share = 0.1
    """Share of each residual branch set to zero while training."""
    chunk: Count = 0
    """Frames (of the blocks) that are read together, for streaming (0: all)."""
    left: Count = 0
    """Chunks before its own that a frame looks back to."""
    decoder_layers: Annotated[int, Between(0, 1000)] = 0
    """Blocks of a decoder that learns beside CTC and reads the Conformer (0: CTC alone)."""

    def __post_init__(self) -> None:
        check(self, "model")
        if self.start:
            return
        if self.mels % 2**self.halvings:
            raise ConfigError(f"model.mels ({self.mels}) must be a multiple of {2**self.halvings} (model.halvings)")
        if self.dim % (2 * self.heads):
            raise ConfigError(f"model.dim ({self.dim}) must be a multiple of 2 * model.heads ({2 * self.heads})")
        if not self.kernel % 2:
            raise ConfigError(f"model.kernel ({self.kernel}) must be odd, so that a frame is in the middle of it")

    def config(self, vocab: int) -> ConformerConfig | HybridConfig:
        """The whole config of a new model of so many tokens, to which the blank comes as the last."""
        stack = StackConfig(layers=self.layers, activation="silu", **of_stack(self))
        encoder = ConformerEncoderConfig(
            stack=stack,
            mels=self.mels,
            halvings=self.halvings,
            channels=self.channels,
            kernel=self.kernel,
            chunk=self.chunk,
            left=self.left,
        )
        if not self.decoder_layers:
            return ConformerConfig(encoder=encoder, vocab=vocab + 1, blank=vocab)
        decoder = StackConfig(layers=self.decoder_layers, **of_stack(self))
        return HybridConfig(encoder=encoder, decoder=decoder, vocab=vocab + 1, blank=vocab)
