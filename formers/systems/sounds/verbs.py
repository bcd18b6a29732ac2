"""The verbs of sounds: what they take, what they give."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from formers.errors import ConfigError
from formers.fields import Natural, Part, check
from formers.systems.measure import ALL_MEDIA, NO_PROBE, MeasureMedia, ProbeOptions, measured
from formers.systems.sound_files import Sounds, SoundSource
from formers.systems.system import Event, Progress, Remark, ResultTable, Typed
from formers.systems.vectors.encoded import EncodedInputs

if TYPE_CHECKING:
    from formers.systems.sounds.system import SoundModel, Vectors


@dataclass(frozen=True, kw_only=True)
class ClassifySounds:
    """What to classify."""

    sounds: Sounds
    """Sounds: files, folders with all below them, patterns; - is one on standard input."""
    top: Natural = 5
    """Say the N likeliest labels of a sound."""
    fit: bool = False
    """Read a short sound as long as it is, not padded to the model's own length: faster, with other numbers."""
    timeline: bool = False
    """The labels of each second; with --out a picture of them."""

    def __post_init__(self) -> None:
        check(self)
        if self.timeline and self.fit:
            raise ConfigError("--fit has no meaning with --timeline, where a second is read alone anyway")


@dataclass(frozen=True)
class Timeline:
    """The labels of each second of a sound."""

    sound: str
    """Its name."""
    labels: Sequence[str]
    """Those that are the likeliest somewhere or over all, at most as many as asked for."""
    probabilities: Sequence[Sequence[float]]
    """Of each second, of these labels in order."""
    spectrogram: Any = field(metadata={"json": False})
    """() -> what is drawn above: (frames, mels), frames a second, and the samples."""
    endings: tuple[str, ...] = field(default=(".png", ".svg", ".pdf"), metadata={"json": False})

    def table(self) -> ResultTable:
        rows = []
        for second, row in enumerate(self.probabilities):
            best = max(range(len(row)), key=row.__getitem__)
            rows.append((f"{second // 60}:{second % 60:02}", self.labels[best], *(f"{share:.1%}" for share in row)))
        columns = ["at", "label", *self.labels]
        return ResultTable(self.sound, columns, rows, right=["at", *self.labels])

    def line(self) -> str:
        return self.table().line()

    def write(self, path: Path) -> None:
        from formers.pictures.figure import save
        from formers.pictures.timeline import draw_timeline

        save(draw_timeline(self.spectrogram(), self.probabilities, self.labels, title=self.sound), path)


def classify(model: SoundModel, options: ClassifySounds) -> Iterator[Event]:
    """Each sound's likeliest labels, or those of each of its seconds."""
    from formers.data.sound_report import SILENT

    alone, rate = len(options.sounds) == 1, model.extractor.rate

    def work(source: SoundSource) -> Iterator[Event]:
        peak = 0.0

        def pieces() -> Iterator[Any]:
            nonlocal peak
            for piece in source.pieces(rate):
                peak = max(peak, float(abs(piece).max(initial=0)))
                yield piece

        if options.timeline:
            result: Event = timeline_of(model, source, pieces(), options.top)
        else:
            (row,) = model.classify([pieces()], fit=options.fit)
            result = model.likeliest(source.name, row, options.top, alone=alone)
        if peak < SILENT:
            yield Remark(f"{source.name} is silent (nothing above -60 dB), so its labels mean nothing")
        yield result

    yield from options.sounds.worked(work)


def timeline_of(model: SoundModel, source: SoundSource, pieces: Iterator[Any], top: int) -> Timeline:
    from formers.systems.sound_looks import seen

    rows = model.timeline(pieces)
    order = sorted(range(rows.shape[1]), key=lambda label: (-float(rows[:, label].max()), label))[:top]
    shares = [[float(row[label]) for label in order] for row in rows]
    return Timeline(source.name, [model.labels[i] for i in order], shares, lambda: seen(model, source))


