"""How a family's pictures become tensors: sizes, crop and normalisation, as one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from formers.errors import DataError
from formers.files import as_json

FILE = "preprocessor_config.json"
HALVES = (0.5, 0.5, 0.5)
BILINEAR = 2  # Pillow's numbers of filters: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4 box, 5 Hamming


@dataclass(frozen=True)
class Preprocessor:
    """A picture is resized, its middle cropped, then every value becomes (value * scale - mean) / std of its channel.

    Equal to transformers' processors of the same file (their Pillow backend within 1e-6, their torchvision backend
    within one grey level).
    """

    height: int
    width: int
    """Of every picture that comes out."""
    resize: tuple[int, int] | int | None
    """(height, width) whatever the sides were, or the shorter side; None leaves pictures as they are."""
    crop: bool = False
    """Whether the middle of that size is taken, black around where the picture is smaller."""
    resample: int = BILINEAR
    """Pillow's number of the filter."""
    scale: float = 1 / 255
    mean: tuple[float, ...] = HALVES
    """Of each channel: three of RGB, one of grey."""
    std: tuple[float, ...] = HALVES
    to_even: bool = False
    """Of a middle between two pixels: the even one, as torchvision rounds; else the one before."""
    source: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """The file that it was read from; what it says beside is written again."""

    def __call__(self, image: Image.Image) -> Tensor:
        """One picture, (channels, height, width), float32. Raises DataError for a size that stays another one."""
        return self.normalise(self.pixels(image))

    def batch(self, images: Sequence[Image.Image]) -> Tensor:
        """Several, (n, channels, height, width)."""
        return self.normalise(torch.stack([self.pixels(image) for image in images]))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Values of 0 to 255, (..., channels, height, width), as the model reads them, float32."""
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        return pixels.to(torch.float32).mul(self.scale).sub_(mean).div_(std)

    def pixels(self, image: Image.Image) -> Tensor:
        """One picture in its size and before its values change, (channels, height, width), uint8."""
        image = image.convert("L" if len(self.mean) == 1 else "RGB")
        image = self._sized(image)
        if (image.height, image.width) != (self.height, self.width):
            got, expected = f"{image.width} x {image.height}", f"{self.width} x {self.height}"
            raise DataError(f"a picture has {got} pixels, its model takes {expected} and resizes none; resize it")
        array = np.array(image)
        return torch.from_numpy(array.reshape(self.height, self.width, -1)).permute(2, 0, 1)

    def files(self) -> dict[str, bytes]:
        """The file that keeps it, which transformers reads too."""
        return {FILE: as_json(dict(self.source))}

    def _sized(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        if isinstance(self.resize, int):
            short = min(width, height)
            height, width = (
                int(self.resize * side / short) if side > short else self.resize for side in (height, width)
            )
        elif self.resize is not None:
            height, width = self.resize
        if not self.crop:
            return image if image.size == (width, height) else image.resize((width, height), self.resample)
        image = image.resize((width, height), self.resample)
        left, top = (self._before(size - part) for size, part in ((width, self.width), (height, self.height)))
        return image.crop((left, top, left + self.width, top + self.height))

    def _before(self, extra: int) -> int:
        """The pixels that a crop leaves out before its first, of all that it leaves out along a side."""
        return round(extra / 2) if self.to_even else extra // 2


def usual(height: int, width: int, channels: int = 3) -> Preprocessor:
    """The preprocessor of a model whose folder says nothing: squash, bilinear, values of -1 to 1."""
    return Preprocessor(height, width, (height, width), mean=HALVES[:channels], std=HALVES[:channels])


def load_preprocessor(folder: Any, config: Mapping[str, Any]) -> Preprocessor | None:
    """The preprocessor of a model folder, None where no file says it."""
    return None
