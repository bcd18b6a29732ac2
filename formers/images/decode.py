"""A picture file as pixels: upright RGB on white, or one clear line on why not."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, features

from formers.errors import CheckpointError, DataError, shown
from formers.files import read_bytes

MOST_PIXELS = 2**27  # 134 million, 400 MB as RGB: a phone's largest pictures have 108 million
MOST_BYTES = 2**29  # of a file
# Pillow opens more, among them what runs programs (EPS) and what has no mark to be known by (TGA).
FORMATS = ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO", "QOI", "JPEG2000"]
FORMATS += ["AVIF"] if "avif" in features.modules else []  # from Pillow 11.3 on
ORIENTATION = 0x0112  # in EXIF: how the camera was held
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow raises, depending on the byte where a file is broken.
BROKEN = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError),
    *(RuntimeError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError, Warning),
)
# What it only warns of is read, and sizes have their own bound; a warning per file would be no use to anyone.
warnings.filterwarnings("ignore", module=r"PIL\b")


def decode(content: bytes | Path, name: str, *, least: tuple[int, int] | None = None) -> Image.Image:
    """A picture, given as the bytes of a file or its place: RGB, upright as its EXIF says, transparency on white, the
    first frame of several, 16 and 32 bits a pixel as 8.

    least: (height, width) that is enough: a JPEG at least twice as large is read at a half, a quarter or an eighth,
    several times as fast, with slightly other pixels. Its `info` has the name. Raises DataError, one line with `name`:
    no picture, cut off, without pixels, or with too many.
    """
    if isinstance(content, Path):
        try:
            content = read_bytes(content, most=MOST_BYTES)
        except (CheckpointError, OSError) as fault:
            why = (fault.strerror or str(fault)) if isinstance(fault, OSError) else str(fault)
            raise DataError(f"{name} cannot be read: {why}") from fault
    if not content:
        raise DataError(f"{name} is empty (0 bytes), expected a picture")
    try:
        picture: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as fault:
        raise DataError(too_large(name, int(next(iter(re.findall(r"\d+", str(fault))), 0)))) from fault
    except BROKEN as fault:
        kinds = ", ".join(FORMATS)
        raise DataError(f"{name} ({len(content):,} bytes) is no picture that is read here ({kinds})") from fault
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise DataError(too_large(name, width * height))
    if not width * height:
        raise DataError(f"{name} has {width} x {height} pixels, expected at least one")
    try:
        if least is not None:
            picture.draft("RGB", least[::-1])
        picture.load()
        turned = UPRIGHT.get(orientation(picture) or 1)
        picture = in_colours(picture)
        picture = picture if turned is None else picture.transpose(turned)
        picture.info = {"name": name}  # whoever refuses it says so
        return picture
    except BROKEN as fault:
        raise DataError(f"{name} is cut off or damaged ({shown(str(fault))[1:-1]}); get it again") from fault


def too_large(name: str, pixels: int) -> str:
    return f"{name} has {pixels:,} pixels, expected at most {MOST_PIXELS:,}; make it smaller"


def orientation(picture: Image.Image) -> int | None:
    """The number that EXIF has for how a picture is turned; None without one, and where EXIF is broken."""
    try:
        return picture.getexif().get(ORIENTATION)
    except BROKEN:
        return None


def in_colours(picture: Image.Image) -> Image.Image:
    """A picture of any mode as RGB: transparency on white, whatever numbers a pixel has as 0 to 255."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode == "F" or picture.mode.startswith("I"):
        return Image.fromarray(in_bytes(np.asarray(picture), picture.mode)).convert("RGB")
    if ("A" in picture.mode.upper() and picture.mode != "LAB") or picture.info.get("transparency") is not None:
        clear = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), clear)
    return picture.convert("RGB")


def in_bytes(pixels: np.ndarray, mode: str) -> np.ndarray:
    """Grey values as 0 to 255. White is 65,535 of 16 bits; of 32 bits the first of 65,535 and 2^31, of fractions
    the first of 1, 255 and 65,535 that holds them all, else the largest value.
    """
    grey = np.nan_to_num(pixels.astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    np.maximum(grey, 0, out=grey)
    largest = float(grey.max())
    ranges = {"F": (1.0, 255.0, 65535.0), "I": (65535.0, 2.0**31)}.get(mode, (65535.0,))
    white = next((most for most in ranges if largest <= most), largest)
    return np.rint(np.multiply(grey, 255 / white, out=grey), out=grey).astype(np.uint8)
