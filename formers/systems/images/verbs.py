"""The verbs of pictures: what they take, what they give."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from formers.errors import ConfigError
from formers.fields import Natural, Part, check
from formers.systems.measure import PLAIN, Measure, measured
from formers.systems.pictures import Pictures
from formers.systems.system import Event, Progress, Typed
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
    probe: bool = False
    """Judge the vectors instead: a logistic regression and the nearest pictures of --train, by whatever labels."""
    train: Annotated[str, Typed("SOURCE", file=True)] = ""
    """Rows that --probe learns from (default for a run: its training data)."""
    measure: Annotated[Measure, Part()] = PLAIN
    """What every `evaluate` by rows has."""

    def __post_init__(self) -> None:
        if self.train and not self.probe:
            raise ConfigError("--train is for --probe, which learns from it")


def evaluate(model: PictureModel, options: EvaluatePictures) -> Iterator[Event]:
    """Top-1, top-5, calibration ... on the labelled pictures of --data, or on a run's own test data."""
    from formers.data.labels import Labels
    from formers.systems.begin import judged_rows
    from formers.systems.images.data import LabelledPictures, PictureBatches
    from formers.systems.labelling import confusion_files

    rows, judged = judged_rows(options, "images", LabelledPictures, image="image", label="label")
    table: Any = judged
    begin, origin = time.perf_counter(), options.measure.origin
    if options.probe:
        report, labels = yield from probed(model, options, rows, table, origin.section("data", "images"))
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


def probed(
    model: PictureModel, options: EvaluatePictures, rows: Any, table: Any, source: Any
) -> Generator[Event, None, tuple[Any, tuple[str, ...]]]:
    """The report on the model's vectors of a table, and the labels; the training rows are those of --train."""
    import numpy as np

    from formers.data.labels import learn_labels
    from formers.data.source import Source
    from formers.systems.images.data import PictureBatches
    from formers.systems.vectors.probe import probe

    name = options.train or (source.train if source is not None else "")
    if not name:
        raise ConfigError("--probe learns from labelled pictures: give --train SOURCE")
    learning = replace(source or Source(), train=name)
    train = learning.read("train", **rows.reading(learning))
    labels = learn_labels(train.table, rows.label, "one")
    vectors: list[tuple[Vectors, Any]] = []
    for part, what in ((train, "training pictures"), (table, "test pictures")):
        part = part.usable(lambda row: labels.answers(row, rows.label, rows.separator))
        batches = PictureBatches(part, model.preprocessor, rows, labels)
        parts, places = [], []
        for numbers, pictures in batches.plain():
            parts += [output.numpy() for output in model.outputs([pictures], model.vectors)]
            places += numbers.tolist()
            yield Progress(len(places), len(part), f"encoding {what}")
        vectors.append((np.concatenate(parts), batches.labels[places]))
    return probe(vectors[0], vectors[1], labels.names), labels.names
