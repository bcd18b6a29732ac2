"""Random changes of pictures while training, many at once: each a pure function of its picture's own seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from formers.errors import ConfigError
from formers.fields import Between, Count, check

Numbers = NDArray[np.float64]
Share = Annotated[float, Between(0, 1)]
GREY = 128.0  # around a picture that is turned
LUMA = (0.299, 0.587, 0.114)
WIDER = math.log(4 / 3)  # a random part is at most so much wider or higher than the whole
ERASED, OBLONG = (0.02, 0.33), math.log(1 / 0.3)  # the share of the area that is erased, and how oblong it is
# Where the random numbers of each change stand in a picture's row of them: none depends on which others there are.
FLIP, SHIFT, PART, COLOUR, ERASE, CHANGES = 0, 1, 3, 7, 10, 15
NOISE = 1  # seed of those that are noise, a row of their own
# How far a picture is turned, sheared and moved at full strength, and what the others come to.
TURN, SHEAR, MOVE, ENHANCE, BITS = math.radians(30), 0.3, 0.3, 0.9, 4


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How pictures are changed at random."""

    flip: Share = 0.0
    """Share of the pictures that are mirrored, left to right."""
    shift: Count = 0
    """Pixels that pictures are moved at most, up or down and left or right, such as 4 of 32."""
    border: Literal["reflect", "black"] = "reflect"
    """What comes in from outside when a picture is moved: its mirror image, or black."""
    area: Annotated[float, Between(above=0, most=1)] = 1.0
    """A random part of at least this share of a picture's area is enlarged to the whole, such as 0.35 (1: not)."""
    colour: Share = 0.0
    """How far brightness, contrast and saturation change, such as 0.4: each is multiplied by 0.6 to 1.4."""
    changes: Count = 0
    """Changes of each picture out of 14 kinds, from rotating to equalising (RandAugment, Cubuk et al. 2020)."""
    strength: Share = 0.5
    """How strong those are."""
    erase: Share = 0.0
    """Share of the pictures in which a rectangle is made grey (random erasing, Zhong et al. 2020)."""
    noise: Share = 0.0
    """Deviation at most, as a share of white, of the random numbers that are added to pixels, such as 0.05."""

    def __post_init__(self) -> None:
        check(self, "rows")

    def __call__(self, pixels: Tensor, seeds: Sequence[tuple[int, ...]]) -> Tensor:
        """Changed copies of pictures, (n, channels, height, width), uint8; seeds: of each picture, such as seed, epoch
        and row: the same ones give the same picture, whatever else is in the batch.

        Raises ConfigError where pictures are to be moved further than they are large.
        """
        dice = uniform(seeds, CHANGES + 2 * self.changes)
        kinds = (dice[:, CHANGES::2] * len(KINDS)).astype(int)
        amounts = np.where(dice[:, CHANGES + 1 :: 2] < 0.5, -self.strength, self.strength)
        pixels = self._moved(pixels, dice)
        pixels = self._turned(pixels, dice, kinds, amounts)
        if self.colour:
            values = pixels.float()
            for column, enhance in enumerate((brightness, contrast, saturation), COLOUR):
                values = enhance(values, self.colour * (2 * dice[:, column] - 1))
            pixels = as_bytes(values)
        for kind, amount in zip(kinds.T, amounts.T, strict=True):
            for number, name in enumerate(KINDS):
                rows = np.flatnonzero(kind == number)
                if len(rows) and name in OF_COLOURS:
                    pixels[rows] = as_bytes(OF_COLOURS[name](pixels[rows].float(), amount[rows]))
        return self._noisy(self._erased(pixels, dice), seeds)

    def _moved(self, pixels: Tensor, dice: Numbers) -> Tensor:
        """Moved by whole pixels and mirrored: a gather, whatever is moved how far."""
        n, channels, height, width = pixels.shape
        if self.shift >= min(height, width):
            side = min(height, width)
            raise ConfigError(f"rows.shift ({self.shift}) must be below the sides of the pictures ({side} pixels)")
        if not (self.shift or self.flip):
            return pixels.clone()
        start = (dice[:, SHIFT : SHIFT + 2] * (2 * self.shift + 1)).astype(int) - self.shift
        across = np.where(dice[:, FLIP, None] < self.flip, np.arange(width)[::-1], np.arange(width)) + start[:, 1:]
        down = np.arange(height) + start[:, :1]
        if self.border == "black":
            pixels, (height, width) = F.pad(pixels, (self.shift,) * 4), (down.shape[1], across.shape[1])
            down, across = down + self.shift, across + self.shift
        else:
            down, across = reflected(down, height), reflected(across, width)
        places = down[:, :, None] * pixels.shape[3] + across[:, None, :]
        index = torch.from_numpy(places.reshape(n, 1, -1)).expand(-1, channels, -1)
        return pixels.flatten(2).gather(2, index).view(n, channels, height, width)

    def _turned(self, pixels: Tensor, dice: Numbers, kinds: NDArray[np.int64], amounts: Numbers) -> Tensor:
        """A part enlarged, then what the changes have of geometry, as one map of places, where a picture has any."""
        n, height, width = len(pixels), *pixels.shape[2:]
        maps = np.tile(np.eye(3), (n, 1, 1))  # from places in the new picture to those in the old, both within -1 to 1
        if self.area < 1:
            share, ratio, y, x = dice[:, PART : PART + 4].T
            share, ratio = np.sqrt(self.area + (1 - self.area) * share), np.exp((ratio - 0.5) * WIDER)
            maps[:, 0, 0], maps[:, 1, 1] = np.minimum(share * ratio, 1), np.minimum(share / ratio, 1)
            maps[:, 0, 2], maps[:, 1, 2] = (2 * x - 1) * (1 - maps[:, 0, 0]), (2 * y - 1) * (1 - maps[:, 1, 1])
        for kind, amount in zip(kinds.T, amounts.T, strict=True):
            for number, name in enumerate(KINDS):
                rows = np.flatnonzero(kind == number)
                if len(rows) and name in OF_PLACES:
                    maps[rows] = maps[rows] @ OF_PLACES[name](amount[rows], width / height)
        rows = np.flatnonzero((maps != np.eye(3)).any((1, 2)))
        if len(rows):
            values = pixels[rows].float().sub_(GREY)  # which then lies around the picture
            values = F.grid_sample(values, grid(maps[rows], height, width), align_corners=False)
            pixels[rows] = as_bytes(values.add_(GREY))
        return pixels

    def _erased(self, pixels: Tensor, dice: Numbers) -> Tensor:
        if not self.erase:
            return pixels
        chance, share, ratio, y, x = (column[:, None] for column in dice[:, ERASE : ERASE + 5].T)
        share, ratio = np.sqrt(ERASED[0] + (ERASED[1] - ERASED[0]) * share), np.exp((ratio - 0.5) * OBLONG)
        drawn = chance < self.erase
        within = []
        for side, part, place in ((pixels.shape[2], share / ratio, y), (pixels.shape[3], share * ratio, x)):
            length = np.minimum(part, 1) * side
            begin, pixel = place * (side - length), np.arange(side) + 0.5
            within.append((pixel >= begin) & (pixel < begin + length))
        inside = torch.from_numpy((within[0][:, :, None] & within[1][:, None, :] & drawn[:, :, None])[:, None])
        return pixels.masked_fill_(inside, int(GREY))

    def _noisy(self, pixels: Tensor, seeds: Sequence[tuple[int, ...]]) -> Tensor:
        """With normal noise, of each picture between none and as much as there may be."""
        if not self.noise:
            return pixels
        dice = torch.from_numpy(uniform([(*seed, NOISE) for seed in seeds], 1 + pixels[0].numel()))
        normal = torch.special.ndtri(dice[:, 1:].clamp(1e-12, 1 - 1e-12)).mul_(255 * self.noise * dice[:, :1])
        return as_bytes(normal.view(pixels.shape).add_(pixels))


