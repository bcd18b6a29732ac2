"""Colours of pictures as lightness and two numbers of colour: YCbCr and CIELAB of sRGB, both ways.

pictures (.., 3, height, width), red, green and blue of 0 to 1
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Space = Literal["ycbcr", "lab"]
# JPEG's YCbCr (ITU-R BT.601, all of the range): lightness 0 to 1, colour -0.5 to 0.5.
YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
RGB_OF_YCBCR = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
# CIE XYZ of linear sRGB (IEC 61966-2-1), and the white of daylight (D65, 2 degrees).
XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.95047, 1.0, 1.08883)
LINEAR = 6 / 29  # below this root a straight line stands for the cube root
# What makes lightness 0 to 1 and colours about -1 to 1, as a model reads and predicts them.
SCALES = {"ycbcr": (1.0, 0.5, 0.5), "lab": (100.0, 110.0, 110.0)}


def to_ycbcr(pictures: Tensor) -> Tensor:
    """Y in 0 to 1, Cb and Cr in -0.5 to 0.5, where grey is 0."""
    return _times(YCBCR, pictures)


def from_ycbcr(values: Tensor) -> Tensor:
    """Red, green and blue, which may lie outside of 0 to 1."""
    return _times(RGB_OF_YCBCR, values)


def to_lab(pictures: Tensor) -> Tensor:
    """L* in 0 to 100, a* and b* in about -100 to 100, where grey is 0."""
    linear = torch.where(pictures > 0.04045, ((pictures + 0.055) / 1.055).clamp(min=0) ** 2.4, pictures / 12.92)
    shares = _times(XYZ, linear) / _channels(WHITE, linear)
    roots = torch.where(shares > LINEAR**3, shares.clamp(min=LINEAR**3) ** (1 / 3), shares / (3 * LINEAR**2) + 4 / 29)
    x, y, z = roots.unbind(-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -3)


def from_lab(values: Tensor) -> Tensor:
    """Red, green and blue, which may lie outside of 0 to 1 for colours that a screen does not have."""
    lightness, a, b = values.unbind(-3)
    y = (lightness + 16) / 116
    roots = torch.stack([y + a / 500, y, y - b / 200], -3)
    shares = torch.where(roots > LINEAR, roots**3, 3 * LINEAR**2 * (roots - 4 / 29))
    inverse = torch.linalg.inv(torch.tensor(XYZ, dtype=torch.float64)).tolist()
    linear = _times(inverse, shares * _channels(WHITE, shares))
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp(min=1e-8) ** (1 / 2.4) - 0.055, 12.92 * linear)


def parted(pictures: Tensor, space: Space) -> tuple[Tensor, Tensor]:
    """Lightness, (.., 1, height, width) in 0 to 1, and colour, (.., 2, height, width) in about -1 to 1."""
    values = to_ycbcr(pictures) if space == "ycbcr" else to_lab(pictures)
    values = values / _channels(SCALES[space], values)
    return values[..., :1, :, :], values[..., 1:, :, :]


def merged(lightness: Tensor, colour: Tensor, space: Space) -> Tensor:
    """Pictures in 0 to 1 of what `parted` gives; a colour that a screen does not have becomes one that it has."""
    values = torch.cat([lightness, colour], -3)
    values = values * _channels(SCALES[space], values)
    return (from_ycbcr(values) if space == "ycbcr" else from_lab(values)).clamp(0, 1)


def is_grey(pictures: Tensor) -> Tensor:
    """Whether a picture, (.., 3, height, width), has no colour: of a JPEG's grey, too, which is off by a level."""
    return (pictures.amax(-3) - pictures.amin(-3)).flatten(-2).amax(-1) <= 2 / 255


def _times(matrix: tuple[tuple[float, ...], ...] | list[list[float]], pictures: Tensor) -> Tensor:
    return torch.einsum(
        "ij,...jhw->...ihw", torch.tensor(matrix, dtype=pictures.dtype, device=pictures.device), pictures
    )


def _channels(values: tuple[float, ...], pictures: Tensor) -> Tensor:
    return torch.tensor(values, dtype=pictures.dtype, device=pictures.device).view(-1, 1, 1)
