"""The verbs of pictures: what they take, what they give."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from formers.fields import Natural, Part, check
from formers.systems.measure import ALL_MEDIA, NO_PROBE, MeasureMedia, ProbeOptions, measured
from formers.systems.pictures import Pictures
from formers.systems.system import Event, Typed
from formers.systems.vectors.encoded import encoded_pictures

if TYPE_CHECKING:
    from PIL.Image import Image

    from formers.systems.images.system import PictureModel, Vectors


@dataclass(frozen=True, kw_only=True)
class ClassifyPictures:
    """What to classify."""

    pictures: Pictures
    """Pictures: files, folders with all below them, patterns; - is one on standard input."""
    top: Natural = 5
    """Say the N likeliest labels of a picture."""
    flip: bool = False
    """Average with what the mirrored picture gives."""

    def __post_init__(self) -> None:
        check(self)


def classify(model: PictureModel, options: ClassifyPictures) -> Iterator[Event]:
    """Each picture's likeliest labels, a group of pictures at a time."""
    alone = len(options.pictures) == 1

    def work(group: Sequence[tuple[str, Image]]) -> Iterator[Event]:
        rows = model.classify([image for _, image in group], flip=options.flip)
        return (
            model.likeliest(name, row, options.top, alone=alone) for (name, _), row in zip(group, rows, strict=True)
        )

    yield from options.pictures.worked(work)


@dataclass(frozen=True, kw_only=True)
class EncodePictures:
    """What to turn into vectors."""

    pictures: Pictures
    """Pictures: files, folders with all below them, patterns; - is one on standard input."""
    flip: bool = False
    """Average with what the mirrored picture gives."""
    normalise: Annotated[bool | None, Typed(negatable=True)] = None
    """Vectors of length one (default: as the model does)."""

    def __post_init__(self) -> None:
        check(self)


def encode(model: PictureModel, options: EncodePictures) -> Iterator[Event]:
    """The vector of every picture: what a head reads."""
    from formers.metrics.retrieval import unit

    def vectors(images: Sequence[Image]) -> Vectors:
        rows = model.encode(images, flip=options.flip)
        return unit(rows) if options.normalise else rows

    return encoded_pictures(options.pictures, vectors)


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
    probing: Annotated[ProbeOptions, Part()] = NO_PROBE
    """Vectors, judged by labels."""
    measure: Annotated[MeasureMedia, Part()] = ALL_MEDIA
    """What every `evaluate` of pictures and sounds has."""


def evaluate(model: PictureModel, options: EvaluatePictures) -> Iterator[Event]:
    """Top-1, top-5, calibration ... on the labelled pictures of --data, or on a run's own test data."""
    from formers.data.labels import Labels
    from formers.systems.begin import judged_rows
    from formers.systems.images.data import LabelledPictures, PictureBatches
    from formers.systems.labelling import confusion_files

    rows, judged = judged_rows(options, "images", LabelledPictures, image="image", label="label")
    table: Any = judged
    begin, origin = time.perf_counter(), options.measure.origin
    if options.probing.probe:
        from formers.systems.vectors.probe import probed

        def vectors(part: Any, kind: Labels) -> Iterator[tuple[Sequence[int], Vectors]]:
            for numbers, pictures in PictureBatches(part, model.preprocessor, rows, kind).plain():
                (output,) = model.outputs([pictures], model.vectors)
                yield numbers.tolist(), output.numpy()

        source = origin.section("data", "images")
        report, labels = yield from probed(options.probing.train, source, rows, table, vectors, "picture")
    else:
        labels = model.labels
        kind = Labels(model.kind, labels)
        table = table.usable(lambda row: kind.answers(row, rows.label, rows.separator))
        batches = PictureBatches(table, model.preprocessor, rows, kind)
        report = model.evaluate(batches, flip=options.flip)

    more: dict[str, Any] = {"files": confusion_files(report, labels, table.name)}
    if broken := report.facts.get("unreadable"):
        more["remarks"] = {"unreadable": f"{broken:,} picture(s) left out"}
    yield measured(report, "images", origin, table, begin, unit="pictures", **more)
