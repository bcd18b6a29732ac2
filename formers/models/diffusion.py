"""Latent diffusion as one network: the UNet, the autoencoder of its latents, the tower that reads its texts.

    tokens -> TextTower (every token's vector) \
                                                UNet -> prediction         pictures <-> VAE <-> latents
    noisy latents, time ----------------------- /
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from formers.models.clip import TextTower
from formers.models.unet import UNet
from formers.models.vae import VAE, TinyVAE


class LatentDiffusion(nn.Module):
    """Without `vae` it works on pixels from -1 to 1, without `text` it reads none."""

    def __init__(self, unet: UNet, vae: VAE | TinyVAE | None = None, text: TextTower | None = None) -> None:
        super().__init__()
        self.unet, self.vae, self.text = unet, vae, text
        # as convolutions are computed fastest, above all on a CPU
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(
        self,
        noisy: Float[Tensor, "batch channels height width"],
        time: Tensor | int | float,
        tokens: Int[Tensor, "texts length"] | None = None,
    ) -> Float[Tensor, "batch filters height width"]:
        """The prediction for latents at times; tokens: of every text, or of one that all read, padding is read too."""
        memory = None if self.text is None or tokens is None else self.text.hidden(tokens)
        return self.unet(noisy, time, memory)
