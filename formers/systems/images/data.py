"""Labelled pictures: read, changed at random, reported on, batched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.labels import Labels
from formers.data.pictures import PictureTable, read_pictures
from formers.data.source import Source, settings_of
from formers.errors import ConfigError
from formers.fields import Part
from formers.images.augment import mixed
from formers.images.preprocess import Preprocessor
from formers.systems.labelling import row_weights
from formers.systems.picture_batches import PLAIN_ROWS, PictureOrder, PictureRows

MIXING = 1  # beside (seed, epoch, row) of a batch's first picture


@dataclass(frozen=True, kw_only=True)
class LabelledPictures:
    """Columns of the labelled pictures, how they are changed while training, and how they are batched."""

    image: str = "image"
    """Column of the picture: its bytes, or its path."""
    label: str = "label"
    """Column of the label: a name, the number of a class, or a list of them (several); of folders their name."""
    separator: str = ""
    """What stands between the labels of one field, such as ";" in a CSV file: a picture has several labels then."""
    balanced: bool = False
    """Rows are drawn so that labels come equally often: rare ones again and again, common ones not in every epoch."""
    pictures: Annotated[PictureRows, Part()] = PLAIN_ROWS
    """How pictures are read."""

    def __post_init__(self) -> None:
        if not self.image or not self.label:
            raise ConfigError("rows.image and rows.label must name columns")

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads the rows."""
        settings = settings_of(self, "image", "label")
        return {"reader": read_pictures, "columns": [self.label], "image": self.image, "settings": settings}


@dataclass(frozen=True)
class PictureBatch:
    pictures: Tensor
    """(rows, channels, height, width), as the model reads them; or what the head reads of them, of a frozen body."""
    labels: Tensor
    """(rows,) class numbers, or (rows, labels) the share of each: of several labels, and where pictures are mixed."""


class PictureBatches:
    """The batches of a table of labelled pictures."""

    def __init__(
        self,
        table: PictureTable,
        preprocessor: Preprocessor,
        config: LabelledPictures,
        labels: Labels,
        *,
        seed: int = 1,
        mixup: float = 0.0,
        cutmix: float = 0.0,
    ) -> None:
        """mixup, cutmix: how strongly pictures of a batch are mixed (Zhang et al. 2018; Yun et al. 2019)."""
        self.labels = labels.answers(table.table, config.label, config.separator)
        weights = row_weights(self.labels) if config.balanced else None
        order = PictureOrder(table, preprocessor, config.pictures, seed=seed, weights=weights)
        self.epoch, self.describe, self.plain = order.epoch, order.describe, order.plain
        self.table, self.config, self.kind, self.seed = table, config.pictures, labels, seed
        self.order, self.pixels = order, order.pixels
        self.mixup, self.cutmix = mixup, cutmix

    def __len__(self) -> int:
        return len(self.table)

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> PictureBatch:
        """These pictures, changed and mixed at random: a pure function of seed, epoch and rows."""
        epoch, numbers, pictures = self.order.changed(rows)
        labels = torch.from_numpy(self.labels[numbers])
        if self.mixup or self.cutmix:
            if labels.ndim == 1:
                labels = torch.nn.functional.one_hot(labels, len(self.kind.names))
            dice = np.random.default_rng([self.seed, epoch, int(numbers[0]), MIXING])
            pictures, labels = mixed(pictures, labels.float(), dice, mixup=self.mixup, cutmix=self.cutmix)
        return PictureBatch(pictures, labels)
