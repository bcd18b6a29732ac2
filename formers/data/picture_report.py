"""What is in a table of pictures, said before the first step: sizes, unreadable ones, the same picture twice."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from PIL import Image

from formers.data.media_report import BY_FILES, media_lines, spread
from formers.data.pictures import PictureTable
from formers.errors import DataError
from formers.images.decode import BROKEN, FORMATS, decode

LOOKED_AT = 2000  # pictures whose size is read
DECODED_PIXELS = 2**27  # of those that are also decoded, which finds the ones that are cut off
DECODED = 20_000  # pictures that are compared by their pixels: seconds


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
    tables = [] if train.name.startswith("builtin:") else [train] if held_out is None else [train, held_out]
    pixels = sum(map(len, tables)) <= DECODED and sum(map(whole_pixels, tables)) <= DECODED_PIXELS
    alike = ("pixels", pixel_digest) if pixels else BY_FILES
    return [*size_lines(train), *media_lines(train, held_out, label, separator=separator, alike=alike)]


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


def pixel_digest(table: PictureTable, row: int) -> bytes:
    """What tells a picture's pixels from those of others, whatever file has them. Raises DataError as `image` does."""
    image = table.image(row)
    return blake2b(image.tobytes(), digest_size=16, person=b"%d x %d" % image.size).digest()


def whole_pixels(table: PictureTable) -> float:
    """About how many pixels all pictures have, by the size of a few."""
    looked = [look(table, row) for row in spread(len(table), 50)]
    return len(table) * float(np.mean([one.width * one.height for one in looked]))
