"""Sounds with their labels or transcripts: tables of media whose files are sounds, and folds of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from formers.data.files import fault, listed
from formers.data.media import MediaTable, read_media
from formers.data.medium import SOUNDS

SoundTable = MediaTable


def read_sounds(source: str | Path, *, audio: str = "audio", **options: Any) -> SoundTable:
    """The sounds of `source`; audio: the column of sounds of tables; the other options are those of `read_media`."""
    return read_media(SOUNDS, source, files=audio, **options)


def by_fold(table: SoundTable, column: str, fold: str) -> tuple[SoundTable, SoundTable]:
    """The rows of all other folds, and those of this one, as sets with official folds (ESC-50) are judged.

    Raises DataError where no row, or every one, is of the fold.
    """
    folds = [str(value) for value in table.table.columns[column]]
    inside = [row for row, value in enumerate(folds) if value == fold]
    outside = [row for row, value in enumerate(folds) if value != fold]
    if not inside or not outside:
        got = f"{'every row' if inside else 'no row'} is of the fold {fold} in the column {column}"
        raise fault(table.name, f"{got}, which has {listed(sorted(set(folds)))}")
    return table.select(outside), table.select(inside)
