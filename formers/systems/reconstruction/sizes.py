"""The section [model] of a recipe of autoencoders: the sizes of a new one, or the checkpoint that it starts from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from formers.errors import ConfigError
from formers.fields import Between, Count, check
from formers.models.autoencoder import AutoencoderConfig
from formers.models.vae import TinyVAEConfig, VAEConfig
from formers.systems.sizes import Width
from formers.systems.system import ModelClass


@dataclass(frozen=True, kw_only=True)
class AutoencoderSizes:
    """The sizes of a new autoencoder."""

    start: str = ""
    """A run, folder or hub id whose weights to start from; the sizes below are then its own."""
    ignore_keys: tuple[str, ...] = ()
    """Keys of its config.json to take for absent, which are not computed here and are known to change nothing."""
    kind: Literal["dense", "convolutional", "latent", "tiny"] = "dense"
    """dense; convolutional: the first convolution at full size, each further one halves the picture; those of latent
    diffusion: latent (AutoencoderKL of diffusers), or tiny (AutoencoderTiny)."""
    height: Annotated[int, Between(1, 2**12)] = 32
    """Of the pictures, in pixels."""
    width: Annotated[int, Between(0, 2**12)] = 0
    """Of the pictures (0: the height)."""
    sizes: tuple[Width, ...] = (1000, 500, 250, 30)
    """Of every layer from the input down to the code, which is the last; the layers up mirror them. Of convolutions:
    their channels (latent and tiny: of each level, from one to the next of which the sides are halved; then of the
    latents)."""
    code: Literal["vector", "map"] = "vector"
    """What the code of convolutions is: a vector that sees all of the picture, or channels in every place."""
    depth: Count = 0
    """Residual convolutions of each layer besides its first (convolutional), or residual blocks of each level."""
    groups: Annotated[int, Between(1)] = 4
    """Groups of channels in the norms (latent); one channel alone would lose how bright it is."""
    skips: bool = False
    """What each layer gave on the way down is added on the way up: for repair, where nothing is to be compressed."""
    variational: bool = False
    """Codes are drawn from normal distributions, which are kept near the standard one."""
    activation: Literal["relu", "gelu", "gelu_tanh", "silu"] = "gelu"
    """Between the layers; the code is linear."""

    def __post_init__(self) -> None:
        check(self, "model")
        if not self.sizes:
            raise ConfigError("model.sizes is empty; name at least the size of the code, such as [30]")

    @property
    def of_latents(self) -> bool:
        return self.kind in ("latent", "tiny")

    @property
    def side(self) -> tuple[int, int]:
        """(height, width) of pictures."""
        return self.height, self.width or self.height

    def config(self, inputs: tuple[int, ...], **more: Any) -> AutoencoderConfig:
        """The whole config for inputs of this shape. Raises ConfigError for sizes that do not fit them."""
        if (count := math.prod(inputs)) < self.sizes[-1]:
            shape = " x ".join(map(str, inputs))
            raise ConfigError(
                f"model.sizes: the code ({self.sizes[-1]:,} numbers) is larger than the input ({shape} = {count:,}); "
                "make the last of them smaller"
            )
        try:
            return AutoencoderConfig(
                inputs=inputs,
                sizes=self.sizes,
                convolutional=self.kind == "convolutional",
                flat=self.code == "vector",
                depth=self.depth,
                skips=self.skips,
                variational=self.variational,
                activation=self.activation,
                **more,
            )
        except ValueError as fault:
            raise ConfigError(f"[model]: {fault}") from None

    def latent_config(self, channels: int) -> VAEConfig | TinyVAEConfig:
        """The whole config for pictures of so many channels. Raises ConfigError for sizes that do not fit."""
        *widths, latents = self.sizes
        ends: Any = {"channels": channels, "latent_channels": latents}
        try:
            config: VAEConfig | TinyVAEConfig
            if self.kind == "latent":
                config = VAEConfig(widths=tuple(widths), depth=max(self.depth, 1), groups=self.groups, **ends)
            else:
                if len({*widths}) != 1:
                    raise ValueError(f"sizes: the levels of a tiny one are equally wide, got {widths}")
                depths = (min(self.depth, 1), *(self.depth,) * (len(widths) - 1))
                config = TinyVAEConfig(width=widths[0], encoder_depths=depths, decoder_depths=depths[::-1], **ends)
        except ValueError as fault:
            raise ConfigError(f"[model]: {fault}") from None
        if wrong := [side for side in self.side if side % config.factor]:
            raise ConfigError(f"[model]: sides ({wrong[0]}) must be multiples of {config.factor}, pixels of a latent")
        return config


@dataclass(frozen=True, kw_only=True)
class AutoencoderParts:
    """What an autoencoder learns from."""

    teacher: Annotated[str, ModelClass(("VAE",))] = ""
    """Whose latents a tiny one learns to make and to read (empty: latents of its own)."""
