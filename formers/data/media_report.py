"""What is said of any files before the first step: the same one twice, also held out; rare classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import numpy as np

from formers.data.media import MediaTable
from formers.errors import DataError

COMPARED_BYTES = 2**30  # of the contents that are compared
RARE = 5  # a class with fewer files is named
SHOWN = 8
Alike = tuple[str, Callable[[MediaTable, int], bytes]]  # what is compared, and a digest of that of a row
BY_FILES: Alike = ("files", MediaTable.digest)


def media_lines(
    train: MediaTable, held_out: MediaTable | None, label: str, *, separator: str = "", alike: Alike = BY_FILES
) -> list[str]:
    """Lines on what occurs twice, but for what is built in, and on rare classes; separator: between several labels of
    a field."""
    few = rare(train.table.named(label), train.medium.word, separator) if label else ()
    return [*([] if train.name.startswith("builtin:") else repeats(train, held_out, label, alike)), *few]


def repeats(train: MediaTable, held_out: MediaTable | None, label: str, alike: Alike) -> Iterator[str]:
    """Lines on the same in several rows, of training and beside it: what is judged with was seen before."""
    first: dict[bytes, int] = {}
    what = f"the same {train.medium.word}"
    again, other = [], []
    rows = spread(len(train), comparable(train))
    labels = train.table.columns[label] if label else []
    for row, digest in digests(train, rows, alike):
        before = first.setdefault(digest, row)
        if before != row:
            again.append((before, row))
            other += [(before, row)] if label and labels[before] != labels[row] else []
    part = f", {len(rows):,} of {len(train):,} compared" if len(rows) < len(train) else ""
    part = f" (by {alike[0]}{part})"
    if again:
        yield f"{what} again in training: {len(again):,}{part}, {pair(train, train, *again[0])}"
    if other:
        yield f"{what} with another {label}: {len(other):,}{part}, {pair(train, train, *other[0])}"
    if held_out is not None:
        both = [(first[digest], row) for digest, row in seen(held_out, alike) if digest in first]
        share = f"{len(both):,} of {len(held_out):,}, {pair(train, held_out, *both[0])}" if both else "none"
        yield f"{what} in training and held out: {share}{part}"


def seen(table: MediaTable, alike: Alike) -> list[tuple[bytes, int]]:
    return [(digest, row) for row, digest in digests(table, spread(len(table), comparable(table)), alike)]


def digests(table: MediaTable, rows: Sequence[int], alike: Alike) -> Iterator[tuple[int, bytes]]:
    """(row, digest) of those that can be read."""
    for row in rows:
        with suppress(DataError):  # it is said among the unreadable
            yield row, alike[1](table, row)


def comparable(table: MediaTable) -> int:
    """How many files are compared: as many as there is time for, by the size of a few."""
    sample = []
    for row in spread(len(table), 50):
        with suppress(DataError):
            sample.append(len(table.content(row)))
    return int(COMPARED_BYTES / max(1.0, float(np.mean(sample)))) if sample else 1


def pair(one: MediaTable, other: MediaTable, before: int, row: int) -> str:
    return f"the first: {one.named(before)} = {other.named(row)}"


def rare(labels: Sequence[object], word: str, separator: str = "") -> Iterator[str]:
    """A line on classes of which there are only a few files."""
    parted = (label.split(separator) if separator and isinstance(label, str) else label for label in labels)
    names = (one for label in parted for one in (label if isinstance(label, list | tuple) else [label]))
    counts = Counter(name for one in names if (name := str(one).strip()))
    few = sorted((count, name) for name, count in counts.items() if count < RARE)
    if few:
        more = f" and {len(few) - SHOWN} more" if len(few) > SHOWN else ""
        listed = ", ".join(f"{name} ({count})" for count, name in few[:SHOWN])
        yield f"classes with fewer than {RARE} {word}s: {listed}{more}"


def spread(count: int, most: int) -> list[int]:
    """At most so many numbers below `count`, evenly over all."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)).tolist()
