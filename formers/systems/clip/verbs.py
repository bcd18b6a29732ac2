"""The verbs of CLIP: what they take, what they give."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from formers.errors import ConfigError, shown
from formers.fields import Natural, Part, check
from formers.systems.measure import ALL_MEDIA, MeasureMedia, measured
from formers.systems.pictures import Pictures
from formers.systems.system import Event, Progress, Remark, Report, ResultTable, Typed
from formers.systems.vectors.encoded import EncodedInputs, EncodeEither, encoded_pictures

if TYPE_CHECKING:
    from PIL.Image import Image

    from formers.systems.clip.system import ClipModel

Words = Annotated[str, Typed(metavar='"A,B"')]
Lines = Annotated[str, Typed(metavar="FILE", file=True)]
Templates = Annotated[tuple[str, ...], Typed(metavar='"a photo of a {}"')]


@dataclass(frozen=True, kw_only=True)
class WordLabels:
    """Labels that are words, and how they are put to a model."""

    labels: Words = ""
    """Words to choose from, commas between them."""
    labels_file: Lines = ""
    """A label on each line instead."""
    template: Templates = ()
    """What a label is put into, at {}; several: their mean counts."""
    templates_file: Lines = ""
    """A template on each line instead."""

    def __post_init__(self) -> None:
        for flag, given, file in (("label", self.labels, self.labels_file), ("template", self.template,
                                                                            self.templates_file)):  # fmt: skip
            if given and file:
                raise ConfigError(f"give --{flag}{'s' if flag == 'label' else ''} or --{flag}s-file, not both")

    def names(self) -> list[str]:
        """The labels, none where none are given. Raises ConfigError for a file without one, and for one twice."""
        names = lines_of(self.labels_file) if self.labels_file else self.labels.split(",")
        names = [name.strip() for name in names if name.strip()]
        if self.labels_file and not names:
            raise ConfigError(f"--labels-file {self.labels_file} has no label, expected one on each line")
        if twice := next((name for place, name in enumerate(names) if name in names[:place]), None):
            raise ConfigError(f'the label "{twice}" is given twice; give each once')
        return names

    def templates(self, usual: Sequence[str] = ()) -> Sequence[str]:
        """The templates that are given, else the usual ones. Raises ConfigError for a file without one."""
        from formers.systems.clip.system import TEMPLATE

        if self.templates_file:
            templates = [line for line in lines_of(self.templates_file) if line.strip()]
            if not templates:
                raise ConfigError(f"--templates-file {self.templates_file} has no template, such as {TEMPLATE}")
            return templates
        return self.template or usual or (TEMPLATE,)


NO_LABELS = WordLabels()


def lines_of(file: str) -> list[str]:
    from formers.data.files import numbered_lines

    return list(numbered_lines(file).values())


@dataclass(frozen=True, kw_only=True)
class ClassifyByWords:
    """What to classify, by which words."""

    pictures: Pictures
    """Pictures: files, folders with all below them, patterns; - is one on standard input."""
    words: Annotated[WordLabels, Part()] = NO_LABELS
    """The labels."""
    top: Natural = 5
    """Say the N likeliest labels of a picture."""

    def __post_init__(self) -> None:
        check(self)
        if not self.words.names():
            raise ConfigError('--labels is empty: say what to choose from, such as --labels "cat,dog"')


def classify(clip: ClipModel, options: ClassifyByWords) -> Iterator[Event]:
    """Each picture's likeliest labels, a group of pictures at a time."""
    from formers.systems.ranked_labels import likeliest

    labels, alone = options.words.names(), len(options.pictures) == 1
    classes = clip.class_vectors(labels, options.words.templates())

    def work(group: Sequence[tuple[str, Image]]) -> Iterator[Event]:
        rows = clip.probabilities(clip.encode_pictures([image for _, image in group]), classes)
        return (
            likeliest(name, row, labels, options.top, alone=alone) for (name, _), row in zip(group, rows, strict=True)
        )

    yield from options.pictures.worked(work)


def encode(clip: ClipModel, options: EncodeEither) -> Iterator[Event]:
    """The vector of every picture, or of every text, which are in one space."""
    if options.texts is None:
        assert options.pictures is not None
        yield from encoded_pictures(options.pictures, clip.encode_pictures)
    else:
        texts = options.texts.filled(what="make a vector of")[1]
        yield EncodedInputs(texts, clip.encode_texts(texts), "text")


