"""The autoencoders of latent diffusion (`models.vae`), used as all others are here: pictures of 0 to 1, of any sides.

picture -> VAE -> normal distributions of latents -> drawn -> picture        TinyVAE: the latents themselves
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from formers.models.autoencoder import Autoencoder, AutoencoderConfig
from formers.models.vae import VAE, TinyVAE, VAEConfig

SIDE = 512  # pixels of a picture where the folder of a model does not say


class LatentCoder:
    """What `Autoencoder` is to its users, of a model of latents; its codes are scaled, as diffusion works on them."""

    def __init__(self, model: VAE | TinyVAE, side: tuple[int, int]) -> None:
        """side: height and width of the pictures that it learns from."""
        self.model, c = model, model.config
        widths = c.widths if isinstance(c, VAEConfig) else (c.width,) * len(c.encoder_depths)
        self.config = AutoencoderConfig(
            inputs=(c.channels, *side),
            sizes=(*widths[:-1], c.latent_channels),
            convolutional=True,
            flat=False,
            variational=isinstance(model, VAE),
            output="values",
        )

    def __call__(self, pictures: Tensor) -> Tensor:
        """What comes out of the mean latents."""
        return cut(self.decode(self.encode(pictures)), pictures)

    def encode(self, pictures: Tensor) -> Tensor:
        """(pictures, channels, rows, columns): the latents, of a `VAE` their means."""
        latents = self.model.encode(self.read(pictures))
        return (latents[0] if isinstance(latents, tuple) else latents) * self.model.config.scale

    def decode(self, latents: Tensor) -> Tensor:
        """About 0 to 1, with a whole number of latents in each direction."""
        return (self.model.decode(latents / self.model.config.scale) + 1) / 2

    def sampled(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """As of `Autoencoder`."""
        latents, divergence = self.drawn(pictures)
        return cut((self.model.decode(latents) + 1) / 2, pictures), divergence

    def drawn(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Latents without their scale, of a `VAE` drawn, and the summed divergence of their distributions."""
        read = self.read(pictures)
        if isinstance(self.model, TinyVAE):
            return self.model.encode(read), read.new_zeros(())
        mean, logvar = (part.float() for part in self.model.encode(read))
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum()
        return mean + (0.5 * logvar).exp() * torch.randn_like(mean), divergence

    def read(self, pictures: Tensor) -> Tensor:
        """As the model reads pictures: from -1 to 1, their last rows and columns repeated up to a whole latent."""
        down, right = (-side % self.model.config.factor for side in pictures.shape[-2:])
        return F.pad(pictures * 2 - 1, (0, right, 0, down), mode="replicate")

    def values(self, outputs: Tensor) -> Tensor:
        """As of `Autoencoder`."""
        return outputs.clamp(0, 1)


def cut(outputs: Tensor, pictures: Tensor) -> Tensor:
    """Without what was added below and on the right."""
    return outputs[..., : pictures.shape[-2], : pictures.shape[-1]]


def coder_of(model: Any, side: tuple[int, int]) -> Autoencoder | LatentCoder:
    """The model itself, or what makes one of latents like it."""
    return LatentCoder(model, side) if isinstance(model, VAE | TinyVAE) else model
