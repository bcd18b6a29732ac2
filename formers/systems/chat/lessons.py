"""What a training step learns of conversations, token by token (`formers data --show-loss`)."""

from __future__ import annotations

from formers.data.packing import PackedRows
from formers.systems.begin import Beginning
from formers.systems.chat.task import ChatTask, prepare
from formers.systems.lessons import Lessons
from formers.systems.row_lessons import lessons_of_rows


def lessons(beginning: Beginning, split: str, count: int) -> Lessons:
    """`count` conversations of "train" or "validation", evenly over the data."""
    prepared = prepare(beginning)
    task = prepared.task
    assert isinstance(task, ChatTask)
    rows = task.validation if split == "validation" else prepared.batches
    assert isinstance(rows, PackedRows)
    return Lessons(lessons_of_rows(rows, task.encoder.tokenizer, count))
