"""Small pictures whose label is their colour, and small models of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from formers.data.labels import Labels
from formers.data.pictures import read_pictures
from formers.images.preprocess import Preprocessor
from formers.models.picture_classifier import PictureClassifier, PictureHeadConfig
from formers.systems.images.system import PictureModel
from formers.systems.picture_sizes import PictureSizes

NAMES = ("blue", "green", "red")
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (20, 40, 220)}
VIT = {"kind": "vit", "height": 16, "dim": 16, "layers": 2, "heads": 2, "hidden": 32}
RESNET = {"kind": "resnet", "height": 16, "widths": (8, 16), "depths": (1, 2)}


def picture(label: str, number: int, size: tuple[int, int] = (20, 16)) -> Image.Image:
    """A picture (width, height) of a colour, with noise of its own."""
    noise = np.random.default_rng([NAMES.index(label), number]).integers(-25, 26, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.array(COLOURS[label]) + noise, 0, 255).astype(np.uint8))


def encoded(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def folder(root: Path, each: int = 8, first: int = 0) -> Path:
    """Class folders with so many pictures each."""
    for label in NAMES:
        (root / label).mkdir(parents=True)
        for number in range(first, first + each):
            picture(label, number).save(root / label / f"{number:03}.png")
    return root


def table(root: Path):
    return read_pictures(root, columns=["label"])


def model(sizes: dict | None = None, labels=NAMES, kind="one", *, seed: int = 0) -> PictureModel:
    """A model of random weights, batch norms' statistics among them."""
    torch.manual_seed(seed)
    sizes = PictureSizes(**(sizes or VIT))
    classifier = PictureClassifier(PictureHeadConfig(body=sizes.config(), labels=tuple(labels), kind=kind))
    randomise(classifier)
    return PictureModel(classifier.eval(), Preprocessor(16, 16, 16, crop=True))


@torch.no_grad()
def randomise(network: torch.nn.Module) -> None:
    for name, weight in [*network.named_parameters(), *network.named_buffers()]:
        if weight.is_floating_point():
            around = 1.0 if "norm" in name and name.endswith(("weight", "var")) else 0.0
            weight.copy_(around + 0.2 * torch.randn(weight.shape).clamp(-2, 2))


def labels(kind="one") -> Labels:
    return Labels(kind, NAMES)