@dataclass(frozen=True, kw_only=True)
class EncodeSounds:
    """What to turn into vectors."""

    sounds: Sounds
    """Sounds: files, folders with all below them, patterns; - is one on standard input."""
    fit: bool = False
    """Read a short sound as long as it is, not padded to the model's own length: faster, with other numbers."""
    normalise: Annotated[bool | None, Typed(negatable=True)] = None
    """Vectors of length one (default: as the model does)."""

    def __post_init__(self) -> None:
        check(self)


def encode(model: SoundModel, options: EncodeSounds) -> Iterator[Event]:
    """The vector of every sound: what a head reads."""
    import numpy as np

    from formers.metrics.retrieval import unit

    begin, rate = time.perf_counter(), model.extractor.rate
    names: list[str] = []
    rows: list[Vectors] = []

    def work(source: SoundSource) -> Iterator[Event]:
        rows.append(model.encode([source.pieces(rate)], fit=options.fit))
        names.append(source.name)
        yield Progress(len(names), len(options.sounds), "encoding")

    yield from options.sounds.worked(work)
    seconds, vectors = time.perf_counter() - begin, np.concatenate(rows)
    vectors = unit(vectors) if options.normalise else vectors
    yield Remark(f"{len(names):,} sound(s) in {seconds:.1f} s ({len(names) / max(seconds, 1e-9):,.1f} sounds/s)")
    yield EncodedInputs(names, vectors, "sound")


@dataclass(frozen=True, kw_only=True)
class EvaluateSounds:
    """What to measure a model of sounds on."""

    data: Annotated[str, Typed("SOURCE", file=True)] = ""
    """Rows to measure with (default for a run: its test data)."""
    audio: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the sound."""
    label: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the label, or of the answers."""
    fit: bool = False
    """Read a short sound as long as it is, not padded to the model's own length: faster, with other numbers."""
    probing: Annotated[ProbeOptions, Part()] = NO_PROBE
    """Vectors, judged by labels."""
    measure: Annotated[MeasureMedia, Part()] = ALL_MEDIA
    """What every `evaluate` of pictures and sounds has."""


def evaluate(model: SoundModel, options: EvaluateSounds) -> Iterator[Event]:
    """Top-1, top-5, calibration ... on the labelled sounds of --data, or on a run's own test data."""
    from formers.data.labels import Labels
    from formers.systems.begin import judged_rows
    from formers.systems.labelling import confusion_files
    from formers.systems.sounds.data import LabelledSounds, SoundBatches
    from formers.systems.sounds.system import AT_ONCE

    rows, judged = judged_rows(options, "sounds", LabelledSounds, audio="audio", label="label")
    table: Any = judged
    begin, origin = time.perf_counter(), options.measure.origin
    if options.probing.probe:
        from formers.systems.vectors.probe import probed

        def vectors(part: Any, kind: Labels) -> Iterator[tuple[Sequence[int], Vectors]]:
            plain = SoundBatches(part, model.extractor, rows, kind).plain()
            while some := list(islice(plain, AT_ONCE)):
                yield [row for row, _ in some], model.encode([[samples] for _, samples in some], fit=options.fit)

        source = origin.section("data", "sounds")
        report, labels = yield from probed(options.probing.train, source, rows, table, vectors, "sound")
    else:
        kind, labels = Labels(model.kind, model.labels), model.labels
        table = table.usable(lambda row: kind.answers(row, rows.label, rows.separator))
        report = model.evaluate(SoundBatches(table, model.extractor, rows, kind), fit=options.fit)
    more: dict[str, Any] = {"files": confusion_files(report, labels, table.name)}
    if broken := report.facts.get("unreadable"):
        more["remarks"] = {"unreadable": f"{broken:,} sound(s) left out"}
    yield measured(report, "sounds", origin, table, begin, unit="sounds", **more)
