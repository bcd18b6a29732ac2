"""Images: the labels of a picture, and its vector.

picture -> preprocessor -> PictureClassifier -> logits -> softmax or sigmoids       picture -> ViT or ResNet -> vector
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from formers.errors import ConfigError
from formers.images.preprocess import Preprocessor
from formers.metrics.retrieval import unit
from formers.models.picture_classifier import PictureClassifier
from formers.models.resnet import ResNet
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded
from formers.systems.images.data import PictureBatches
from formers.systems.labelling import label_report
from formers.systems.picture_bodies import body_of, used
from formers.systems.ranked_labels import RankedLabels, likeliest
from formers.systems.reading import read_by
from formers.systems.system import Report

if TYPE_CHECKING:
    from PIL.Image import Image

    from formers.data.labels import LabelKind

Vectors = NDArray[np.float32]


class PictureModel:
    """A model of pictures with its preprocessor: what `formers.load` gives for such models."""

    def __init__(self, model: nn.Module, preprocessor: Preprocessor | None, *, family: str | None = None) -> None:
        self.model, self._preprocessor, self.family = model, preprocessor, family

    @property
    def preprocessor(self) -> Preprocessor:
        """Raises ConfigError for a model without one."""
        return read_by(self._preprocessor, "pictures")

    @property
    def head(self) -> PictureClassifier:
        """The model where it gives labels. Raises ConfigError for a body alone."""
        if not isinstance(self.model, PictureClassifier):
            name = type(self.model).__name__
            raise ConfigError(
                f"this model is a {name} without labels; train some onto it (formers train images/finetune --set "
                "model.start=MODEL), or judge its vectors (formers evaluate MODEL --probe)"
            )
        return self.model

    @property
    def labels(self) -> tuple[str, ...]:
        return self.head.config.labels

    @property
    def kind(self) -> LabelKind:
        """one or several."""
        return self.head.config.kind

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def classify(self, images: Sequence[Image], *, flip: bool = False) -> Vectors:
        """(pictures, labels): the probability of each label; flip: the mean with those of the mirrored pictures."""
        batches = self.batches(images)
        return self.probabilities(self.outputs(batches, self.head, flip=flip)).numpy()

    def encode(self, images: Sequence[Image], *, flip: bool = False) -> Vectors:
        """(pictures, dim): the vector that a head reads, or would read."""
        return torch.cat(list(self.outputs(self.batches(images), self.vectors, flip=flip))).numpy()

    def batches(self, images: Sequence[Image], most: int = 64) -> Iterator[Tensor]:
        """The pictures as the model reads them."""
        for start in range(0, len(images), most):
            yield self.preprocessor.batch(images[start : start + most])

    def vectors(self, pictures: Tensor) -> Tensor:
        """(pictures, dim) of pictures as the model reads them."""
        model: Any = self.model
        if isinstance(model, PictureClassifier):
            return model.features(model.body(pictures))
        return model.pool(model(pictures))

    def outputs(self, batches: Iterable[Tensor], compute: Any, *, flip: bool = False) -> Iterator[Tensor]:
        """What `compute` gives for each batch, on the CPU in fp32; flip: beside it for the mirrored pictures,
        (2, pictures, ...)."""
        with used(self.model):
            for pictures in batches:
                pictures = pictures.to(self.device, next(self.model.parameters()).dtype)
                if pictures.ndim == 4 and isinstance(body_of(self.model), ResNet):
                    pictures = pictures.contiguous(memory_format=torch.channels_last)
                output = compute(pictures).float().cpu()
                yield torch.stack([output, compute(pictures.flip(-1)).float().cpu()]) if flip else output

    def probabilities(self, logits: Iterable[Tensor]) -> Tensor:
        """(pictures, labels) of the logits of batches."""
        parts = [batch.softmax(-1) if self.kind == "one" else batch.sigmoid() for batch in logits]
        return torch.cat([part.mean(0) if part.ndim == 3 else part for part in parts])

    def likeliest(self, picture: str, row: Vectors, top: int, *, alone: bool = False) -> RankedLabels:
        """The `top` likeliest labels of a picture whose probabilities are `row`."""
        return likeliest(picture, row, self.labels, top, kind=self.kind, alone=alone)

    def evaluate(self, batches: PictureBatches, *, flip: bool = False) -> Report:
        """The loss (no smoothing, no weights) and the scores of the pictures, unchanged."""
        if batches.order.once is None:
            rows, parts = batches.order.encoded(lambda pictures: list(self.outputs(pictures, self.head, flip=flip)))
        else:
            rows, kept = batches.order.kept
            parts = list(self.outputs([kept], self.head.label))
        facts = {"pictures": len(rows), "unreadable": len(batches.pixels.refused)}
        return label_report(self.kind, self.labels, self.probabilities(parts), batches.labels[rows], facts)

    def encode_pictures(self, images: Sequence[Image]) -> Vectors:
        """(pictures, dim): their vectors, each of length one, as a search compares them."""
        return unit(self.encode(images))

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout: of the family where that has a word for it, else our own."""
        save_model(folder, self.model, preprocessor=self._preprocessor, system="images")


def open_pictures(loaded: Loaded) -> PictureModel:
    """The system of a loaded checkpoint."""
    assert body_of(loaded.model) is not None  # the registry names this opener for such models only
    return PictureModel(loaded.model, loaded.preprocessor, family=loaded.family)
