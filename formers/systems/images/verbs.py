"""The verbs of pictures: what they take, what they give."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from formers.fields import Natural, Part, check
from formers.systems.measure import PLAIN, Measure, measured
from formers.systems.pictures import Pictures
from formers.systems.system import Event, Typed

if TYPE_CHECKING:
    from formers.systems.images.system import PictureModel

SEEN = 6  # numbers of a vector that are shown


@dataclass(frozen=True, kw_only=True)
class ClassifyPictures:
    """What to classify."""

    pictures: Pictures
    """Pictures: files, folders, patterns."""
    top: Natural = 5
    """Say the N likeliest labels."""
    flip: bool = False
    """Average with what the mirrored picture gives."""

    def __post_init__(self) -> None:
        check(self)


def classify(model: PictureModel, options: ClassifyPictures) -> Iterator[Event]:
    """Each picture's likeliest labels, a group of pictures at a time."""
    alone = len(options.pictures) == 1
    done = 0
    for group in options.pictures:
        rows = model.classify([image for _, image in group], flip=options.flip)
        for (name, _), row in zip(group, rows, strict=True):
            yield model.likeliest(name, row, options.top, alone=alone)
        done += len(group)


@dataclass(frozen=True, kw_only=True)
class EncodePictures:
    """What to turn into vectors."""

    pictures: Pictures
    """Pictures: files, folders, patterns."""
    normalise: Annotated[bool | None, Typed(negatable=True)] = None
    """Vectors of length one (default: as the model does)."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class EvaluatePictures:
    """What to measure a model of pictures on."""

    data: Annotated[str, Typed("SOURCE", file=True)] = ""
    """Rows to measure with (default for a run: its test data)."""
    image: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the picture."""
    label: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the label, or of the answers."""
    flip: bool = False
    """Average with what the mirrored picture gives."""
    measure: Annotated[Measure, Part()] = PLAIN
    """What every encoder's `evaluate` has."""


def evaluate(model: PictureModel, options: EvaluatePictures) -> Iterator[Event]:
    """Top-1, top-5, calibration ... on the labelled pictures of --data, or on a run's own test data."""
    from formers.data.labels import Labels
    from formers.pictures.confusion import draw_confusion
    from formers.pictures.figure import save
    from formers.systems.begin import judged_rows
    from formers.systems.images.data import LabelledPictures, PictureBatches

    rows, table = judged_rows(options, "images", LabelledPictures, image="image", label="label")
    begin = time.perf_counter()
    batches = PictureBatches(table, model.preprocessor, rows, Labels(model.kind, model.labels))
    report = model.evaluate(batches, flip=options.flip)

    def draw(path: Path) -> None:
        save(draw_confusion(report.facts["confusion"], model.labels, title=table.name), path)

    files = dict.fromkeys((".png", ".svg", ".pdf"), draw) if model.kind == "one" else {}
    yield measured(report, "images", options.measure.origin, table, begin, unit="pictures", files=files)


def encode(model: PictureModel, options: EncodePictures) -> Iterator[Event]:
    """The vector of every picture."""
    raise NotImplementedError
