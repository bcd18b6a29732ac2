"""Many pictures at once, each of its own prompt and seed: for what judges a painter, and for looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from formers.errors import ConfigError
from formers.fields import Between, Natural

if TYPE_CHECKING:
    from torch import Tensor

    from formers.diffusion.denoise import Moment
    from formers.systems.painting.system import Painter

TOGETHER = 50  # pictures that are painted at once


@dataclass(frozen=True, kw_only=True)
class SamplerOptions:
    """How to go from noise to a picture."""

    steps: Natural | None = None
    """Steps from noise to picture (default: 50, of lcm 4)."""
    guidance: Annotated[float, Between(0)] | None = None
    """How closely to follow the prompt (default: 7.5, of lcm 1); at 1 or less not at all beyond reading it."""
    sampler: str = ""
    """How to go from noise to picture, such as ddim, dpm++ or lcm (default: the model's own)."""
    seed: Annotated[int, Between(0, 2**53)] = 1
    """Of the noise of the first picture; the next ones have the seeds behind it."""


USUAL_WAY = SamplerOptions()


def moments(
    painter: Painter, prompts: Sequence[str], options: SamplerOptions, seeds: Sequence[int] = (), *, side: int = 0
) -> Iterator[Moment]:
    """All pictures after each step.

    seeds: in place of those of `options`; side: rows and columns of the latents (0: those that the model was trained
    on). Raises ConfigError for a model that does not say these, and for what its sampler cannot.
    """
    from formers.diffusion.denoise import denoised, draw, generators
    from formers.diffusion.guidance import guided
    from formers.systems.painting.options import pace
    from formers.systems.reading import reading

    side = side or painter.parts.unet.config.size or 0
    if not side:
        raise ConfigError("this model does not say which size it was trained on (sample_size in unet/config.json)")
    sampler = options.sampler or painter.scheduler.sampler or ""
    steps, guidance = pace(sampler, options.steps, options.guidance)
    plan = painter.scheduler.plan(steps, sampler=options.sampler or None)
    own = generators(seeds or range(options.seed, options.seed + len(prompts)))
    noise = draw(own, (painter.parts.unet.config.out_channels, side, side), painter.device)
    with reading(painter.model):
        text, negative = painter.prompted(prompts)
        network = guided(painter.predict, text, negative if text.numel() else None, scale=guidance)
        yield from denoised(network, plan, plan.start(noise), own)


def paint_prompts(
    painter: Painter, prompts: Sequence[str], options: SamplerOptions, seeds: Sequence[int] = (), *, side: int = 0
) -> Iterator[Tensor]:
    """Finished pictures (some, channels, height, width) in 0 to 1, in order, some prompts at a time; see `moments`."""
    import torch

    seeds = seeds or range(options.seed, options.seed + len(prompts))
    for start in range(0, len(prompts), TOGETHER):
        rows = slice(start, start + TOGETHER)
        latents = torch.empty(0)
        for moment in moments(painter, prompts[rows], options, seeds[rows], side=side):
            latents = moment.latents
        yield painter.pictures(latents).cpu()
