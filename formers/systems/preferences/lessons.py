"""What a training step learns of preferences, token by token (`formers data --show-loss`)."""

from __future__ import annotations

from formers.systems.begin import Beginning
from formers.systems.lessons import Lesson, Lessons, evenly
from formers.systems.preferences.data import SIDES
from formers.systems.preferences.task import beginnings


def lessons(beginning: Beginning, split: str, count: int) -> Lessons:
    """Two texts for each of `count` pairs: with the chosen, then with the rejected answer."""
    _, encoder, train, validation = beginnings(beginning)
    pairs = validation if split == "validation" else train
    texts = []
    for number in evenly(len(pairs.rows), count):
        batch = pairs.collate([number])
        for side, name in enumerate(SIDES):
            size = int(pairs.lengths[number, side])
            ids = [int(batch.tokens[side, 0]), *batch.labels[side, : size - 1].tolist()]
            counted = [False, *batch.counted[side, : size - 1].tolist()]
            title = f"{pairs.table.where(pairs.rows[number])}, {name}"
            texts.append(Lesson(title, encoder.tokenizer.pieces(ids), counted))
    return Lessons(texts)
