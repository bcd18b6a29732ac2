"""Latent diffusion in use: what reads prompts, the UNet that predicts noise, what carries pictures to latents and back.

prompts -> tokens -> TextTower -> UNet, step by step -> latents -> VAE -> pictures
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from formers.blocks.mode import inference
from formers.diffusion.denoise import Moment, draw
from formers.diffusion.scheduler import Scheduler
from formers.errors import CheckpointError, ConfigError
from formers.kernels.weight import packed
from formers.models.diffusion import LatentDiffusion
from formers.models.vae import VAE, TinyVAE
from formers.pretrained.diffusers_folder import DiffusionParts, check_parts, save_diffusers
from formers.pretrained.load import load_model
from formers.pretrained.loaded import Loaded
from formers.systems.painting.options import Painting
from formers.systems.painting.paint import Painted, paint
from formers.systems.painting.prompts import PromptReader, prompted
from formers.text.reader import Reader

# Bytes of matrices that are packed at most: the packs of Stable Diffusion would take another 1.1 GB (measured)
PACKED = 1 << 30


class Painter:
    """The parts of latent diffusion: what `formers.load` gives for a diffusers folder."""

    def __init__(self, parts: DiffusionParts, model: LatentDiffusion | None = None) -> None:
        """model: the same networks as one, where they are that already."""
        self.parts = parts
        self.model = model or LatentDiffusion(parts.unet, parts.vae, parts.text)

    @property
    def device(self) -> torch.device:
        return self.parts.unet.convolution_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.parts.unet.convolution_in.weight.dtype

    @cached_property
    def scheduler(self) -> Scheduler:
        """How the UNet was trained and is sampled. Raises CheckpointError for what cannot be obeyed."""
        return Scheduler.of(self.parts.scheduler)

    @property
    def factor(self) -> int:
        """Pixels of a picture for one of its latents, down and across."""
        return 1 if self.parts.vae is None else self.parts.vae.config.factor

    @property
    def side(self) -> int | None:
        """Pixels of the pictures that it was trained on, down and across, where that is known."""
        size = self.parts.unet.config.size
        return None if size is None else size * self.factor

    # ---- pictures and latents

    def latents(self, pictures: Tensor, own: Sequence[torch.Generator] = ()) -> Tensor:
        """What diffusion works on, of pictures (n, channels, height, width) in 0 to 1, float32, deviation about 1.

        own: a generator of each picture, which draws from the Gaussian of its latents; without, their mean.
        """
        moments = self.moments(pictures * 2 - 1)
        shape = self.parts.unet.config.out_channels, *moments.shape[2:]
        return self.drawn(moments, draw(own, shape, moments.device) if own else None)

    @torch.no_grad()
    def moments(self, pictures: Tensor) -> Tensor:
        """Mean and log-variance of the latents of pictures from -1 to 1, (n, 2 * channels, rows, columns), float32; of
        a model without such an autoencoder the latents themselves."""
        vae, pictures = self.parts.vae, pictures.to(self.device, self.dtype)
        if vae is None:
            return pictures.float()
        return torch.cat(vae.encode(pictures), 1).float() if isinstance(vae, VAE) else vae.encode(pictures).float()

    def drawn(self, moments: Tensor, noise: Tensor | None = None) -> Tensor:
        """Latents of what `moments` gives, drawn from their Gaussian with the noise, or their mean."""
        vae = self.parts.vae
        if vae is None:
            return moments
        if isinstance(vae, VAE):
            mean, logvar = moments.chunk(2, 1)
            moments = mean if noise is None else mean + (0.5 * logvar).exp() * noise
        return moments * vae.config.scale

    @torch.no_grad()
    def pictures(self, latents: Tensor) -> Tensor:
        """The pictures of latents: (n, channels, height, width) in 0 to 1, float32."""
        vae = self.parts.vae
        pictures = latents if vae is None else vae.decode(latents.to(self.device, self.dtype) / vae.config.scale)
        return ((pictures.float() + 1) / 2).clamp(0, 1)

    # ---- prompts

    @cached_property
    def reader(self) -> Reader:
        """Raises ConfigError for a model that reads no prompts, or whose folder lacks its tokenizer."""
        if self.parts.text is None:
            raise ConfigError("this model reads no prompts: it has no text_encoder")
        if self.parts.tokenizer is None:
            raise ConfigError("this model folder has no tokenizer, so prompts cannot be read; get it again")
        return Reader(self.parts.tokenizer, self.parts.text.config.length, segments=1)

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """(prompts, length) on the CPU: each cut or filled up to the length of the tower, which reads padding too."""
        reader = self.reader
        reader.rules.enable_padding(length=reader.length, pad_id=reader.pad)
        encodings = reader.read(list(prompts), offsets=False)
        return torch.tensor([encoding.ids for encoding in encodings]).reshape(len(prompts), reader.length)

    def prompted(
        self,
        prompts: Sequence[str],
        negatives: Sequence[str] = (),
        *,
        chunks: bool = False,
        learned: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What the UNet reads of prompts, and of as many negative ones ("" where there are none): see `prompts`.

        Each (prompts, keys, dim), float32; of a model that reads no prompts (prompts, 0, 0). learned: word -> vectors.
        """
        text = self.parts.text
        if text is None:
            nothing = torch.zeros(len(prompts), 0, 0, device=self.device)
            return nothing, nothing
        reader = PromptReader(text, self.reader.tokenizer, learned)
        return prompted(reader, prompts, negatives or [""] * len(prompts), chunks=chunks)

    def predict(self, latents: Tensor, times: Tensor, text: Tensor, *, guidance: Tensor | None = None) -> Tensor:
        """The UNet as guidance calls it: latents (rows, channels, height, width), times (rows,), text of `prompted`.

        guidance: (1, guidance_dim) of `guidance_waves`, which a UNet reads that learned guidance itself.
        """
        memory = None if self.parts.unet.config.memory_dim is None else text.to(self.dtype)
        waves = None if guidance is None else guidance.to(self.device, self.dtype)
        with inference(self.parts.unet), torch.no_grad(), packed(self.parts.unet, PACKED):
            return self.parts.unet(latents.to(self.dtype), times, memory, guidance=waves)

    def paint(self, painting: Painting) -> Iterator[Moment | Painted]:
        """What happens on the way to pictures, and the pictures: see `painting.paint.paint`."""
        return paint(self.hastened(painting.fast), painting)

    def hastened(self, folder: str) -> Painter:
        """The same with the tiny autoencoder of a folder, or of "" this one. Raises CheckpointError for another."""
        if not folder:
            return self
        vae = load_model(folder, dtype=self.dtype, device=self.device).model
        if not isinstance(vae, TinyVAE):
            raise CheckpointError(f"{folder} is a {type(vae).__name__}, expected a TinyVAE (AutoencoderTiny)")
        parts = replace(self.parts, vae=vae.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
        check_parts(parts, f"this model with {folder}")
        return Painter(parts)

    def save(self, folder: str | Path, *, fp16: bool = False) -> None:
        """Write a folder that opens in diffusers too, where that has a word for all parts."""
        save_diffusers(folder, self.parts, fp16=fp16)


def open_painter(loaded: Loaded) -> Painter:
    """The system of a folder that was read."""
    model = loaded.model
    if not isinstance(model, LatentDiffusion):
        raise CheckpointError(f"{loaded.folder} is a {type(model).__name__}, expected a folder of diffusers")
    scheduler, index = loaded.config["scheduler"], loaded.config["index"]
    parts = DiffusionParts(
        unet=model.unet, vae=model.vae, text=model.text, tokenizer=loaded.tokenizer, scheduler=scheduler, index=index
    )
    return Painter(parts, model)
