"""How near a picture is to another: PSNR, SSIM (Wang et al. 2004), colourfulness (Hasler and Suesstrunk 2003).

Pictures are (n, channels, height, width) in 0 to 1; every score is of each picture, (n,).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS, WIDTH = 5, 1.5  # of SSIM's window: 11 x 11 pixels, a Gaussian
STEADY = (0.01**2, 0.03**2)  # what keeps SSIM's divisions steady, for values of 0 to 1
FEWEST = 1e-10  # squared error of what is called the same: 100 dB


def squared_error(pictures: Tensor, others: Tensor) -> Tensor:
    """Summed over the numbers of a picture, as Hinton and Salakhutdinov (2006) report it; rows of any shape."""
    return (pictures - others).flatten(1).square().sum(1)


def psnr(pictures: Tensor, others: Tensor) -> Tensor:
    """Peak signal to noise in dB, at most 100."""
    return -10 * (pictures - others).flatten(1).square().mean(1).clamp(min=FEWEST).log10()


def ssim(pictures: Tensor, others: Tensor) -> Tensor:
    """Structural similarity, at most 1: the mean over channels and over all places where the window fits.

    Pictures smaller than the window get one that fits.
    """
    channels, side = pictures.shape[1], min(pictures.shape[2:])
    radius = min(RADIUS, (side - 1) // 2)
    places = torch.arange(-radius, radius + 1, dtype=pictures.dtype, device=pictures.device)
    line = (-places.square() / (2 * WIDTH**2)).exp()
    line = (line / line.sum()).expand(channels, 1, -1)

    def smooth(values: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(values, line[:, :, None], groups=channels), line[..., None], groups=channels)

    mean, other = smooth(pictures), smooth(others)
    spread, spread_of_other = smooth(pictures.square()) - mean.square(), smooth(others.square()) - other.square()
    together = smooth(pictures * others) - mean * other
    likeness = (2 * mean * other + STEADY[0]) * (2 * together + STEADY[1])
    most = (mean.square() + other.square() + STEADY[0]) * (spread + spread_of_other + STEADY[1])
    return (likeness / most).flatten(1).mean(1)


def colourfulness(pictures: Tensor) -> Tensor:
    """How colourful people find it: 0 is grey, 15 slightly, 45 averagely, 109 extremely; of 0 to 255, as published."""
    red, green, blue = (255 * pictures).flatten(2).unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue])
    spread, mean = opponents.std(-1, correction=0), opponents.mean(-1)
    return spread.square().sum(0).sqrt() + 0.3 * mean.square().sum(0).sqrt()
