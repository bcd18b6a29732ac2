"""Pictures with captions: read, changed at random, batched, with what says which of a batch are alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.pictures import PictureTable, read_pictures
from formers.data.source import Source, settings_of
from formers.errors import ConfigError
from formers.fields import Natural, Part, check
from formers.images.preprocess import Preprocessor
from formers.systems.picture_batches import PLAIN_ROWS, PictureOrder, PictureRows
from formers.text.reader import Inputs, Reader, Row

READ = 4096  # captions that are read together


@dataclass(frozen=True, kw_only=True)
class CaptionedPictures:
    """Columns of the captioned pictures, how they are changed while training, and how they are batched."""

    image: str = "image"
    """Column of the picture: its bytes, or its path."""
    text: str = "caption"
    """Column of the caption."""
    label: str = ""
    """Column of the label that zero-shot accuracy is measured with while training (empty: it is not)."""
    pictures: Annotated[PictureRows, Part()] = PLAIN_ROWS
    """How pictures are read."""
    tokenizer: str = ""
    """Folder of a tokenizer for new towers (empty: word pieces are trained; clip: pairs of bytes, as CLIP has them, for
    a tower that painters read with)."""
    vocab: Natural = 4000
    """Most word pieces or pairs of a tokenizer that is trained."""

    def __post_init__(self) -> None:
        check(self, "rows")
        if not self.image or not self.text:
            raise ConfigError("rows.image and rows.text must name columns")

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads the rows."""
        names = ["text", "label"] if self.label else ["text"]
        columns, settings = list(dict.fromkeys(getattr(self, name) for name in names)), ["image", *names]
        return {
            "reader": read_pictures,
            "columns": columns,
            "image": self.image,
            "text": [self.text],
            "settings": settings_of(self, *settings),
        }


@dataclass(frozen=True)
class CaptionBatch:
    pictures: Tensor
    """(rows, channels, height, width), as the model reads them; (rows, dim) where the tower of pictures is locked."""
    texts: Inputs | Tensor
    """The captions; (rows, dim) their vectors where the tower of texts is locked."""
    same: Tensor
    """(2, rows): equal numbers are equal pictures, equal captions."""


class CaptionBatches:
    """The batches of a table of captioned pictures."""

    def __init__(
        self,
        table: PictureTable,
        preprocessor: Preprocessor,
        config: CaptionedPictures,
        reader: Reader,
        *,
        seed: int = 1,
    ) -> None:
        order = PictureOrder(table, preprocessor, config.pictures, seed=seed)
        self.epoch, self.describe, self.plain = order.epoch, order.describe, order.plain
        self.table, self.config, self.reader, self.seed = table, config.pictures, reader, seed
        self.order, self.pixels = order, order.pixels
        self.captions: list[str] = table.table.columns[config.text]
        self.texts: list[Row] = []
        self.cut = 0
        for start in range(0, len(self.captions), READ):
            for encoding in reader.read(self.captions[start : start + READ], offsets=False):
                self.texts.append(Row(np.array(encoding.ids, np.int32), ()))
                self.cut += bool(encoding.overflowing)
        self.once: Callable[[Sequence[Row]], NDArray[np.float32]] | None = None
        """What makes vectors of texts that are then in batches, of a tower that never learns."""
        self.same = np.stack([numbered(self.names()), numbered([text.ids.tobytes() for text in self.texts])])  # type: ignore[union-attr]

    def names(self) -> list[Any]:
        """What tells the pictures apart: paths, where the table has them, else rows."""
        if self.table.places is not None or self.table.name.startswith("builtin:"):
            return list(range(len(self)))
        values = [self.table.values(self.table.number(row)) for row in range(len(self))]
        return [value if isinstance(value, str) else row for row, value in enumerate(values)]

    def __len__(self) -> int:
        return len(self.table)

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> CaptionBatch:
        """These pictures, changed at random, and their captions: a pure function of seed, epoch and rows."""
        _, numbers, pictures = self.order.changed(rows)
        texts = self.reader.batch([self.texts[row] for row in numbers]) if self.once is None else self.kept[numbers]
        return CaptionBatch(pictures, texts, torch.from_numpy(self.same[:, numbers]))

    @cached_property
    def kept(self) -> Tensor:
        """(rows, dim): the vectors of `once`, of which equal captions have one; computed when first asked for."""
        assert self.once is not None
        _, first, numbers = np.unique(self.same[1], return_index=True, return_inverse=True)
        return torch.from_numpy(self.once([self.texts[row] for row in first]))[numbers]

    def lines(self) -> list[str]:
        """What the report says of the captions."""
        lengths = np.array([len(text.ids) for text in self.texts])
        kinds = len(np.unique(self.same[1]))
        cut = f", {self.cut:,} ({self.cut / len(self):.1%}) cut" if self.cut else ""
        tokens = f"{lengths.mean():.1f} tokens, at most {lengths.max()}"
        line = f"captions: {len(self):,}, {kinds:,} of them different; {tokens}"
        counts = np.bincount(self.same[1])
        repeated = (1 - (1 - counts[self.same[1]] / len(self)) ** (self.config.batch - 1)).mean()
        again = f"; {repeated:.0%} of a batch's pictures meet their caption again, which is never a negative"
        return [line + cut + (again if repeated >= 0.005 and kinds < len(self) else "")]


def numbered(keys: Sequence[Any]) -> NDArray[np.int64]:
    """Equal keys as equal numbers."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
