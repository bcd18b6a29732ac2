"""The one loop from noise to latents, a generator: text to image, image to image and inpainting alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from formers.diffusion.samplers import Denoising, Memory
from formers.diffusion.scheduler import Plan
from formers.diffusion.spacing import Sampling
from formers.errors import ConfigError, DataError


class Denoiser(Protocol):
    """A network, with what it reads besides: latents (pictures, channels, height, width) at a time -> a prediction."""

    def __call__(self, latents: Tensor, time: float) -> Tensor: ...


class Moment(NamedTuple):
    """After one evaluation of the network."""

    step: int
    """From 1."""
    steps: int
    time: float
    latents: Tensor
    clean: Tensor
    """What the network takes the finished latents to be: the preview."""


class Held(NamedTuple):
    """What inpainting keeps: clean latents, the noise that was added to them, and a mask, 1 where to paint anew.

    mask: (pictures or 1, 1, height, width) of the latents.
    """

    clean: Tensor
    noise: Tensor
    mask: Tensor


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One for each picture, on the CPU: its noise is the same whatever else is painted beside it, and where."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def draw(own: Sequence[torch.Generator], shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Noise (pictures, *shape), each picture's from its own generator."""
    return torch.cat([torch.randn((1, *shape), generator=generator) for generator in own]).to(device)


@torch.no_grad()
def denoised(
    network: Denoiser, plan: Plan, latents: Tensor, own: Sequence[torch.Generator], *, held: Held | None = None
) -> Iterator[Moment]:
    """Latents after each evaluation, from `plan.start` or `plan.start_from` on; the last are the result.

    Computed in float32. Raises DataError where latents are no numbers any more.
    """
    if len(own) != len(latents):
        raise ConfigError(f"{len(latents)} pictures need as many seeds, got {len(own)}")
    latents, memory = latents.float(), Memory()
    legs, schedule = plan.legs, plan.schedule
    fresh = partial(draw, own, latents.shape[1:], latents.device)
    for index, leg in enumerate(legs):
        prediction = network(latents, leg.at.time).float()
        clean, noise = schedule.read(prediction, latents, leg.at)
        now = Denoising(
            schedule, plan.sampling, legs, index, plan.steps, latents, prediction, limited(clean, plan.sampling),
            noise, fresh,
        )  # fmt: skip
        latents, memory = plan.sampler.step(now, memory)
        if held is not None:
            kept = held.clean
            if now.left > 1:
                at = legs[index + 1].at
                kept = at.signal * held.clean + at.noise * held.noise
            latents = (1 - held.mask) * kept + held.mask * latents
        _finite(latents, index + 1, len(legs), leg.at.time)
        yield Moment(index + 1, len(legs), leg.at.time, latents, now.clean)


def limited(clean: Tensor, sampling: Sampling) -> Tensor:
    """Clean latents within their limits: fixed ones, or those of Imagen's dynamic thresholding, picture by picture."""
    if sampling.thresholding:
        sizes = clean.flatten(1).abs()
        most = sizes.quantile(sampling.dynamic_thresholding_ratio, 1).clamp(1, max(sampling.sample_max_value, 1))
        most = most.reshape(-1, *[1] * (clean.dim() - 1))
        return clean.clamp(-most, most) / most
    if sampling.clip_sample:
        return clean.clamp(-sampling.clip_sample_range, sampling.clip_sample_range)
    return clean


def _finite(latents: Tensor, step: int, steps: int, time: float) -> None:
    rows = latents.flatten(1).isfinite().all(1)
    if not rows.all():
        picture = int(rows.long().argmin()) + 1
        got = f"the latents of picture {picture} are no finite numbers after step {step} of {steps} (time {time:g})"
        raise DataError(f"{got}; compute in float32, lower the guidance, or check the weights")
