"""What a training step learns, token by token: the rows of a recipe taken apart again, for people to check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from formers.data.language import Packed, Stream
from formers.data.preferences import SIDES, Choices
from formers.errors import ConfigError
from formers.systems import instruct, language_tasks, preferences
from formers.systems.system import Lesson, evenly
from formers.text.tokenizer import Tokenizer

SYSTEMS = ("language", "instruct", "preferences")


def lessons(
    system: str, sections: dict[str, Any], folder: Path, start: Path | None, *, split: str, count: int
) -> Iterator[Lesson]:
    """`count` texts of "train" or "validation", evenly over the data: out of the very batches that training reads.

    folder: a run's, or an empty one where a new tokenizer may be left. Raises ConfigError for other systems.
    """
    if system not in SYSTEMS:
        raise ConfigError(
            f'--show-loss: the system "{system}" has no single text whose tokens carry loss; '
            f"it is for {', '.join(SYSTEMS)}"
        )
    if split == "test":
        raise ConfigError("--show-loss shows what is trained on: --split train, or validation")
    if system == "preferences":
        language, _, *both = preferences.choices_of(sections, folder, start)
        yield from of_choices(both[split == "validation"], language.needs_tokenizer(), count)
        return
    task, rows, _ = (language_tasks if system == "language" else instruct).prepare(sections, folder, start)
    chosen: Packed[Any] | Stream = task.validation if split == "validation" else rows
    tokenizer = task.language.needs_tokenizer()
    yield from (
        of_packed(chosen, tokenizer, count) if isinstance(chosen, Packed) else of_stream(chosen, tokenizer, count)
    )


def of_packed(rows: Packed[Any], tokenizer: Tokenizer, count: int) -> Iterator[Lesson]:
    """Pieces of documents, each where it lies in its row."""
    places = {}
    for row, pieces in enumerate(rows.rows):
        at = 0
        for piece in pieces:
            places[piece] = row, at
            at += int(rows.size[piece])
    for piece in evenly(len(places), count):
        row, at = places[piece]
        batch, size = rows.collate([row]), int(rows.size[piece])
        ids = [int(batch.tokens[0, at]), *batch.labels[0, at : at + size].tolist()]
        real = [True] * size if batch.real is None else batch.real[0, at : at + size].tolist()
        yield Lesson(rows.corpus.where(int(rows.begin[piece])), tokenizer.pieces(ids), [False, *real])


def of_stream(rows: Stream, tokenizer: Tokenizer, count: int) -> Iterator[Lesson]:
    """Windows, in which every token but the first carries loss."""
    order = [int(row) for batch in rows.epoch(0) for row in batch]
    for number in evenly(len(order), count):
        batch = rows.collate([order[number]])
        ids = [int(batch.tokens[0, 0]), *batch.labels[0].tolist()]
        yield Lesson(rows.corpus.where(order[number]), tokenizer.pieces(ids), [False] + [True] * (len(ids) - 1))


def of_choices(choices: Choices, tokenizer: Tokenizer, count: int) -> Iterator[Lesson]:
    """Two texts for each pair: with the chosen, then with the rejected answer."""
    for number in evenly(len(choices.rows), count):
        batch = choices.collate([number])
        for side, name in enumerate(SIDES):
            size = int(choices.lengths[number, side])
            ids = [int(batch.tokens[side, 0]), *batch.labels[side, : size - 1].tolist()]
            counted = [False, *batch.counted[side, : size - 1].tolist()]
            yield Lesson(f"{choices.table.where(choices.rows[number])}, {name}", tokenizer.pieces(ids), counted)
