"""Pictures of every mode come out as upright RGB on white; what is none is one line."""

import io
import os
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from formers.errors import DataError
from formers.images import decode as room
from formers.images.decode import decode


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels)[: 2 + (channels > 1)]
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def pixels(content: bytes, name: str = "a.png") -> np.ndarray:
    picture = decode(content, name)
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(int)


def test_colours_and_greys_are_themselves():
    colours = noise(7, 5)
    assert np.array_equal(pixels(encoded(Image.fromarray(colours))), colours)
    grey = noise(7, 5, 1)
    assert np.array_equal(pixels(encoded(Image.fromarray(grey))), np.stack([grey] * 3, -1))
    bits = Image.fromarray(grey).convert("1")
    assert np.array_equal(pixels(encoded(bits)), np.asarray(bits.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_a_picture_upright(orientation):
    upright = Image.fromarray(np.kron(noise(4, 3, 3), np.ones((16, 16, 1), np.uint8)))
    back = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
    stored = upright.transpose(room.UPRIGHT[back[orientation]]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[room.ORIENTATION] = orientation
    read = pixels(encoded(stored, exif=exif))
    assert np.array_equal(read, np.asarray(upright))


def test_transparency_lies_on_white():
    colours = noise(6, 6, 4)
    share = colours[..., 3:] / 255
    expected = colours[..., :3] * share + 255 * (1 - share)
    assert abs(pixels(encoded(Image.fromarray(colours, "RGBA"))) - expected).max() <= 1
    grey = Image.fromarray(colours[..., 0]).convert("LA")
    grey.putalpha(Image.fromarray(colours[..., 3]))
    expected = colours[..., :1] * share + 255 * (1 - share)
    assert abs(pixels(encoded(grey)) - expected).max() <= 1


def test_a_palette_and_its_transparent_colour():
    palette = Image.fromarray(noise(8, 8)).quantize(16)
    assert np.array_equal(pixels(encoded(palette)), np.asarray(palette.convert("RGB")))
    clear = np.asarray(palette) == 3
    for see_through in (3, bytes([255, 255, 255, 0])):
        read = pixels(encoded(palette, transparency=see_through))
        assert (read[clear] == 255).all() and np.array_equal(read[~clear], np.asarray(palette.convert("RGB"))[~clear])
    colours = Image.fromarray(noise(4, 4))
    read = pixels(encoded(colours, transparency=colours.getpixel((1, 2))))
    assert (read[2, 1] == 255).all() and np.array_equal(read[0, 0], colours.getpixel((0, 0)))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_become_eight(kind):
    deep = np.random.default_rng(0).integers(0, 2**16, (5, 9), dtype=np.uint16)
    read = pixels(encoded(Image.fromarray(deep), kind))[..., 0]
    assert np.array_equal(read, np.rint(deep / 257))
    dark = pixels(encoded(Image.fromarray((deep // 256).astype(np.uint16)), kind))
    assert dark.max() <= 1  # 16 bits are 16 bits, however dark


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0, 1e6])
def test_fractions_and_long_numbers_become_eight_bits(white):
    values = np.random.default_rng(0).random((5, 9))
    values.flat[0], values.flat[1] = 1, 0
    read = pixels(encoded(Image.fromarray((values * white).astype(np.float32)), "TIFF"))[..., 0]
    assert abs(read - values * 255).max() <= 0.51
    odd = (values * white).astype(np.float32)
    odd[2, 2:5] = np.nan, np.inf, -3
    assert (pixels(encoded(Image.fromarray(odd), "TIFF"))[2, 2:5] == 0).all()


@pytest.mark.parametrize("white", [65535, 2**31 - 1])
def test_whole_numbers_of_32_bits(white):
    values = np.random.default_rng(0).random((5, 9))
    read = pixels(encoded(Image.fromarray((values * white).astype(np.int32)), "TIFF"))[..., 0]
    assert abs(read - values * 255).max() <= 0.51


def test_inks_and_other_colours():
    smooth = Image.fromarray(noise(2, 2)).resize((32, 32), Image.Resampling.BICUBIC)
    for mode, kind in (("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "JPEG"), ("YCbCr", "TIFF")):
        read = pixels(encoded(smooth.convert(mode), kind, **({"quality": 100} if kind == "JPEG" else {})))
        assert abs(read - np.asarray(smooth).astype(int)).mean() < 3, (mode, kind)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_several(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    read = pixels(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert abs(read - [255, 0, 0]).max() <= 4


def test_a_large_jpeg_is_read_smaller_where_that_is_enough():
    large = Image.fromarray(noise(8, 6)).resize((600, 800), Image.Resampling.BICUBIC)
    content = encoded(large, "JPEG", quality=95)
    assert decode(content, "a").size == (600, 800)
    assert decode(content, "a", least=(190, 140)).size == (150, 200)
    assert decode(content, "a", least=(500, 100)).size == (600, 800)
    assert decode(encoded(large), "a", least=(19, 14)).size == (600, 800)


# ---- what is no picture ---------------------------------------------------------------------------------------------


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG of any size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"IDAT" + zlib.compress(b"0")
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (header, body))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def refused(content, name="photos/a.jpg") -> str:
    with pytest.raises(DataError) as fault:
        decode(content, name)
    message = str(fault.value)
    assert message.startswith(name) and "\n" not in message
    return message


def test_what_is_no_picture_is_one_line():
    assert refused(b"") == "photos/a.jpg is empty (0 bytes), expected a picture"
    assert "(17 bytes) is no picture that is read here (JPEG, PNG, GIF" in refused(b"<html>no</html>\n\n")
    assert "is no picture" in refused(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")  # a program


def test_a_file_that_is_cut_off():
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        whole = encoded(Image.fromarray(noise(64, 64)), kind)
        assert "cut off or damaged" in refused(whole[: len(whole) // 2]) or kind == "WEBP"


def test_too_many_pixels_are_refused_before_they_are_decoded():
    for side in (12_000, 100_000):
        message = refused(png(side, side))
        assert f"has {side**2:,} pixels, expected at most 134,217,728; make it smaller" in message


def test_no_pixels_at_all():
    refused(png(0, 5))
    refused(b"GIF89a\0\0\0\0\0\0\0;")


def test_places_that_are_no_files(tmp_path):
    assert "No such file" in refused(tmp_path / "absent.png")
    assert "is a folder, expected a file" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refused(tmp_path / "pipe")
    (tmp_path / "a.png").write_bytes(encoded(Image.fromarray(noise(3, 4))))
    assert decode(tmp_path / "a.png", "a.png").size == (4, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_broken_bytes_are_a_picture_or_one_line(kind):
    exif = Image.Exif()
    exif[room.ORIENTATION] = 6
    options = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    whole = encoded(Image.fromarray(noise(24, 17)), kind, **options)
    draw = random.Random(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(150):
            broken = bytearray(whole)
            for _ in range(draw.randint(1, 4)):
                broken[draw.randrange(len(broken))] = draw.randrange(256)
            try:
                assert decode(bytes(broken), "a").mode == "RGB"
            except DataError as fault:
                assert str(fault).startswith("a ")
