"""What a picture is going to be, by a tiny decoder, or without one: latents to colours by one small matrix."""

from __future__ import annotations

import time
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from formers.diffusion.denoise import Moment
from formers.errors import ConfigError
from formers.files import expanded, replaced_file, try_file
from formers.models.vae import TinyVAE
from formers.systems.painting.paint import LatentPainter, channels_of, picture_of

PICTURES, SIDE, COLOURS = 8, 8, 3  # latents of a side; colours of a side, between which there are smooth ways
EVERY = 0.5  # seconds between two writings of the file


def fit(painter: LatentPainter) -> Tensor:
    """The matrix (latent channels + 1, channels) that gives a latent's mean colour in 0 to 1, by least squares.

    Over smooth random pictures; the last row is what is added.
    """
    channels = channels_of(painter)
    colours = torch.rand(PICTURES, channels, COLOURS, COLOURS, generator=torch.Generator().manual_seed(0))
    side = SIDE * painter.factor
    pictures = F.interpolate(colours, (side, side), mode="bicubic", align_corners=True).clamp(0, 1)
    wanted = F.avg_pool2d(pictures, painter.factor).movedim(1, -1).reshape(-1, channels)
    rows = with_ones(painter.latents(pictures).cpu())
    return torch.linalg.lstsq(rows.reshape(-1, rows.shape[-1]), wanted).solution


def with_ones(latents: Tensor) -> Tensor:
    """(pictures, rows, columns, channels + 1) of latents (pictures, channels, rows, columns)."""
    return F.pad(latents.float(), (0, 0, 0, 0, 0, 1), value=1.0).movedim(1, -1)


def rough(matrix: Tensor, latents: Tensor, factor: int) -> Image.Image:
    """The first picture of latents, blurred: a colour for each."""
    colours = picture_of((with_ones(latents[:1].cpu()) @ matrix).clamp(0, 1).movedim(-1, 1))
    return colours.resize((factor * colours.width, factor * colours.height), Image.Resampling.BICUBIC)


class LivePreview:
    """A file that follows the painting."""

    def __init__(self, painter: LatentPainter, name: str) -> None:
        """Raises ConfigError for a name that is no PNG's or JPEG's, OSError for one that cannot be written."""
        self.painter, self.path = painter, expanded(name)
        if self.path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise ConfigError(f"--preview {name}: expected a name that ends in .png or .jpg")
        try_file(self.path)
        self.matrix = None if isinstance(painter.parts.vae, TinyVAE) else fit(painter)
        self.last: Moment | None = None
        self.written = 0.0

    def follow(self, moment: Moment) -> None:
        """Write what this moment promises, unless the file is quite new."""
        self.last = moment
        if time.monotonic() - self.written >= EVERY:
            self.write()

    def write(self) -> Path | None:
        """Write the last moment, if there is one that is not written; gives the file."""
        if self.last is None:
            return None
        painter, matrix, clean = self.painter, self.matrix, self.last.clean[:1]
        image = picture_of(painter.pictures(clean)) if matrix is None else rough(matrix, clean, painter.factor)
        with replaced_file(self.path) as beside:
            image.save(beside)
        self.last, self.written = None, time.monotonic()
        return self.path
