"""Pictures of a folder by words, or by a picture: which there are, how they become vectors, what is found."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image
from torch import nn

from formers.data.medium import PICTURES
from formers.errors import DataError
from formers.images.decode import decode
from formers.images.preprocess import Preprocessor
from formers.notes import note
from formers.pictures.figure import save
from formers.pictures.sheet import draw_sheet
from formers.systems.vectors.collection import EncodedBatch
from formers.systems.vectors.index import fingerprint
from formers.systems.vectors.mining import Vectors

BATCH, PIXELS = 32, 2**25  # pictures that become vectors together, and how large they are at most (100 MB as RGB)
THREADS, AHEAD = 2, 4  # that decode; pictures that wait decoded
ENOUGH = 2  # times the sides that a model sees: a JPEG is not read larger than that takes
THUMBNAIL = 256  # pixels of the longer side on a sheet


@runtime_checkable
class PictureEncoder(Protocol):
    """What gives pictures unit vectors: any loaded system of one model."""

    model: nn.Module
    preprocessor: Preprocessor

    def encode_pictures(self, images: Sequence[Image.Image]) -> Vectors:
        """(pictures, dim), float32, each of length one."""


@runtime_checkable
class WordsEncoder(Protocol):
    """What gives texts vectors among those of pictures: CLIP."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """(texts, dim), float32, each of length one."""


@dataclass(frozen=True)
class FoundPicture:
    """A picture that is like a query; of several queries it says of which."""

    rank: int
    score: float
    """Cosine similarity."""
    path: str
    query: str | None = None

    def line(self) -> str:
        return "\t".join([str(self.rank), f"{self.score:.4f}", self.path, *filter(None, [self.query])])


@dataclass(frozen=True)
class PicturePair:
    """Two pictures that are alike."""

    score: float
    first: str
    second: str

    def line(self) -> str:
        return "\t".join([f"{self.score:.4f}", self.first, self.second])


@dataclass(frozen=True)
class PictureFolder:
    """The pictures in a folder and below it, as a collection: keys are paths, stamps are time and size."""

    folder: Path

    def stamps(self) -> dict[str, list[int]]:
        """Path within the folder -> [time of change in nanoseconds, bytes, whether it may be read], in order.

        What is hidden is left out. Raises DataError for what is no folder, or has no picture.
        """
        if not self.folder.is_dir():
            raise DataError(
                f"{self.folder} is {'no folder' if self.folder.exists() else 'not there'}, expected a folder"
            )
        stamps, others = {}, 0

        def closed(fault: OSError) -> None:
            note(f"{fault.filename} cannot be read ({fault.strerror}): its pictures are left out")

        for place, folders, names in os.walk(self.folder, onerror=closed):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(place, name)
                if name.startswith(".") or path.suffix.lower() not in PICTURES.endings:
                    others += 1
                    continue
                with suppress(OSError):  # a link to nowhere, or gone by now
                    state, key = path.stat(), os.fsencode(path.relative_to(self.folder).as_posix())
                    stamp = [state.st_mtime_ns, state.st_size, int(os.access(path, os.R_OK))]
                    if stat.S_ISREG(state.st_mode):
                        stamps[key.decode("utf-8", "backslashreplace")] = stamp
        if not stamps:
            beside = f" ({others:,} other file(s))" if others else ""
            raise DataError(
                f"{self.folder} has no picture{beside}; expected files that end in {', '.join(PICTURES.endings)}"
            )
        return stamps

    def encoding(self, encoder: PictureEncoder, keys: Sequence[str]) -> Iterator[EncodedBatch]:
        """The vectors of these pictures, a batch at a time; the next ones are decoded meanwhile."""
        read: dict[str, Image.Image] = {}
        faults: dict[str, str] = {}
        rest, waiting = iter(keys), deque[tuple[str, Future[Image.Image]]]()
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in keys:
                for key in islice(rest, AHEAD - len(waiting)):
                    waiting.append((key, pool.submit(self.picture, key, encoder)))
                key, picture = waiting.popleft()
                try:
                    read[key] = picture.result()
                except DataError as fault:
                    faults[key] = str(fault)
                pixels = sum(image.width * image.height for image in read.values())
                if len(read) + len(faults) == BATCH or pixels > PIXELS or not waiting:
                    if faults:
                        yield EncodedBatch(faults=faults)
                    if read:
                        yield from encoded(encoder, read)
                    read, faults = {}, {}

    def picture(self, key: str, encoder: PictureEncoder | None = None) -> Image.Image:
        """See `picture_of`."""
        path = self.folder / key
        if not path.exists():
            raise DataError(f"{key} is gone, or its name is no text in UTF-8: rename it")
        return picture_of(path, key, encoder)


def encoded(encoder: PictureEncoder, pictures: Mapping[str, Image.Image]) -> Iterator[EncodedBatch]:
    """The vectors of pictures, together; each alone where the model refuses one of them, for its size."""
    try:
        yield EncodedBatch(list(pictures), encoder.encode_pictures(list(pictures.values())))
    except DataError as fault:
        if len(pictures) == 1:
            yield EncodedBatch(faults=dict.fromkeys(pictures, str(fault)))
        else:
            for key, picture in pictures.items():
                yield from encoded(encoder, {key: picture})


def picture_of(path: Path, name: str, encoder: PictureEncoder | None = None) -> Image.Image:
    """A picture, no larger than what makes vectors of it needs. Raises DataError, which names it."""
    least = None
    if encoder is not None:
        least = (ENOUGH * encoder.preprocessor.height, ENOUGH * encoder.preprocessor.width)
    return decode(path, name, least=least)


def fingerprint_of(encoder: PictureEncoder) -> str:
    """Names what makes the vectors: the weights, and how a picture is read."""
    return fingerprint(encoder.model, encoder.preprocessor.files())


def write_sheet(found: Sequence[FoundPicture], title: str, path: Path, query: Image.Image | None = None) -> None:
    """Draw what was found, with ranks and scores, into a file, behind a query that is a picture.

    What is gone meanwhile is left out.
    """
    pictures, titles = ([], []) if query is None else ([query], ["searched for"])
    for each in found:
        with suppress(DataError):
            pictures.append(picture_of(Path(each.path), each.path))
            words = [each.query, f"{each.rank}: {each.score:.3f}", os.path.basename(each.path)]
            titles.append(" ".join(filter(None, words)))
            pictures[-1].thumbnail((THUMBNAIL, THUMBNAIL))
    if not pictures:
        raise DataError("what was found is gone already: there is nothing to draw")
    save(draw_sheet([np.asarray(picture) for picture in pictures], titles, title), path)
