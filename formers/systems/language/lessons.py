"""What a training step of a language model learns, token by token (`formers data --show-loss`)."""

from __future__ import annotations

from formers.data.packing import PackedRows
from formers.systems.begin import Beginning
from formers.systems.language.data import Stream
from formers.systems.language.task import LanguageTask, prepare
from formers.systems.lessons import Lesson, Lessons, evenly
from formers.systems.row_lessons import lessons_of_rows
from formers.text.tokenizer import Tokenizer


def lessons(beginning: Beginning, split: str, count: int) -> Lessons:
    """`count` documents or windows of "train" or "validation", evenly over the text."""
    prepared = prepare(beginning)
    task = prepared.task
    assert isinstance(task, LanguageTask)
    rows = task.validation if split == "validation" else prepared.batches
    tokenizer = task.language.needs_tokenizer()
    if isinstance(rows, PackedRows):
        return Lessons(lessons_of_rows(rows, tokenizer, count))
    assert isinstance(rows, Stream)
    return Lessons(lessons_of_windows(rows, tokenizer, count))


def lessons_of_windows(rows: Stream, tokenizer: Tokenizer, count: int) -> list[Lesson]:
    """Windows, in which every token but the first carries loss."""
    order = [int(row) for batch in rows.epoch(0) for row in batch]
    lessons = []
    for number in evenly(len(order), count):
        batch = rows.collate([order[number]])
        ids = [int(batch.tokens[0, 0]), *batch.labels[0].tolist()]
        lessons.append(
            Lesson(rows.corpus.where(order[number]), tokenizer.pieces(ids), [False] + [True] * (len(ids) - 1))
        )
    return lessons
