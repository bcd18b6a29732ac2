"""Classifier-free guidance: a network that reads a text, steered towards a prompt and away from a negative one."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from formers.diffusion.denoise import Denoiser
from formers.errors import ConfigError


class Conditional(Protocol):
    """A network that reads a text: latents (rows, channels, height, width), times (rows,), text (rows, ...)."""

    def __call__(self, latents: Tensor, times: Tensor, text: Tensor) -> Tensor: ...


def guided(
    network: Conditional,
    text: Tensor,
    negative: Tensor | None = None,
    *,
    scale: float = 7.5,
    rescale: float = 0.0,
    beside: Tensor | None = None,
    at_once: int = 0,
) -> Denoiser:
    """A network with its text: negative + scale * (text - negative), both in one pass.

    text, negative: (pictures, length, dim), of the same length; without a negative, or at a scale of 1 or less, the
    text alone. rescale: share in 0..1 of the guided prediction that gets the deviation of the one of the text (Lin et
    al. 2023, section 3.4). beside: channels (pictures or 1, more, height, width) of what else the network sees, as for
    inpainting. at_once: most pictures in a pass, 0 for all; with 1 a picture has the same bytes in any batch. Raises
    ConfigError.
    """
    both = negative is not None and scale > 1
    if both and negative is not None and negative.shape[1:] != text.shape[1:]:
        got = f"the prompt has {text.shape[1]} places and the negative prompt {negative.shape[1]}"
        raise ConfigError(f"{got}; give both the same number of chunks")
    away_from = negative.expand_as(text) if both and negative is not None else None
    if not 0 <= rescale <= 1:
        raise ConfigError(f"rescale ({rescale:g}) must be in [0, 1]")

    def some(latents: Tensor, time: float, rows: slice) -> Tensor:
        seen, read = latents, text[rows]
        if beside is not None:
            more = beside[rows] if len(beside) > 1 else beside
            seen = torch.cat([seen, more.expand(len(seen), *more.shape[1:]).to(seen)], 1)
        if away_from is not None:
            read = torch.cat([away_from[rows], read])
            seen = torch.cat([seen, seen])
        answer = network(seen, torch.full((len(seen),), time, device=seen.device), read)
        if away_from is None:
            return answer
        away, wanted = answer.float().chunk(2)
        steered = away + scale * (wanted - away)
        return _deviating(steered, wanted, rescale) if rescale else steered

    def denoise(latents: Tensor, time: float) -> Tensor:
        size = at_once or len(latents)
        parts = [slice(first, first + size) for first in range(0, len(latents), size)]
        return torch.cat([some(latents[rows], time, rows) for rows in parts])

    return denoise


def guidance_waves(scale: float, dim: int) -> Tensor:
    """(1, dim): sines, then cosines, of 1000 * (scale - 1), for networks that learned guidance (Meng et al. 2023)."""
    half = dim // 2
    angles = 1000 * (scale - 1) * torch.exp(torch.arange(half) * (-math.log(10000) / max(half - 1, 1)))
    return torch.nn.functional.pad(torch.cat([angles.sin(), angles.cos()]), (0, dim % 2))[None]


def _deviating(steered: Tensor, wanted: Tensor, share: float) -> Tensor:
    def deviation(x: Tensor) -> Tensor:
        return x.std(tuple(range(1, x.dim())), keepdim=True)

    return share * steered * (deviation(wanted) / deviation(steered)) + (1 - share) * steered
