"""Pictures made worse at random, for models that learn to restore them: noise, dead pixels, obstacles, grey."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.errors import ConfigError, DataError
from formers.fields import Between, check
from formers.images.augment import Numbers, grey

if TYPE_CHECKING:
    from PIL.Image import Image

Obstacle = Literal["boxes", "strokes", "text"]
HOLE = 0.5  # what stands where something is hidden: the mask says where that is
MOST = 64  # obstacles of a picture
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """How pictures are made worse; of each range one number is drawn for each picture."""

    corruption: Literal["none", "noise", "pepper", "obstacles", "grey"] = "none"
    """noise: Gaussian; pepper: pixels black or white (salt and pepper); obstacles: parts hidden; grey: no colour."""
    sigma: Annotated[tuple[float, ...], Between(0)] = (0.1, 0.5)
    """Of noise, its standard deviation, lowest and highest; pictures have values of 0 to 1."""
    pepper: Annotated[tuple[float, ...], Between(0, 1)] = (0.02, 0.2)
    """Of salt and pepper, the share of the pixels, lowest and highest."""
    hidden: Annotated[tuple[float, ...], Between(0, below=1)] = (0.05, 0.3)
    """Of obstacles, the share of the picture that they hide, lowest and highest."""
    obstacles: tuple[str, ...] = get_args(Obstacle)
    """Which obstacles: boxes, strokes, text."""

    def __post_init__(self) -> None:
        check(self, "rows")
        for name in ("sigma", "pepper", "hidden"):
            bounds = getattr(self, name)
            if len(bounds) != 2 or bounds[0] > bounds[1]:
                raise ConfigError(f"rows.{name} ({bounds}) must be two numbers, the lower one first")
        if unknown := [name for name in self.obstacles if name not in get_args(Obstacle)]:
            raise ConfigError(
                f'rows.obstacles: "{unknown[0]}" is not known; there are: {", ".join(get_args(Obstacle))}'
            )
        if not self.obstacles:
            raise ConfigError(f"rows.obstacles is empty; name some of: {', '.join(get_args(Obstacle))}")

    def corrupt(self, pictures: Tensor, dice: np.random.Generator) -> tuple[Tensor, Tensor | None]:
        """Worse copies of pictures, (n, channels, height, width) in 0 to 1, and of obstacles what they hide, as
        (n, 1, height, width), True there: a pure function of pictures and dice.

        Noise is cut off at 0 and 1, as a picture file does it.
        """
        n, channels, height, width = pictures.shape

        def drawn(bounds: tuple[float, ...]) -> Numbers:
            return bounds[0] + (bounds[1] - bounds[0]) * dice.random(n)

        if self.corruption == "noise":
            spread = torch.from_numpy(drawn(self.sigma)).to(pictures).view(-1, 1, 1, 1)
            noise = torch.from_numpy(dice.standard_normal(tuple(pictures.shape), np.float32)).to(pictures)
            return noise.mul_(spread).add_(pictures).clamp_(0, 1), None
        if self.corruption == "pepper":
            share, places = drawn(self.pepper)[:, None, None, None], dice.random((n, 1, height, width))
            dead, white = (torch.from_numpy(places < part).to(pictures.device) for part in (share, share / 2))
            return torch.where(dead, white.to(pictures.dtype), pictures), None
        if self.corruption == "obstacles":
            masks = [self._hiding(height, width, share, dice) for share in drawn(self.hidden)]
            mask = torch.from_numpy(np.stack(masks))[:, None].to(pictures.device)
            return masked(pictures, mask), mask
        if self.corruption == "grey":
            return grey(pictures).expand(-1, channels, -1, -1).clone(), None
        return pictures, None

    def _hiding(self, height: int, width: int, share: float, dice: np.random.Generator) -> NDArray[np.bool_]:
        """(height, width), True where one of some obstacles lies, which hide about this share."""
        from PIL import Image, ImageDraw

        canvas = Image.new("L", (width, height))
        drawing, area = ImageDraw.Draw(canvas), height * width
        for _ in range(MOST):
            missing = share * area - canvas.histogram()[-1]
            if missing < 1:
                break
            x, y = dice.uniform(-0.1, 1.0) * width, dice.uniform(-0.1, 1.0) * height
            kind = self.obstacles[dice.integers(len(self.obstacles))]
            if kind == "boxes":
                across = math.sqrt(missing * dice.uniform(0.3, 1.0)) * math.exp(dice.uniform(-0.5, 0.5))
                drawing.rectangle((x, y, x + across, y + max(1.0, missing * 0.8 / across)), fill=255)
            elif kind == "strokes":
                angle, length = dice.uniform(0, 2 * math.pi), dice.uniform(0.3, 1.0) * min(height, width)
                end = (x + length * math.cos(angle), y + length * math.sin(angle))
                thick = min(dice.uniform(0.02, 0.1) * min(height, width), missing / length)
                drawing.line(((x, y), end), fill=255, width=max(1, round(thick)))
            else:
                size = max(8, round(dice.uniform(0.15, 0.4) * min(height, width)))
                for number in dice.integers(len(LETTERS), size=dice.integers(3, 9)):
                    letter = _letter(LETTERS[number], size)
                    drawing.bitmap((round(x), round(y)), letter, fill=255)
                    x += letter.width
        return np.asarray(canvas) > 0


@lru_cache(maxsize=1024)
def _letter(letter: str, size: int) -> Image:
    """A letter in white on black, as wide as it is in a text; kept, because to write one takes most of the time."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    image = Image.new("L", (max(1, round(font.getlength(letter))), round(1.3 * size)))
    ImageDraw.Draw(image).text((0, 0), letter, fill=255, font=font)
    return image.point([0] * 100 + [255] * 156)  # no pixel is hidden by half


def masked(pictures: Tensor, mask: Tensor) -> Tensor:
    """Pictures, (n, channels, height, width), without what a mask hides, (n or 1, 1, height, width), True there.

    Raises DataError for a mask of another size, and for one that hides nothing.
    """
    if mask.shape[-2:] != pictures.shape[-2:]:
        (height, width), (high, wide) = pictures.shape[-2:], mask.shape[-2:]
        raise DataError(f"the mask has {wide} x {high} pixels, expected {width} x {height} as the picture")
    if not mask.any():
        raise DataError("the mask hides nothing; expected a picture that is white where something is to be filled in")
    return pictures.masked_fill(mask, HOLE)
