"""The verbs of tagging: what they take, what they give."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from formers.fields import Count, Part
from formers.files import replace_file
from formers.systems.measure import PLAIN, Measure, measured, or_suite
from formers.systems.system import Event, Typed
from formers.systems.texts import Texts

if TYPE_CHECKING:
    from formers.systems.tagging.system import Tag, Tagger

HUES = ("cyan", "green", "magenta", "yellow", "blue", "red")
COLOURS = (*HUES, *(f"bright_{hue}" for hue in HUES))
WIDTH = 80  # characters of a line of words, which every terminal has


@dataclass(frozen=True, kw_only=True)
class TagTexts:
    """What to tag."""

    texts: Texts
    """What to tag; without it, standard input is read."""
    words: bool = False
    """Split texts at spaces only (default: as the tokenizer does)."""
    every: bool = False
    """Every word with its own label, also where labels make entities (B-, I-)."""
    stride: Count = 0
    """Tokens that the windows of a long text share (0: a quarter)."""


@dataclass(frozen=True)
class TaggedText:
    """A text with the labels of its words, or its entities."""

    text: str
    tags: Sequence[Tag]
    labels: Sequence[str] = field(metadata={"json": False})
    """All that the model has: a label looks the same everywhere."""
    entities: bool = field(metadata={"json": False})

    def line(self) -> str:
        return "".join(text for text, _ in self.spans())

    def spans(self) -> list[tuple[str, str]]:
        """The text with its entities in brackets, or its words, and below each its label."""
        return self.entity_spans() if self.entities else self.word_spans()

    def entity_spans(self) -> list[tuple[str, str]]:
        parts, end = [], 0
        for tag in self.tags:
            parts += [
                (self.text[end : tag.start], ""),
                (f"[{tag.text}]({tag.label} {tag.score:.2f})", self.colour(tag.label)),
            ]
            end = tag.end
        return [*parts, (self.text[end:], "")]

    def word_spans(self) -> list[tuple[str, str]]:
        """In as many pairs of lines as it takes; an empty line ends them."""
        from rich.cells import cell_len

        parts: list[tuple[str, str]] = []
        above: list[tuple[str, str]] = []
        below: list[tuple[str, str]] = []
        filled = 0
        for tag in self.tags:
            label = tag.label or "-"
            width = max(cell_len(tag.text), cell_len(label)) + 2
            if above and filled + width > WIDTH:
                parts += [*above, ("\n", ""), *below, ("\n", "")]
                above, below, filled = [], [], 0
            above.append((tag.text + " " * (width - cell_len(tag.text)), ""))
            below.append((label + " " * (width - cell_len(label)), self.colour(tag.label)))
            filled += width
        return [*parts, *above, ("\n", ""), *below, ("\n", "")] if above else []

    def colour(self, label: str) -> str:
        """The same for all labels of a kind of entity."""
        kinds = sorted({other.partition("-")[2] or other for other in self.labels})
        kind = label.partition("-")[2] or label
        return COLOURS[kinds.index(kind) % len(COLOURS)] if kind in kinds else ""


def tag(tagger: Tagger, options: TagTexts) -> Iterator[Event]:
    """Each text's labels, a group of texts at a time."""
    entities = tagger.entities and not options.every
    for group in options.texts:
        sentences = [text.split() for text in group] if options.words else group
        tagged = tagger.tag_all(sentences, join=not options.every, stride=options.stride)
        for text, tags in zip(sentences, tagged, strict=True):
            yield TaggedText(text if isinstance(text, str) else " ".join(text), tags, tagger.labels, entities)


@dataclass(frozen=True, kw_only=True)
class EvaluateTagger:
    """What to measure a tagger on."""

    data: Annotated[str, Typed("SOURCE", file=True)] = ""
    """Tagged sentences (default for a run: its test data)."""
    source: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the words."""
    label: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the tags."""
    measure: Annotated[Measure, Part()] = PLAIN
    """What every encoder's `evaluate` has."""


@or_suite
def evaluate(tagger: Tagger, options: EvaluateTagger) -> Iterator[Event]:
    """Accuracy per word and F1 of entities, and how each tag was predicted; --out: word, true tag and predicted tag."""
    from formers.systems.begin import judged_rows
    from formers.systems.tagging.data import TaggedRows

    rows, table = judged_rows(options, "tagging", TaggedRows, tokens="source", tags="label")
    table = table.usable(lambda row: rows.numbers(row, tagger.labels))
    rows.numbers(table, tagger.labels)
    sentences, tags = table.columns[rows.tokens], table.columns[rows.tags]
    begin = time.perf_counter()
    report, predicted = tagger.evaluate(sentences, tags)

    def write(path: Path) -> None:
        blocks = (
            "".join(f"{word}\t{true}\t{tag or '-'}\n" for word, true, tag in zip(*row, strict=True))
            for row in zip(sentences, tags, predicted, strict=True)
        )
        replace_file(path, "\n".join(blocks).encode())

    yield measured(
        report,
        "tagging",
        options.measure.origin,
        table,
        begin,
        unit="words",
        rows=f"{len(table):,} sentences, {report.facts['words']:,} words",
        speed_as=",.0f",
        files={"": write},
    )
