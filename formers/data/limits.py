"""How much one source may come to in memory: bytes, rows and values, which a command or a recipe may multiply."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from formers.errors import ConfigError, DataError, shown

SMALL_ENOUGH, RATIO = 32 * 2**20, 40  # unpacked bytes of any file; for one byte that is packed
VARIABLE = "FORMERS_BUDGET"  # what --budget sets
_TIMES: ContextVar[float] = ContextVar("times", default=0.0)


@dataclass(frozen=True)
class Budget:
    """Most of one file."""

    bytes: int = 512 * 2**20
    """Of text as UTF-8, or of the columns of a Parquet file; unpacked."""
    rows: int = 10_000_000
    values: int = 20_000_000
    """Fields of a table; of JSON what its commas and brackets part."""

    def of_packed(self, size: int) -> Budget:
        """The budget of what a compressed file of so many bytes holds: text shrinks to a fifth, a bomb to nothing."""
        likely = max(SMALL_ENOUGH, RATIO * size) * self.bytes // USUAL.bytes
        return replace(self, bytes=min(self.bytes, likely))

    def check(self, where: str, **counts: int) -> None:
        """Refuse what is over the budget. counts: bytes, rows or values. Raises DataError, with the cure."""
        for name, count in counts.items():
            if count > (most := getattr(self, name)):
                times = max(2, -(-count // getattr(USUAL, name)))
                fix = f"if it is meant to be so large: --budget {times}, or data.budget = {times} in a recipe"
                raise DataError(f"{where}: {count:,} {name} or more, expected at most {most:,}; {fix}")


USUAL = Budget()


@contextmanager
def widened(times: float) -> Iterator[None]:
    """Within it, sources may come to so many times as much, or to what --budget says where that is more."""
    token = _TIMES.set(times)
    try:
        yield
    finally:
        _TIMES.reset(token)


def budget() -> Budget:
    """What holds now. Raises ConfigError where the environment says no number."""
    text = os.environ.get(VARIABLE, "")
    try:
        given = float(text or 0)
    except ValueError:
        given = math.nan
    if not 0 <= given < math.inf:
        raise ConfigError(f"--budget ({VARIABLE}): got {shown(text)}, expected a positive number")
    times = max(given, _TIMES.get()) or 1.0
    return Budget(int(USUAL.bytes * times), int(USUAL.rows * times), int(USUAL.values * times))
