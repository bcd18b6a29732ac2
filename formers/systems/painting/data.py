"""Pictures with what is said of them, and the noise they are hidden in: read, batched, latents kept once computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.pictures import PictureTable, read_pictures
from formers.data.source import Source, settings_of
from formers.diffusion.denoise import draw, generators
from formers.diffusion.times import ALL_ALIKE, Times
from formers.errors import ConfigError
from formers.fields import Natural, Part, check
from formers.images.augment import uniform
from formers.images.preprocess import Preprocessor
from formers.systems.painting.system import Painter
from formers.systems.picture_batches import PLAIN_ROWS, PictureOrder, PictureRows

READ = 4096  # captions that are read together
JUDGED = 1 << 20  # in place of the epoch: the noise that pictures are judged in is the same every time
NOISE = 7  # beside (seed, epoch, row) of a picture
GOLDEN = (5**0.5 - 1) / 2  # multiples of it lie evenly between whole numbers, however many there are


@dataclass(frozen=True, kw_only=True)
class PaintingRows:
    """Columns of the pictures and of what is said of them, and how they are read and batched."""

    image: str = "image"
    """Column of the picture: its bytes, or its path."""
    text: str = "caption"
    """Column of the caption, or of a label, whose name is then read (empty: none is read)."""
    grey: bool = False
    """Pictures are read as grey, one number a pixel."""
    pictures: Annotated[PictureRows, Part()] = PLAIN_ROWS
    """How pictures are read."""
    tokenizer: str = ""
    """Folder of a tokenizer for a new tower of texts (empty: one is trained, in the form of CLIP's)."""
    vocab: Natural = 2000
    """Most tokens of a new tokenizer, which has 514 of single letters."""

    def __post_init__(self) -> None:
        check(self, "rows")
        if not self.image:
            raise ConfigError("rows.image must name a column")

    def reading(self, source: Source) -> dict[str, Any]:
        """How `Source` reads the rows."""
        columns = [self.text] if self.text else []
        settings = settings_of(self, "image", *["text"][: len(columns)])
        return {"reader": read_pictures, "columns": columns, "image": self.image, "settings": settings}

    def captions(self, table: PictureTable) -> list[str]:
        """What is said of each picture: a text, or the name of a class."""
        return [str(value) for value in table.table.named(self.text)] if self.text else []

    def preprocessor(self, side: int) -> Preprocessor:
        """To pictures of so many pixels each way, values from -1 to 1."""
        squash, half = self.pictures.fit == "squash", (0.5,) * (1 if self.grey else 3)
        return Preprocessor(side, side, (side, side) if squash else side, crop=not squash, mean=half, std=half)


class PaintingBatch(NamedTuple):
    pictures: Tensor
    """(rows, channels, height, width) from -1 to 1; of a model of latents whose pictures never change their moments."""
    noise: Tensor
    """(rows, latent channels, rows, columns), standard normal."""
    drawn: Tensor
    """The same, which latents are drawn from their Gaussian with."""
    times: Tensor
    """(rows,): how much of the noise is added."""
    tokens: Tensor | None
    """(rows, length), some of them of no text."""


class PaintingBatches:
    """The batches of a table of pictures."""

    def __init__(
        self, table: PictureTable, painter: Painter, config: PaintingRows, side: int, *,
        empty: float, times: Times = ALL_ALIKE, seed: int = 1,
    ) -> None:  # fmt: skip
        """empty: share of the captions that are left out; times: how those of the training are drawn."""
        self.table, self.rows, self.config, self.seed, self.empty = table, config, config.pictures, seed, empty
        order = PictureOrder(table, config.preprocessor(side), config.pictures, seed=seed)
        self.epoch, self.describe, self.pixels, self.order = order.epoch, order.describe, order.pixels, order
        self.times, self.which = painter.scheduler.schedule.times, times
        rows = side // painter.factor
        self.shape = painter.parts.unet.config.out_channels, rows, rows
        self.captions = config.captions(table)
        self.lengths: NDArray[np.int64] | None = None
        self.tokens: Tensor | None = None
        if self.captions:
            self.lengths, self.tokens = read_captions(painter, self.captions)

    def __len__(self) -> int:
        return len(self.table)

    def collate(self, rows: Sequence[int] | NDArray[np.int64]) -> PaintingBatch:
        """These pictures, their noise and their captions: a pure function of seed, epoch and row."""
        epoch, numbers, pictures = self.order.changed(rows)
        own = self.generators(epoch, numbers)
        times = torch.cat([self.which.draw(one, self.times) for one in own])
        left_out = torch.cat([torch.rand(1, generator=one) for one in own]) < self.empty
        return self.batch(pictures, numbers, own, times, left_out)

    def judged(self) -> Iterator[PaintingBatch]:
        """All of them in order, each always with the same noise at the same time, which are spread evenly."""
        if self.order.once is not None:
            rows, kept = self.order.kept
            parts = [(rows, kept)]
        else:
            parts = self.order.plain()  # type: ignore[assignment]
        for numbers, pictures in parts:
            for at in range(0, len(numbers), self.config.batch):
                some = numbers[at : at + self.config.batch]
                times = torch.from_numpy(((some + 1) * GOLDEN % 1 * self.times).astype(np.int64))
                own, nothing = self.generators(JUDGED, some), torch.zeros(len(some), dtype=torch.bool)
                yield self.batch(pictures[at : at + len(some)], some, own, times, nothing)

    def generators(self, epoch: int, numbers: NDArray[np.int64]) -> list[torch.Generator]:
        dice = uniform([(self.seed, epoch, int(row), NOISE) for row in numbers], 1)[:, 0]
        return generators([int(number * 2**53) for number in dice])

    def batch(
        self, pictures: Tensor, rows: NDArray[np.int64], own: list[torch.Generator], times: Tensor, left_out: Tensor
    ) -> PaintingBatch:
        noise, drawn = draw(own, (2, *self.shape)).unbind(1)
        tokens = None
        if self.tokens is not None:
            tokens = torch.where(left_out[:, None], self.tokens[-1], self.tokens[torch.from_numpy(rows)])
        return PaintingBatch(pictures, noise, drawn, times, tokens)

    def lines(self) -> list[str]:
        """What the report says of the captions."""
        if self.lengths is None or self.tokens is None:
            return ["captions: none are read"]
        different, most = len(set(self.captions)), self.tokens.shape[1]
        long = int((self.lengths > most).sum())
        cut = f"{long:,} ({long / len(self):.1%}) have more than the {most} that are read and are cut" if long else ""
        line = f"captions: {len(self):,}, {different:,} of them different; {self.lengths.mean():.1f} tokens, at most "
        repeated = f"; {len(self) - different:,} repeat another" * (different < len(self))
        return [f"{line}{self.lengths.max()}{repeated}", *([f"warning: of the captions {cut}"] if long else [])]


def read_captions(painter: Painter, captions: Sequence[str]) -> tuple[NDArray[np.int64], Tensor]:
    """How many tokens each caption has, and (captions + 1, length) what the tower reads of them, last of no text."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys([*captions, ""]))}
    texts = list(numbers)
    tokens = torch.cat([painter.tokens(texts[at : at + READ]) for at in range(0, len(texts), READ)])
    lengths = np.array([len(ids) for ids in painter.reader.tokenizer.encode(texts)])
    places = np.array([numbers[text] for text in [*captions, ""]])
    return lengths[places[:-1]], tokens[torch.from_numpy(places)]
