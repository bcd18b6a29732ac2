"""A model of pictures and words that needs no learning: a picture is its mean colour, a word the colour it names."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from formers.images.preprocess import Preprocessor, usual

NAMED = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1)}


class Colours:
    """What `formers.load` gives for such a model, whose weights are one matrix."""

    def __init__(self, scale: float = 1.0) -> None:
        self.model = torch.nn.Linear(3, 3, bias=False)
        torch.nn.init.eye_(self.model.weight).data.mul_(scale)
        self.preprocessor: Preprocessor = usual(8, 8)
        self.read = 0
        """Pictures that were encoded."""

    def encode_pictures(self, images: Sequence[Image.Image]) -> np.ndarray:
        self.read += len(images)
        return self._unit(self.preprocessor.batch(images).mean((2, 3)) / 2 + 0.5)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        words = [[NAMED[word] for word in text.split() if word in NAMED] for text in texts]
        return self._unit(torch.tensor([np.sum(colours, 0).tolist() for colours in words], dtype=torch.float32))

    def _unit(self, colours: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            return torch.nn.functional.normalize(self.model(colours + 1e-3), dim=-1).numpy()


class Pictured:
    """One that knows no words."""

    def __init__(self) -> None:
        inner = Colours(2.0)
        self.model, self.preprocessor, self.encode_pictures = inner.model, inner.preprocessor, inner.encode_pictures


def draw(path, colour: str | tuple[int, int, int], size: tuple[int, int] = (12, 8)) -> None:
    """Write a picture of one colour, a little lighter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
