"""Which split of generated data a combination belongs to: the same on every machine, by a stable hash."""

from __future__ import annotations

import hashlib

from formers.errors import DataError

SPLITS = ("train", "validation", "test")


def split_of(combination: str, percent: int = 8) -> str:
    """`percent` of all combinations are for test, as many for validation, the others for training."""
    place = int.from_bytes(hashlib.sha256(combination.encode()).digest()[:8], "big") % 100
    return "test" if place < percent else "validation" if place < 2 * percent else "train"


def check_split(split: str, count: int = 0, most: int | None = None) -> None:
    """Raises DataError for a split that is none, and for a number of rows below 0 or above `most`."""
    if split not in SPLITS:
        raise DataError(f'split: got "{split}", expected one of {", ".join(SPLITS)}')
    if count < 0 or (most is not None and count > most):
        expected = "0 or more" if most is None else f'0 to {most} for the split "{split}"'
        raise DataError(f"count: got {count}, expected {expected}")
