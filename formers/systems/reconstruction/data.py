"""Pictures, made worse where a model is to restore them, and documents as counts of words: read and batched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.documents import read_documents
from formers.data.pictures import PictureTable, read_pictures
from formers.data.source import Source, settings_of
from formers.data.sources import Table
from formers.data.words import WordCounts
from formers.errors import ConfigError, DataError
from formers.fields import Count, Natural, Part, check
from formers.images.augment import PLAIN
from formers.images.corrupt import Corruption
from formers.images.preprocess import Preprocessor
from formers.models.autoencoder import AutoencoderConfig, Repair
from formers.systems.picture_batches import AT_ONCE, PictureOrder, PictureRows
from formers.systems.reconstruction.repair import ReconstructionBatch, inputs_of, targets_of
from formers.systems.shuffled import Shuffled, epoch_of

CORRUPTING = 2  # beside (seed, epoch, row) of a batch's first picture
JUDGED = 1 << 20  # in place of the epoch: pictures that are judged are made worse in the same way every time
UNCHANGED = Corruption()
TASKS: dict[str, Repair] = {"none": "reconstruct", "noise": "denoise", "obstacles": "inpaint", "grey": "colour"}
PICTURES = PictureRows(batch=256)


@dataclass(frozen=True, kw_only=True)
class ReconstructionRows:
    """What is reconstructed, how pictures are made worse before, and how both are batched."""

    kind: Literal["pictures", "documents"] = "pictures"
    """What the rows are."""
    image: str = "image"
    """Column of the picture: its bytes, or its path (pictures)."""
    text: str = "text"
    """Column of the text (documents)."""
    label: str = ""
    """Column of the class, by which codes are compared with each other; nothing is learned of it (empty: none)."""
    separator: str = "file"
    """What parts a text file into documents: file, line, blank, or a mark in it (documents)."""
    words: Natural = 2000
    """How many words are counted, the commonest of the training texts (documents)."""
    skip: Count = 0
    """How many of the very commonest words are not counted, such as the, of, and (documents)."""
    grey: bool = False
    """Pictures are read as grey, one number a pixel."""
    pictures: Annotated[PictureRows, Part()] = PICTURES
    """How pictures are read and changed, which also changes what is to come out; of documents their batch."""
    corruption: Annotated[Corruption, Part()] = UNCHANGED
    """How pictures are made worse, for a model that restores them."""

    def __post_init__(self) -> None:
        check(self, "rows")
        if not self.image or not self.text:
            raise ConfigError("rows.image and rows.text must name columns")
        if self.kind == "documents" and (self.task != "reconstruct" or self.pictures.augmentation != PLAIN):
            raise ConfigError(
                'rows.corruption and changes are for pictures, but rows.kind is "documents"; leave them out'
            )
        if self.grey and self.task == "colour":
            raise ConfigError(
                'rows.grey leaves no colours to learn from; set it to false, or rows.corruption to "none"'
            )

    @property
    def task(self) -> Repair:
        """What a model learns that restores such pictures."""
        return TASKS.get(self.corruption.corruption, "denoise")

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads the rows."""
        labels, settings = [self.label] if self.label else [], settings_of(self, "image", "text")
        if self.kind == "pictures":
            return {"reader": read_pictures, "columns": labels, "image": self.image, "settings": settings}
        if labels:
            return {"columns": [self.text, *labels], "text": [self.text], "settings": settings}
        return {"reader": partial(read_documents, column=self.text, separator=self.separator), "settings": settings}

    def preprocessor(self, side: tuple[int, int]) -> Preprocessor:
        """Of a new model: to this size, values of 0 to 1."""
        channels = 1 if self.grey else 3
        squash = self.pictures.fit == "squash" or side[0] != side[1]
        resize = side if squash else side[0]
        return Preprocessor(*side, resize, crop=not squash, mean=(0.0,) * channels, std=(1.0,) * channels)


