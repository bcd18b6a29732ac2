"""What every reader of a file gives: its columns, and where their rows came from."""

from __future__ import annotations

from typing import NamedTuple

from formers.data.class_names import ClassNames

Lines = list[int] | None


class Columns(NamedTuple):
    """Columns of equal length; for text formats the 1-based line that each row begins on."""

    values: dict[str, list]
    lines: Lines = None
    names: ClassNames | None = None
    """Of the numbers of classes."""
    header: bool = True
    """Whether the columns have names of their own; else they were taken in order."""
    rows: Lines = None
    """For other formats: the 1-based number of each row, where that is not its place."""
