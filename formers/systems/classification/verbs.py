"""The verbs of classification: what they take, what they give."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from formers.errors import ConfigError, TextsError
from formers.fields import Between, Natural, check
from formers.systems.measure import MeasureColumns, measured, or_suite
from formers.systems.similarity_verb import Compare, compared
from formers.systems.system import Event, Remark, Typed
from formers.systems.texts import Texts

if TYPE_CHECKING:
    from formers.systems.classification.system import Classifier


@dataclass(frozen=True, kw_only=True)
class Classify:
    """What to classify."""

    texts: Annotated[Texts, Typed(pairs="pairs")]
    """What to classify; without it, standard input is read."""
    second: tuple[str, ...] = ()
    """Second text of a pair; once for each text, or once for all."""
    pairs: bool = False
    """Every line of --file or standard input is a pair: text, tab, second text; of a table, --column FIRST,SECOND."""
    probabilities: bool = False
    """Print the probability of every label, likeliest first."""
    threshold: Annotated[float, Between(0, 1)] = 0.5
    """How likely each label must be, where there may be several."""
    windows: bool = False
    """Read long texts in overlapping windows, averaged, instead of cutting them."""

    def __post_init__(self) -> None:
        check(self)
        if self.second and not self.texts.typed:
            raise ConfigError("--second is the second text of a TEXT; lines of pairs hold both: text, tab, second text")
        if self.second and len(self.second) not in (1, count := len(self.texts.all())):
            raise ConfigError(f"{count} texts, but {len(self.second)} times --second: give it once for each, or once")


def classify(classifier: Classifier, options: Classify) -> Iterator[Event]:
    """Each text's label, a group of texts at a time."""

    def work(group: Sequence[str]) -> Iterator[Event]:
        firsts: Sequence[str] = group
        seconds: Sequence[str] | None = options.second * (len(group) if len(options.second) == 1 else 1) or None
        if options.pairs:
            parts = [line.split("\t") for line in group]
            if wrong := {place: len(part) for place, part in enumerate(parts) if len(part) != 2}:
                expected = "expected a pair: text, tab, second text"
                raise TextsError({place: f"got {n} text(s) between tabs, {expected}" for place, n in wrong.items()})
            firsts, seconds = [part[0] for part in parts], [part[1] for part in parts]
        labelled = classifier.classify(firsts, seconds, threshold=options.threshold, windows=options.windows)
        return (
            replace(row, text=text, ranked=options.probabilities) for text, row in zip(group, labelled, strict=True)
        )

    yield from options.texts.worked(work)


@dataclass(frozen=True, kw_only=True)
class Rerank:
    """What to order."""

    query: Annotated[str, Typed(positional=True, metavar="QUERY")]
    """What the passages are held against."""
    passages: Annotated[Texts, Typed(metavar="PASSAGE")]
    """What to order; without it, the lines of standard input."""
    top: Natural | None = None
    """Print the N best only."""
    label: Annotated[str, Typed(metavar="NAME")] = ""
    """The label whose probability is the score (of two: the second)."""
    windows: bool = False
    """Read long passages in overlapping windows, averaged, instead of cutting them."""


def rerank(classifier: Classifier, options: Rerank) -> Iterator[Event]:
    """The passages, best first; empty lines are left out and counted."""
    lines = Texts([options.passages.all()], options.passages.where)
    numbers, passages = lines.filled(drop=True, what="order")
    for ranked in classifier.rerank(
        options.query, passages, top=options.top, label=options.label or None, windows=options.windows
    ):
        yield replace(ranked, place=numbers[ranked.place])
    if empty := len(lines.all()) - len(passages):
        yield Remark(f"left out: {empty} empty line(s)")


def similarity(classifier: Classifier, options: Compare) -> Iterator[Event]:
    """The score of two texts that are read together."""
    pairs = options.pairs()
    yield from compared(options, pairs, classifier.score(pairs).tolist())


@or_suite
def evaluate(classifier: Classifier, options: MeasureColumns) -> Iterator[Event]:
    """Accuracy, F1 ... on the labelled texts of --data, or on a run's own test data; --out: the confusions drawn."""
    from formers.data.labels import Labels
    from formers.pictures.confusion import draw_confusion
    from formers.pictures.figure import save
    from formers.systems.begin import judged_rows
    from formers.systems.classification.data import LabelledBatches, LabelledRows

    columns = {"text": "source", "second": "second", "label": "label"}
    rows, table = judged_rows(options, "classification", LabelledRows, **columns)
    classifier.length = rows.length or classifier.length
    begin = time.perf_counter()
    labels = Labels(classifier.kind, classifier.labels)
    table = table.usable(lambda row: labels.answers(row, rows.label, rows.separator))
    report = classifier.evaluate(LabelledBatches(table, classifier.reader, rows, labels))

    def draw(path: Path) -> None:
        save(draw_confusion(report.facts["confusion"], classifier.labels, title=table.name), path)

    cut = report.facts["cut"]
    yield measured(
        report,
        "classification",
        options.measure.origin,
        table,
        begin,
        unit="examples",
        remarks={"texts that were cut": f"{cut:,} ({cut / len(table):.1%})"},
        files=dict.fromkeys((".png", ".svg", ".pdf"), draw) if classifier.kind == "one" else {},
    )
