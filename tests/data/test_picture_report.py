"""What is said of pictures before they are learned from."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from formers.data import media_report, picture_report
from formers.data.picture_report import picture_lines, size_lines
from formers.data.pictures import read_pictures


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)

    def write(name, size=(8, 8), kind="PNG"):
        pixels = random.integers(0, 255, (*size[::-1], 3), np.uint8)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file := io.BytesIO(), kind)
        (tmp_path / name).write_bytes(file.getvalue())
        return file.getvalue()

    return write


def lines(source="set", held_out=None):
    other = read_pictures(held_out, columns=["label"]) if held_out else None
    return picture_lines(read_pictures(source, columns=["label"]), other, label="label")


def test_sizes_and_formats(folder):
    for number in range(6):
        folder(f"set/a/{number}.png")
    assert lines() == ["pictures: all 8 x 8 pixels; PNG", "unreadable: none"]
    folder("set/a/wide.jpg", (40, 10), "JPEG")
    folder("set/a/high.jpg", (10, 20), "JPEG")
    sizes = "width 8 to 40, median 8; height 8 to 20, median 8; width / height 0.50 to 4.00, median 1.00"
    assert lines()[0] == f"pictures: {sizes}; PNG 75.0%, JPEG 25.0%"


def test_unreadable_pictures_are_counted_and_the_first_named(folder, tmp_path):
    for number in range(5):
        folder(f"set/a/{number}.png")
    whole = folder("set/a/b.jpg", (90, 90), "JPEG")
    (tmp_path / "set/a/b.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "set/a/c.jpg").write_text("no picture")
    line = lines()[1]
    assert line.startswith("unreadable: 2, the first: ") and "set/a/c.jpg" in line


def test_the_same_pixels_in_other_files(folder, tmp_path, monkeypatch):
    folder("set/a/0.png")
    folder("set/b/1.png")
    folder("test/a/0.png")
    Image.open(tmp_path / "set/a/0.png").save(tmp_path / "test/a/1.bmp")
    line = "the same picture in training and held out: "
    assert f"{line}1 of 2, the first: set/a/0.png = test/a/1.bmp (by pixels)" in lines(held_out="test")
    monkeypatch.setattr(picture_report, "DECODED", 1)
    assert f"{line}none (by files)" in lines(held_out="test")


def test_several_labels_are_counted_one_by_one():
    assert [*media_report.rare(["a; b", "a", "a;", "a", "a"], "picture", ";")] == [
        "classes with fewer than 5 pictures: b (1)"
    ]


def test_the_same_picture_again(folder, tmp_path):
    for number in range(8):
        folder(f"set/{'ab'[number % 2]}/{number}.png")
        folder(f"test/a/{number}.png")
    again = (tmp_path / "set/a/0.png").read_bytes()
    for name in ("set/a/9.png", "set/b/x.png", "test/a/y.png"):
        (tmp_path / name).write_bytes(again)
    report = "\n".join(lines(held_out="test"))
    assert "the same picture again in training: 2 (by pixels), the first: set/a/0.png = set/a/9.png" in report
    assert "the same picture with another label: 1 (by pixels), the first: set/a/0.png = set/b/x.png" in report
    assert (
        "the same picture in training and held out: 1 of 9, the first: set/a/0.png = test/a/y.png (by pixels)" in report
    )
    (tmp_path / "test/a/y.png").unlink()
    assert "in training and held out: none" in "\n".join(lines(held_out="test"))


def test_classes_of_few_pictures(folder):
    for number in range(7):
        folder(f"set/many/{number}.png")
    folder("set/few/1.png")
    assert lines()[-1] == "classes with fewer than 5 pictures: few (1)"


def test_of_a_large_set_a_part_is_looked_at_and_that_is_said(folder, monkeypatch):
    for number in range(10):
        folder(f"set/a/{number}.png")
    assert size_lines(read_pictures("set"), 4)[0].endswith("(4 of 10 looked at)")
    monkeypatch.setattr(picture_report, "DECODED_PIXELS", 128)
    assert size_lines(read_pictures("set"), 4)[1] == "unreadable: none (4 of 10 looked at); 2 of them decoded"
    monkeypatch.setattr(media_report, "COMPARED_BYTES", 1000)
    assert "compared" not in "\n".join(lines()) and len(lines()) == 2


def test_drawn_pictures():
    assert picture_lines(read_pictures("builtin:shapes", count=3)) == ["pictures: drawn, 32 x 32 pixels"]
