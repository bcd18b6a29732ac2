"""From a request to pictures: noise or a picture to begin with, the way from there, what a mask keeps as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from formers.diffusion.denoise import Held, Moment, denoised, draw, generators
from formers.diffusion.guidance import guidance_waves, guided
from formers.diffusion.scheduler import Plan, Scheduler
from formers.errors import ConfigError, DataError
from formers.files import expanded
from formers.images.decode import decode
from formers.models.vae import VAE
from formers.pretrained.diffusers_folder import DiffusionParts
from formers.systems.memory import machine_memory
from formers.systems.painting.additions import learned_words, with_loras
from formers.systems.painting.options import ANEW, MANY, Painting

MAPS = 4  # of the decoder's widest level in the size of a picture, which it holds at once: measured
USUAL = 512  # pixels, of a model that does not say what it was trained on


class LatentPainter(Protocol):
    """What paints: see `Painter`."""

    parts: DiffusionParts

    @property
    def device(self) -> torch.device: ...
    @property
    def scheduler(self) -> Scheduler: ...
    @property
    def factor(self) -> int: ...
    @property
    def side(self) -> int | None: ...
    def latents(self, pictures: Tensor, own: Sequence[torch.Generator] = ()) -> Tensor: ...
    def pictures(self, latents: Tensor) -> Tensor: ...
    def prompted(
        self,
        prompts: Sequence[str],
        negatives: Sequence[str] = (),
        *,
        chunks: bool = False,
        learned: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]: ...
    def predict(self, latents: Tensor, times: Tensor, text: Tensor, *, guidance: Tensor | None = None) -> Tensor: ...


class Painted(NamedTuple):
    """A finished picture."""

    pixels: NDArray[np.uint8]
    """(height, width, 3), or grey (height, width)."""
    painting: Painting
    """What paints this one again: all that was left open is filled in."""


class Original(NamedTuple):
    """What is painted over."""

    image: Image.Image
    pixels: Tensor
    """(1, channels, height, width) in 0 to 1."""
    mask: Tensor | None
    """(1, 1, height, width): 1 where to paint anew, else 0."""


class Text(NamedTuple):
    """What the UNet reads of the prompt and of the negative one, see `Painter.prompted`."""

    prompt: Tensor
    negative: Tensor | None


def paint(painter: LatentPainter, painting: Painting) -> Iterator[Moment | Painted]:
    """The moments of all pictures, whose steps are those of the whole painting, and each picture when it is finished.

    One after the other: so a picture has the same bytes whatever its number, and what is finished can be kept.
    Raises ConfigError for what this model cannot, DataError for pictures and masks that do not fit.
    """
    if painting.again or painting.grid:
        raise ConfigError("this is several paintings: png.painting_of gives that of a file, Painting.cells a grid's")
    painting = settled(painter, painting)
    plans = plans_of(painter, painting)
    original, done = open_original(painter, painting), 0
    every = painting.count * sum(len(plan.legs) for plan in plans)
    with enough_memory(painting), with_loras(painter.parts, painting.lora):
        text = read_prompts(painter, painting)
        for seed in range(painting.seed, painting.seed + painting.count):
            below, own = original, generators([seed])
            for plan in plans:
                latents = torch.empty(0)
                for moment in denoise(painter, painting, plan, text, own, below):
                    done, latents = done + 1, moment.latents
                    yield moment._replace(step=done, steps=every)
                image = picture_of(painter.pictures(latents))
                if plan is not plans[-1]:
                    below = as_original(painter, enlarged(image, painting.upscale))
            if original is not None and original.mask is not None:
                image = pasted(image, original, painting.blur)
            yield Painted(np.asarray(image), replace(painting, seed=seed, count=1))


def settled(painter: LatentPainter, painting: Painting) -> Painting:
    """The same with what was left open filled in. Raises ConfigError for what this model cannot paint."""
    unet = painter.parts.unet.config
    if unet.channels not in (unet.out_channels, 2 * unet.out_channels + 1):
        raise ConfigError(f"this model's unet reads {unet.channels} channels, which is neither painting nor inpainting")
    if unet.classes:
        raise ConfigError(f"this model's unet reads one of {unet.classes} classes, which cannot be painted of words")
    if unet.channels > unet.out_channels and not painting.mask:
        raise ConfigError("this model fills holes: give --image PICTURE and --mask PICTURE, white where they are")
    width, height = painting.sides if painting.size else (painter.side or USUAL,) * 2
    if painting.image:
        image = opened(painting.image)
        if painting.mask and painting.size and image.size != painting.sides:
            got = f"a mask keeps the other pixels of {painting.image} as they are, so --size must be that of it"
            raise ConfigError(f"{got}, {image.width}x{image.height}; leave --size out")
        width, height = painting.sides if painting.size else image.size
    factor = painter.factor
    if width % factor or height % factor:
        near = "x".join(str(max(factor, round(side / factor) * factor)) for side in (width, height))
        resize = "; it brings the picture to that size" if painting.image and not painting.mask else ""
        got = f"size ({width}x{height}) must be divisible by {factor}, the pixels of a latent"
        if painting.mask:
            raise ConfigError(f"{got}; cut {painting.image} and its mask to such a size")
        raise ConfigError(f"{got}: try --size {near}{resize}")
    check_memory(painter, painting, width * height * painting.upscale**2)
    sampler: Any = painting.sampler or painter.scheduler.sampler or ""  # one of the words
    strength = painting.amount if painting.image or painting.upscale > 1 else None
    painting = replace(painting, size=f"{width}x{height}", sampler=sampler, strength=strength)
    steps, guidance = painting.pace
    if unet.guidance_dim and painting.guidance is None:  # which it reads, and takes no time
        guidance = MANY[1]
    return replace(painting, steps=steps, guidance=guidance)


def plans_of(painter: LatentPainter, painting: Painting) -> list[Plan]:
    """The way to a picture, and where that is to be made larger the one after it. Raises ConfigError."""
    strengths = [painting.amount] if painting.image else [1.0, painting.amount] if painting.upscale > 1 else [1.0]
    how = {"sampler": painting.sampler or None, "spacing": painting.spacing or None}
    return [
        painter.scheduler.plan(painting.pace[0], eta=painting.eta, strength=strength, **how) for strength in strengths
    ]


def read_prompts(painter: LatentPainter, painting: Painting) -> Text:
    words = learned_words(painting.inversion)
    text, negative = painter.prompted([painting.prompt], [painting.negative], chunks=painting.chunks, learned=words)
    return Text(text, negative if text.numel() else None)


def denoise(
    painter: LatentPainter,
    painting: Painting,
    plan: Plan,
    text: Text,
    own: Sequence[torch.Generator],
    original: Original | None,
) -> Iterator[Moment]:
    """The moments of one picture; noise is drawn in the reference's order, so that its seeds paint the same."""
    unet, device = painter.parts.unet.config, painter.device
    held = beside = None
    if original is None:
        width, height = painting.sides
        shape = (unet.out_channels, height // painter.factor, width // painter.factor)
        latents = plan.start(draw(own, shape, device))
    else:
        fills = unet.channels > unet.out_channels
        anew = original.mask is not None and painting.amount == ANEW
        size = [side // painter.factor for side in original.pixels.shape[2:]]
        clean = torch.empty(0)
        if not (fills and anew):
            clean = painter.latents(original.pixels, own)
        noise = draw(own, (unet.out_channels, *size), device)
        latents = plan.start(noise) if anew else plan.start_from(clean, noise)
        if original.mask is not None:
            mask = F.interpolate(original.mask, size).to(device)
            held = None if fills else Held(clean, noise, mask)
            if fills:
                seen = torch.where(original.mask > 0, 0.5, original.pixels)
                beside = torch.cat([mask, painter.latents(seen, own)], 1)
            elif isinstance(painter.parts.vae, VAE):
                draw(own, noise.shape[1:])  # as much as the reference draws for what it does not use
    predict, scale = painter.predict, painting.pace[1]
    if unet.guidance_dim:
        predict, scale = partial(predict, guidance=guidance_waves(scale, unet.guidance_dim)), 1.0
    network = guided(predict, text.prompt, text.negative, scale=scale, rescale=painting.rescale, beside=beside)
    yield from denoised(network, plan, latents, own, held=held)


# ---- pictures -------------------------------------------------------------------------------------------------------


def opened(name: str) -> Image.Image:
    """A picture file. Raises DataError."""
    return decode(expanded(name), name)


def open_original(painter: LatentPainter, painting: Painting) -> Original | None:
    """What is painted over; None where a painting begins with noise. Raises DataError for a mask that does not fit."""
    if not painting.image:
        return None
    image, (width, height) = opened(painting.image), painting.sides
    if not painting.mask:
        image = image if image.size == (width, height) else image.resize((width, height), Image.Resampling.LANCZOS)
        return as_original(painter, enlarged(image, painting.upscale))
    hole = opened(painting.mask)
    if hole.size != image.size:
        got = f"{painting.mask} has {hole.width} x {hole.height} pixels, but {painting.image} has"
        raise DataError(f"{got} {image.width} x {image.height}; give a mask of the same size")
    mask = torch.from_numpy(np.array(hole.convert("L")) >= 128).float()[None, None]
    if not F.interpolate(mask, [side // painter.factor for side in mask.shape[2:]]).any():
        got = "has no white, which says where to paint anew" if not mask.any() else "is white in spots too small"
        raise DataError(f"{painting.mask} {got}; make it white on areas of at least {painter.factor} pixels")
    return as_original(painter, image, mask)


def coloured(painter: LatentPainter, image: Image.Image) -> Image.Image:
    """Grey where the model paints so."""
    return image.convert("L" if channels_of(painter) == 1 else "RGB")


def as_original(painter: LatentPainter, image: Image.Image, mask: Tensor | None = None) -> Original:
    image = coloured(painter, image)
    pixels = torch.from_numpy(np.array(image)).float().reshape(1, image.height, image.width, channels_of(painter))
    return Original(image, pixels.permute(0, 3, 1, 2) / 255, mask)


def channels_of(painter: LatentPainter) -> int:
    """1 of grey pictures, 3 of others."""
    parts = painter.parts
    return parts.unet.config.out_channels if parts.vae is None else parts.vae.config.channels


def enlarged(image: Image.Image, factor: int) -> Image.Image:
    return image.resize((factor * image.width, factor * image.height), Image.Resampling.LANCZOS)


def picture_of(pictures: Tensor) -> Image.Image:
    """One of (1, channels, height, width) in 0 to 1. Raises DataError for no numbers."""
    if not pictures.isfinite().all():
        raise DataError("the decoder gives no finite numbers; compute in float32 (--dtype fp32)")
    pixels = (pictures[0] * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def pasted(image: Image.Image, original: Original, blur: int) -> Image.Image:
    """A painted picture where the mask is, with a soft edge inside of it; every other pixel is the original's."""
    assert original.mask is not None
    edge = soft(original.mask, blur)[0, 0].numpy()
    new, old = (np.asarray(part, np.float32) for part in (image, original.image))
    edge = edge if new.ndim == 2 else edge[..., None]
    return Image.fromarray(np.rint(edge * new + (1 - edge) * old).astype(np.uint8))


def soft(mask: Tensor, blur: int) -> Tensor:
    """A mask that rises to 1 over so many pixels from its edge inwards; 0 stays 0."""
    inner = [mask]
    for _ in range(blur):
        inner.append(-F.max_pool2d(-inner[-1], 3, 1, 1))
    return torch.stack(inner).mean(0)


def check_memory(painter: LatentPainter, painting: Painting, pixels: int) -> None:
    """Refuse what has no room for certain: a system that promises memory ends who uses it, without a word."""
    vae, there = painter.parts.vae, machine_memory()
    if not isinstance(vae, VAE) or painter.device.type != "cpu" or there is None:
        return
    need = MAPS * pixels * max(vae.config.widths[:2]) * painter.parts.unet.convolution_in.weight.element_size()
    if need > there:
        lower = "--upscale or --size" if painting.upscale > 1 else "--size"
        got = f"out of memory: {pixels:,} pixels take {need / 2**30:,.0f} GB to decode, but this machine has"
        raise DataError(f"{got} {there / 2**30:,.0f} GB; lower {lower}")


@contextmanager
def enough_memory(painting: Painting) -> Iterator[None]:
    """Inside, too little memory is a fault that says what to lower: a DataError."""
    try:
        yield
    except (MemoryError, RuntimeError) as fault:
        words = ("allocate memory", "not enough memory", "out of memory")
        if not isinstance(fault, MemoryError) and not any(word in str(fault) for word in words):
            raise
        larger = f" (upscaled {painting.upscale} times)" if painting.upscale > 1 else ""
        lower = "lower --upscale or --size" if larger else "lower --size"
        raise DataError(f"out of memory at {painting.size} pixels{larger}; {lower}, or try --dtype bf16") from fault