class PictureRepairs:
    """The batches of a table of pictures."""

    def __init__(
        self,
        table: PictureTable,
        preprocessor: Preprocessor,
        rows: ReconstructionRows,
        model: AutoencoderConfig,
        *,
        seed: int = 1,
    ) -> None:
        order = PictureOrder(table, preprocessor, rows.pictures, seed=seed)
        self.epoch, self.describe, self.order = order.epoch, order.describe, order
        self.table, self.rows, self.model, self.seed = table, rows, model, seed

    def __len__(self) -> int:
        return len(self.table)

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> ReconstructionBatch:
        """These pictures, changed and made worse at random: a pure function of seed, epoch and rows."""
        epoch, numbers, pictures = self.order.changed(rows)
        worse, mask = self.worse(pictures, epoch, int(numbers[0]))
        inputs = inputs_of(self.model, worse, mask)
        return ReconstructionBatch(inputs, targets_of(self.model, pictures), mask)

    def judged(self) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor, Tensor | None]]:
        """(rows, pictures, the same made worse, mask) of some at a time, in order and always the same."""
        for rows, pictures in self.order.plain():
            yield rows, pictures, *self.again(pictures, rows)

    def again(self, pictures: Tensor, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        """Pictures made worse as they are when they are judged, and what is hidden."""
        return self.worse(pictures, JUDGED, int(rows[0]))

    def worse(self, pictures: Tensor, epoch: int, row: int) -> tuple[Tensor, Tensor | None]:
        dice = np.random.default_rng([self.seed, epoch, row, CORRUPTING])
        return self.rows.corruption.corrupt(pictures, dice)


class CountedDocuments:
    """The batches of a table of texts, as counts of words."""

    def __init__(self, table: Table, counts: WordCounts, rows: ReconstructionRows, *, seed: int = 1) -> None:
        order = Shuffled(table, rows.pictures.batch, seed)
        self.epoch, self.describe = order.epoch, order.describe
        self.table, self.counts = table, counts

    def __len__(self) -> int:
        return len(self.counts)

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> ReconstructionBatch:
        counts = torch.from_numpy(self.counts.of(epoch_of(rows)[1]))
        return ReconstructionBatch(frequencies(counts), counts)

    def judged(self) -> Iterator[ReconstructionBatch]:
        """All of them in order."""
        return (self.collate(range(at, min(at + AT_ONCE, len(self)))) for at in range(0, len(self), AT_ONCE))


def counted(table: Table, rows: ReconstructionRows, words: Sequence[str], *, drop: bool) -> tuple[Table, WordCounts]:
    """The texts of a table and their counts, without those that have none of the words, if `drop`.

    Raises DataError with the place of the first such text, and where all are such.
    """
    counts = WordCounts(table.columns[rows.text], words)
    empty = np.flatnonzero(counts.lengths == 0)
    if not len(empty):
        return table, counts
    if not drop or len(empty) == len(table):
        text = table.columns[rows.text][empty[0]]
        what = f"has none of the {len(words):,} words that are counted ({len(empty):,} of {len(table):,} rows)"
        raise DataError(f"{table.where(int(empty[0]), text)} {what}; leave such out: --set data.drop_empty=true")
    table = table.select(np.flatnonzero(counts.lengths).tolist())
    return table, WordCounts(table.columns[rows.text], words)


def frequencies(counts: Tensor) -> Tensor:
    """Counts as a model reads them: the root of each word's share of its text, of length one together."""
    return (counts / counts.sum(1, keepdim=True).clamp(min=1)).sqrt()


def usual_rows(model: AutoencoderConfig) -> ReconstructionRows:
    """How rows are read for a model that comes without a recipe."""
    if model.words:
        return ReconstructionRows(kind="documents")
    corruption = next(name for name, task in TASKS.items() if task == model.task)
    return ReconstructionRows(corruption=Corruption(corruption=corruption))  # type: ignore[arg-type]
