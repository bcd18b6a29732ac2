"""What is in a table of pictures, said before the first step: sizes, unreadable ones, the same picture twice."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from PIL import Image

from formers.data.pictures import PictureTable
from formers.errors import DataError
from formers.images.decode import BROKEN, FORMATS, decode

LOOKED_AT = 2000  # pictures whose size is read
DECODED_PIXELS = 2**27  # of those that are also decoded, which finds the ones that are cut off
COMPARED_BYTES = 2**30  # of the contents that are compared
DECODED = 20_000  # pictures that are compared by their pixels: seconds
RARE = 5  # a class with fewer pictures is named
SHOWN = 8


class Looked(NamedTuple):
    """What the beginning of a picture's file says, or why it is none."""

    width: int = 0
    height: int = 0
    format: str = ""
    fault: str = ""


def picture_lines(
    train: PictureTable, held_out: PictureTable | None = None, *, label: str = "", separator: str = ""
) -> list[str]:
    """A report on the pictures to learn from, beside those to be judged with. label: the column of labels, if any;
    separator: between several labels of a field.

    Of large sets a part is looked at, spread over all of it, and the lines say so.
    """
    few = rare(train.table.named(label), separator) if label else ()
    drawn = train.name.startswith("builtin:")
    return [*size_lines(train), *([] if drawn else repeats(train, held_out, label)), *few]


def size_lines(table: PictureTable, most: int = LOOKED_AT) -> list[str]:
    """Sizes, proportions and formats; how many cannot be read, and the first of these."""
    if table.name.startswith("builtin:"):
        width, height = table.image(0).size
        return [f"pictures: drawn, {width} x {height} pixels"]
    rows = spread(len(table), most)
    with ThreadPoolExecutor() as threads:
        looked = list(threads.map(lambda row: look(table, row), rows))
    pixels, decoded = 0, []
    for row, one in zip(rows, looked, strict=True):
        pixels += one.width * one.height
        if not one.fault and pixels <= DECODED_PIXELS:
            decoded.append(row)
    with ThreadPoolExecutor() as threads:
        faults = [*(one.fault for one in looked), *threads.map(lambda row: damage(table, row), decoded)]
    part = f" ({len(rows):,} of {len(table):,} looked at)" if len(rows) < len(table) else ""
    whole = "" if len(decoded) == len(rows) else f"; {len(decoded):,} of them decoded"
    broken = [reason for reason in faults if reason]
    unreadable = f"{len(broken):,}, the first: {broken[0]}" if broken else "none"
    return [*sizes(looked, part), f"unreadable: {unreadable}{part}{whole}"]


def sizes(looked: Sequence[Looked], part: str) -> Iterator[str]:
    """A line on the sizes and formats of those that can be read."""
    sound = [one for one in looked if not one.fault]
    if not sound:
        return
    width, height = (np.array([getattr(one, side) for one in sound]) for side in ("width", "height"))
    if (width == width[0]).all() and (height == height[0]).all():
        measures = f"all {width[0]} x {height[0]} pixels"
    else:
        sides = (f"{name} {side.min()} to {side.max()}, median {np.median(side):.0f}" for name, side in
                 (("width", width), ("height", height)))  # fmt: skip
        ratio = width / height
        across = f"width / height {ratio.min():.2f} to {ratio.max():.2f}, median {np.median(ratio):.2f}"
        measures = "; ".join((*sides, across))
    formats = Counter(one.format for one in sound).most_common()
    named = ", ".join(f"{name} {count / len(sound):.1%}" if len(formats) > 1 else name for name, count in formats)
    yield f"pictures: {measures}; {named}{part}"


def look(table: PictureTable, row: int) -> Looked:
    """The size and format of a picture, which is not decoded."""
    try:
        with Image.open(io.BytesIO(table.content(row)), formats=FORMATS) as picture:
            return Looked(*picture.size, picture.format or "")
    except DataError as error:
        return Looked(fault=str(error))
    except BROKEN:
        return Looked(fault=damage(table, row))