@dataclass(frozen=True, kw_only=True)
class EvaluateTowers:
    """What to measure two towers on."""

    data: Annotated[str, Typed("SOURCE", file=True)] = ""
    """Rows to measure with (default for a run: its test data)."""
    image: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the picture."""
    text: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the caption."""
    label: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the label, or of the answers."""
    words: Annotated[WordLabels, Part()] = NO_LABELS
    """The labels to choose from (default: those of the run, else those of the column)."""
    start: Annotated[str, Typed("MODEL", file=True)] = ""
    """Run or folder of the model that this one was trained from: what is between is measured too (WiSE-FT)."""
    weights: Annotated[str, Typed("A,B")] = ""
    """How much this model's weights count beside those of --start (default: 0,0.25,0.5,0.75,1)."""
    measure: Annotated[MeasureMedia, Part()] = ALL_MEDIA
    """What every `evaluate` of pictures and sounds has."""

    def __post_init__(self) -> None:
        if self.weights and not self.start:
            raise ConfigError("--weights go between --start and the model: give --start MODEL")
        _ = self.shares

    @property
    def shares(self) -> list[float]:
        """The weights as numbers. Raises ConfigError."""
        try:
            shares = [float(text) for text in (self.weights or "0,0.25,0.5,0.75,1").split(",")]
        except ValueError:
            shares = []
        if not shares or not all(0 <= share <= 1 for share in shares):
            raise ConfigError(f"--weights {shown(self.weights)}: expected numbers from 0 to 1, such as 0,0.5,1")
        return shares


def evaluate(clip: ClipModel, options: EvaluateTowers) -> Iterator[Event]:
    """Loss, recalls both ways and zero-shot accuracy on captioned pictures."""
    from formers.data.labels import Labels
    from formers.systems.begin import judged_rows
    from formers.systems.clip.data import CaptionBatches, CaptionedPictures

    begin, words, origin = time.perf_counter(), options.words, options.measure.origin
    rows, judged = judged_rows(options, "clip", CaptionedPictures, image="image", text="text", label="label")
    table: Any = judged
    task = origin.section("task", "clip")
    labels = words.names()
    if labels and not rows.label:
        raise ConfigError("--labels are what zero-shot accuracy chooses from: give the column too, --label COLUMN")
    expected = None
    if rows.label:
        own = sorted(set(map(str, table.table.named(rows.label))))
        labels = labels or list(task.labels if task is not None and task.labels and not options.data else own)
        kind = Labels("one", tuple(labels))
        table = table.usable(lambda row: kind.answers(row, rows.label))
        expected = kind.answers(table.table, rows.label)
    batches = CaptionBatches(table, clip.preprocessor, rows, clip.reader)
    templates = words.templates(task.templates if task is not None else ())
    measure = partial(clip.evaluate, batches, labels, expected, templates)
    report = (yield from swept(clip, options, measure)) if options.start else measure()
    if broken := len(batches.pixels.refused):
        yield Remark(f"{broken:,} picture(s) left out")
    remarks = {"floor": f"a loss of {report.facts['floor']:.3f} is that of guessing"}
    yield measured(report, "clip", origin, table, begin, unit="pictures", remarks=remarks)


def swept(clip: ClipModel, options: EvaluateTowers, measure: Callable[[], Report]) -> Generator[Event, None, Report]:
    """The report on the model, with a table of the scores of all weights between the start and it."""
    from formers.pretrained.load import load_model
    from formers.training.run import model_folder

    start, shares = load_model(model_folder(options.start)).model.state_dict(), options.shares
    reports: dict[float, Report] = {}
    for place, share in enumerate(shares, 1):
        with clip.between(start, share):
            reports[share] = measure()
        yield Progress(place, len(shares), "measuring between both")
    report = reports[1] if 1 in reports else measure()
    columns = ["weight", *(score.name.replace("_", " ") for score in report.scores)]
    rows = [[f"{share:g}", *(score.text for score in one.scores)] for share, one in reports.items()]
    table = ResultTable(f"weights between {options.start} (0) and this model (1)", columns, rows, columns)
    between = {f"{share:g}": one.values() for share, one in reports.items()}
    return replace(report, tables=[*report.tables, table], facts={**report.facts, "between": between})
