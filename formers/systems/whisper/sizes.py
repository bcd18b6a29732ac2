"""The section [model] of a recipe of Whisper: the sizes of a new model, or the checkpoint that it starts from."""

from __future__ import annotations

from dataclasses import dataclass

from formers.blocks.stack import StackConfig
from formers.errors import ConfigError
from formers.fields import check
from formers.models.whisper import WhisperConfig
from formers.systems.sizes import Layers, Share, Width


@dataclass(frozen=True, kw_only=True)
class WhisperSizes:
    """The sizes of a new model."""

    start: str = ""
    """A run, folder or hub id whose weights and tokenizer to start from; the sizes below are then its own."""
    ignore_keys: tuple[str, ...] = ()
    """Keys of its config.json to take for absent, which are not computed here and are known to change nothing."""
    dim: Width = 128
    """Width of the residual stream."""
    encoder_layers: Layers = 3
    """Blocks of the encoder."""
    decoder_layers: Layers = 2
    """Blocks of the decoder."""
    heads: Width = 4
    """Attention heads."""
    hidden: Width = 512
    """Width inside the feed-forward."""
    bands: Width = 80
    """Mel bands of a frame."""
    seconds: Width = 6
    """Of a window: longer recordings are cut, shorter ones padded."""
    length: Width = 64
    """Most tokens of a window."""
    dropout: Share = 0.1
    """Share of each residual branch and of the embeddings set to zero while training."""

    def __post_init__(self) -> None:
        check(self, "model")
        if self.dim % (2 * self.heads):
            raise ConfigError(f"model.dim ({self.dim}) must be an even multiple of model.heads ({self.heads})")

    @property
    def positions(self) -> int:
        """Of the encoder."""
        return 50 * self.seconds

    def config(self, vocab: int) -> WhisperConfig:
        """The whole config for a vocabulary."""
        encoder, decoder = (
            StackConfig(
                dim=self.dim, layers=layers, heads=self.heads, hidden=self.hidden, bias="qvo", dropout=self.dropout
            )
            for layers in (self.encoder_layers, self.decoder_layers)
        )
        return WhisperConfig(
            encoder=encoder, decoder=decoder, vocab=vocab, bands=self.bands, frames=self.positions, length=self.length
        )
