"""Rows that cannot be used: the first is a fault, unless a command leaves them out and counts them (--skip-bad)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from formers.errors import DataError

OF_FILES = "--skip-bad is for --file and standard input"  # not for what one has just typed
_FAULTS: ContextVar[list[DataError] | None] = ContextVar("faults", default=None)


@contextmanager
def leaving_out(faults: list[DataError] | None) -> Iterator[list[DataError] | None]:
    """Within it, rows that cannot be used are left out and `faults` gets theirs (None: the first one is raised)."""
    token = _FAULTS.set(faults)
    try:
        yield faults
    finally:
        _FAULTS.reset(token)


def are_left_out() -> bool:
    """Whether rows that cannot be used are left out."""
    return _FAULTS.get() is not None


def refuse(error: DataError) -> None:
    """What is done about a row that cannot be used: its fault is raised, or noted, and then the row is left out."""
    if (faults := _FAULTS.get()) is None:
        raise error
    faults.append(error)
