"""Packed rows taken apart again: the documents in them, and which of their tokens carry loss."""

from __future__ import annotations

from typing import Any

from formers.data.packing import PackedRows
from formers.systems.lessons import Lesson, evenly
from formers.text.tokenizer import Tokenizer


def lessons_of_rows(rows: PackedRows[Any], tokenizer: Tokenizer, count: int) -> list[Lesson]:
    """Pieces of documents, each where it lies in its row."""
    places = {}
    for row, pieces in enumerate(rows.rows):
        at = 0
        for piece in pieces:
            places[piece] = row, at
            at += int(rows.size[piece])
    lessons = []
    for piece in evenly(len(places), count):
        row, at = places[piece]
        batch, size = rows.collate([row]), int(rows.size[piece])
        ids = [int(batch.tokens[0, at]), *batch.labels[0, at : at + size].tolist()]
        real = [True] * size if batch.real is None else batch.real[0, at : at + size].tolist()
        lessons.append(Lesson(rows.corpus.where(int(rows.begin[piece])), tokenizer.pieces(ids), [False, *real]))
    return lessons