def damage(table: PictureTable, row: int) -> str:
    """Why a picture cannot be read; empty where it can."""
    try:
        decode(table.content(row), table.named(row), least=(1, 1))
    except DataError as error:
        return str(error)
    return ""


def repeats(train: PictureTable, held_out: PictureTable | None, label: str) -> Iterator[str]:
    """Lines on the same picture in several rows, of training and beside it: what is judged with was seen before.

    Of few and small pictures it is the same pixels, whatever file has them; of more the same file.
    """
    tables = [train] if held_out is None else [train, held_out]
    pixels = sum(map(len, tables)) <= DECODED and sum(map(whole_pixels, tables)) <= DECODED_PIXELS
    first: dict[bytes, int] = {}
    again, other = [], []
    rows = spread(len(train), comparable(train))
    labels = train.table.columns[label] if label else []
    for row, digest in digests(train, rows, pixels):
        before = first.setdefault(digest, row)
        if before != row:
            again.append((before, row))
            other += [(before, row)] if label and labels[before] != labels[row] else []
    part = f", {len(rows):,} of {len(train):,} compared" if len(rows) < len(train) else ""
    part = f" (by {'pixels' if pixels else 'files'}{part})"
    if again:
        yield f"the same picture again in training: {len(again):,}{part}, {pair(train, train, *again[0])}"
    if other:
        yield f"the same picture with another {label}: {len(other):,}{part}, {pair(train, train, *other[0])}"
    if held_out is not None:
        both = [(first[digest], row) for digest, row in seen(held_out, pixels) if digest in first]
        share = f"{len(both):,} of {len(held_out):,}, {pair(train, held_out, *both[0])}" if both else "none"
        yield f"the same picture in training and held out: {share}{part}"


def seen(table: PictureTable, pixels: bool) -> list[tuple[bytes, int]]:
    return [(digest, row) for row, digest in digests(table, spread(len(table), comparable(table)), pixels)]


def digests(table: PictureTable, rows: Sequence[int], pixels: bool) -> Iterator[tuple[int, bytes]]:
    """(row, digest of the file, or of its pixels) of those that can be read."""
    for row in rows:
        with suppress(DataError):  # it is said among the unreadable
            yield row, table.digest(row, pixels=pixels)


def whole_pixels(table: PictureTable) -> float:
    """About how many pixels all pictures have, by the size of a few."""
    looked = [look(table, row) for row in spread(len(table), 50)]
    return len(table) * float(np.mean([one.width * one.height for one in looked]))


def comparable(table: PictureTable) -> int:
    """How many files are compared: as many as there is time for, by the size of a few."""
    sample = []
    for row in spread(len(table), 50):
        with suppress(DataError):
            sample.append(len(table.content(row)))
    return int(COMPARED_BYTES / max(1.0, float(np.mean(sample)))) if sample else 1


def pair(one: PictureTable, other: PictureTable, before: int, row: int) -> str:
    return f"the first: {one.named(before)} = {other.named(row)}"


def rare(labels: Sequence[object], separator: str = "") -> Iterator[str]:
    """A line on classes of which there are only a few pictures."""
    parted = (label.split(separator) if separator and isinstance(label, str) else label for label in labels)
    names = (one for label in parted for one in (label if isinstance(label, list | tuple) else [label]))
    counts = Counter(name for one in names if (name := str(one).strip()))
    few = sorted((count, name) for name, count in counts.items() if count < RARE)
    if few:
        more = f" and {len(few) - SHOWN} more" if len(few) > SHOWN else ""
        listed = ", ".join(f"{name} ({count})" for count, name in few[:SHOWN])
        yield f"classes with fewer than {RARE} pictures: {listed}{more}"


def spread(count: int, most: int) -> list[int]:
    """At most so many numbers below `count`, evenly over all."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)).tolist()