PLAIN = Augmentation()


def mixed(
    pictures: Tensor, targets: Tensor, dice: np.random.Generator, *, mixup: float = 0.0, cutmix: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Pictures of a batch mixed with others of it, and their targets, (n, labels) float, in the same shares.

    mixup: shares from Beta(mixup, mixup) (Zhang et al. 2018); cutmix: a rectangle of the other picture, its share of
    the area from Beta(cutmix, cutmix) (Yun et al. 2019). With both above 0 one of them is drawn for the whole batch.
    """
    cut = dice.random() < 0.5 if mixup and cutmix else bool(cutmix)
    share = dice.beta(cutmix, cutmix) if cut else dice.beta(mixup, mixup) if mixup else 1.0
    others = torch.from_numpy(dice.permutation(len(pictures)))
    if not cut:
        mixture = torch.lerp(pictures[others], pictures, share)
    else:
        height, width = pictures.shape[2:]
        (top, bottom), (left, right) = (_span(side, math.sqrt(1 - share), dice.random()) for side in (height, width))
        mixture = pictures.clone()
        mixture[:, :, top:bottom, left:right] = pictures[others, :, top:bottom, left:right]
        share = 1 - (bottom - top) * (right - left) / (height * width)
    return mixture, torch.lerp(targets[others], targets, share)


def _span(side: int, part: float, middle: float) -> tuple[int, int]:
    """The pixels of a side within this part of it around a place; what would lie outside is cut off."""
    return max(0, round(side * (middle - part / 2))), min(side, round(side * (middle + part / 2)))


def uniform(seeds: Sequence[tuple[int, ...]], count: int) -> Numbers:
    """Random numbers in [0, 1), (n, count), a pure function of each row's seeds (SplitMix64 of their mixture)."""
    state = np.zeros(len(seeds), np.uint64)
    for column in np.array(seeds, np.int64).astype(np.uint64).T:
        state = _scrambled(state + GOLDEN ^ column)
    steps = np.arange(1, count + 1, dtype=np.uint64) * GOLDEN
    return np.asarray((_scrambled(state[:, None] + steps) >> np.uint64(11)) * 2.0**-53)


GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _scrambled(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)


def reflected(places: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Places outside of a side as their mirror images in it; the last pixel stands there once."""
    return side - 1 - np.abs(side - 1 - np.abs(places))


def as_bytes(values: Tensor) -> Tensor:
    return values.round().clamp_(0, 255).to(torch.uint8)


# ---- changes of colours: values of 0 to 255, (n, channels, height, width), and an amount of each ------------


# Every step is one operation on single values, so that a picture is the same to the bit in any batch.


def blended(values: Tensor, plain: Tensor | float, amounts: Numbers) -> Tensor:
    """Further away from a plain form of the picture than it is, or nearer to it, by these amounts."""
    return (values - plain).mul_(_column(1 + amounts)).add_(plain).clamp_(0, 255)


def brightness(values: Tensor, amounts: Numbers) -> Tensor:
    return blended(values, 0.0, amounts)


def contrast(values: Tensor, amounts: Numbers) -> Tensor:
    return blended(values, grey(values).double().mean((2, 3), keepdim=True).float(), amounts)


def saturation(values: Tensor, amounts: Numbers) -> Tensor:
    return blended(values, grey(values), amounts)


def sharpness(values: Tensor, amounts: Numbers) -> Tensor:
    rows = values[:, :, :-2] + values[:, :, 1:-1] + values[:, :, 2:]
    around = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    smooth = values.clone()
    smooth[:, :, 1:-1, 1:-1] = (around + 4 * values[:, :, 1:-1, 1:-1]) / 13
    return blended(values, smooth, amounts)


def grey(values: Tensor) -> Tensor:
    if values.shape[1] != 3:
        return values.mean(1, keepdim=True)
    red, green, blue = (values[:, i : i + 1] * share for i, share in enumerate(LUMA))
    return red + green + blue


def stretched(values: Tensor, amounts: Numbers) -> Tensor:
    """Every channel from black to white."""
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    return torch.where(high > low, (values - low) * (255 / (high - low).clamp(min=1)), values)


def equalised(values: Tensor, amounts: Numbers) -> Tensor:
    """Every channel with all of its values about as often."""
    flat = values.flatten(2).long()
    counts = torch.zeros(*flat.shape[:2], 256).scatter_add_(2, flat, torch.ones_like(flat, dtype=torch.float32))
    below = counts.cumsum(2) - counts / 2
    return (below * (255 / flat.shape[2])).gather(2, flat).view_as(values)


def posterised(values: Tensor, amounts: Numbers) -> Tensor:
    """Fewer bits of every value."""
    step = 2 ** _column(np.abs(amounts) * BITS).round()
    return (values / step).floor() * step


def solarised(values: Tensor, amounts: Numbers) -> Tensor:
    """Bright values as their negative."""
    return torch.where(values >= 256 * (1 - _column(np.abs(amounts))), 255 - values, values)


def _column(amounts: Numbers) -> Tensor:
    return torch.from_numpy(amounts).float().view(-1, 1, 1, 1)


# ---- changes of places: (n, 3, 3) of amounts in [-1, 1] and the ratio of width to height -----------------------------


def grid(maps: Numbers, height: int, width: int) -> Tensor:
    """Where in the old picture each place of the new one lies, (n, height, width, 2), within -1 to 1."""
    x, y = ((2 * np.arange(side) + 1) / side - 1 for side in (width, height))
    places = np.stack([np.tile(x, height), np.repeat(y, width), np.ones(height * width)])
    old = (maps[:, :2] @ places).transpose(0, 2, 1).reshape(-1, height, width, 2)
    return torch.from_numpy(old).float()


def _affine(n: int, **entries: Numbers) -> Numbers:
    matrix = np.tile(np.eye(3), (n, 1, 1))
    for name, values in entries.items():
        matrix[:, "xy".index(name[0]), "xy1".index(name[1])] = values
    return matrix


def rotated(amounts: Numbers, ratio: float) -> Numbers:
    cos, sin = np.cos(TURN * amounts), np.sin(TURN * amounts)
    return _affine(len(amounts), xx=cos, xy=-sin / ratio, yx=sin * ratio, yy=cos)


OF_PLACES: dict[str, Callable[[Numbers, float], Numbers]] = {
    "rotate": rotated,
    "shear across": lambda amounts, ratio: _affine(len(amounts), xy=SHEAR * amounts / ratio),
    "shear down": lambda amounts, ratio: _affine(len(amounts), yx=SHEAR * amounts * ratio),
    "move across": lambda amounts, ratio: _affine(len(amounts), x1=2 * MOVE * amounts),
    "move down": lambda amounts, ratio: _affine(len(amounts), y1=2 * MOVE * amounts),
}
OF_COLOURS: dict[str, Callable[[Tensor, Numbers], Tensor]] = {
    "brightness": lambda values, amounts: brightness(values, ENHANCE * amounts),
    "contrast": lambda values, amounts: contrast(values, ENHANCE * amounts),
    "saturation": lambda values, amounts: saturation(values, ENHANCE * amounts),
    "sharpness": lambda values, amounts: sharpness(values, ENHANCE * amounts),
    "stretch": stretched,
    "equalise": equalised,
    "posterise": posterised,
    "solarise": solarised,
}
KINDS = ["nothing", *OF_PLACES, *OF_COLOURS]
