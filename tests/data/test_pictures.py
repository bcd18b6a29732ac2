"""Pictures of every kind of source: a light table, contents that are read when they are asked for."""

from __future__ import annotations

import io
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from formers.data.bad_rows import leaving_out
from formers.data.labels import learn_labels
from formers.data.pictures import read_pictures
from formers.data.source import Source
from formers.errors import DataError

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def encoded(colour="red", kind="PNG", size=(6, 4)) -> bytes:
    Image.new("RGB", size, COLOURS[colour]).save(file := io.BytesIO(), kind)
    return file.getvalue()


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Write files below the folder that the test stands in: name -> content."""
    monkeypatch.chdir(tmp_path)

    def write(contents):
        for name, content in contents.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def refused(source, **options):
    with pytest.raises(DataError) as caught:
        read_pictures(source, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def unreadable(pictures, row=0):
    with pytest.raises(DataError) as caught:
        pictures.image(row)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def colour(pictures, row):
    pixel = np.asarray(pictures.image(row))[0, 0]
    return next(name for name, rgb in COLOURS.items() if abs(pixel.astype(int) - rgb).max() < 9)


# ---- folders -------------------------------------------------------------------------------------------------------


def test_class_folders_label_their_pictures(put):
    contents = {"set/cat/1.PNG": encoded("red"), "set/cat/more/2.jpeg": encoded("green", "JPEG")}
    contents |= {"set/ant/x.webp": encoded("blue", "WEBP"), "set/cat/notes.txt": b"x", "set/cat/.hidden.png": b"x"}
    contents |= {"set/.cache/1.png": b"x", "set/cat/._1.png": b"x"}
    put(contents)
    pictures = read_pictures("set", columns=["label"])
    assert pictures.table.columns["label"] == ["ant", "cat", "cat"] and len(pictures) == 3
    assert [colour(pictures, row) for row in range(3)] == ["blue", "red", "green"]
    assert (
        pictures.where(2) == os.path.join("set", "cat/more/2.jpeg") and pictures.content(1) == contents["set/cat/1.PNG"]
    )
    chosen = pictures.select([2, 0])
    assert colour(chosen, 0) == "green" and chosen.where(1) == pictures.where(0) and len(chosen) == 2
    assert learn_labels(pictures.table, "label").names == ("ant", "cat")


def test_a_flat_folder_and_a_pattern_have_no_labels(put):
    put({"flat/2.png": encoded("red"), "flat/1.png": encoded("blue")})
    for source in ("flat", "flat/*.png"):
        pictures = read_pictures(source)
        assert [colour(pictures, row) for row in range(2)] == ["blue", "red"]
    assert "holds pictures and no class folders" in refused("flat", columns=["label"])
    assert 'no column "text"; the columns are image' in refused("flat", columns=["text"])
    assert len(read_pictures("flat/1.png")) == 1
    assert "no file matches" in refused("flat/*.jpg")


def test_folders_of_splits_are_used_where_they_are(put):
    names = [f"set/{split}/{label}/{i}.png" for split in ("train", "val", "test") for label in "ab" for i in range(2)]
    put({name: encoded() for name in names})
    source = Source(train="set")
    train, validation = source.tables(reader=read_pictures, columns=["label"])
    assert [len(train), len(validation)] == [4, 4] and "val" in validation.where(0)
    assert "test" in source.test_or_validation(reader=read_pictures, columns=["label"]).where(0)
    os.rename("set/test", "set/vehicles")  # a class then, as train and val are
    assert set(read_pictures("set", columns=["label"]).table.columns["label"]) == {"train", "val", "vehicles"}
    rest, aside = Source(train="set").tables(reader=read_pictures, columns=["label"])
    assert [len(rest), len(aside)] == [11, 1]
    put({"two/train/a/1.png": encoded(), "two/test/a/1.png": encoded()})
    assert "no folder of the split validation" in refused("two", split="validation")


@pytest.mark.parametrize(
    "contents, message",
    [
        ({"set/a/1.png": b"x", "set/b/notes.txt": b"x"}, "the class folder b holds no picture: put pictures into it"),
        ({"set/a/1.png": b"x", "set/2.png": b"x"}, "holds pictures beside class folders (2.png)"),
        ({"set/a/1.txt": b"x"}, "a folder without a file that ends in .jpg"),
    ],
)
def test_folders_that_are_refused(put, contents, message):
    put(contents)
    assert message in refused("set", columns=["label"])


def test_one_class_is_refused(put):
    put({"set/only/1.png": encoded(), "set/only/2.png": encoded()})
    with pytest.raises(DataError, match='all 2 rows have the label "only"'):
        learn_labels(read_pictures("set", columns=["label"]).table, "label")


# ---- tables --------------------------------------------------------------------------------------------------------


def test_a_table_of_paths(put):
    put({"data/p/1.png": encoded("red"), "2.png": encoded("blue")})
    put({"data/t.csv": "image,label\np/1.png,a\n2.png,b\nlost.png,c\nhttps://x.y/z.png,d\n"})
    pictures = read_pictures("data/t.csv", columns=["label"])
    assert [colour(pictures, 0), colour(pictures, 1)] == ["red", "blue"]
    assert pictures.where(1) == "data/t.csv, line 3"
    assert unreadable(pictures, 2).startswith('data/t.csv, line 4: there is no picture "lost.png", neither in data')
    assert "is an address" in unreadable(pictures, 3)
    put({"data/t.jsonl": '{"img": "p/1.png", "caption": "one"}\n{"img": null, "caption": "two"}\n'})
    settings = {"image": "--set rows.image=COLUMN"}
    message = refused("data/t.jsonl", columns=["caption"], settings=settings)
    assert 'no key "image"; the keys are img, caption' in message
    assert message.endswith("choose with --set rows.image=COLUMN")
    pictures = read_pictures("data/t.jsonl", columns=["caption"], image="img", text=["caption"])
    assert colour(pictures, 0) == "red" and 'line 2: column "img" is empty' in unreadable(pictures, 1)


def test_a_folder_with_a_table_of_its_pictures(put):
    put({"set/metadata.csv": "file_name,text\nb.png,two\na.png,one\n", "set/a.png": encoded("red")})
    put({"set/b.png": encoded("blue")})
    pictures = read_pictures("set", columns=["text"], image="file_name")
    assert [colour(pictures, row) for row in range(2)] == ["blue", "red"]


@pytest.mark.parametrize("empty", ["label", "caption"])
def test_a_label_or_caption_is_missing(put, empty):
    rows = {"label": ["a", "b"], "caption": ["one", "two"]} | {empty: ["a", ""]}
    lines = [f"x.png,{label},{caption}\n" for label, caption in zip(*rows.values(), strict=True)]
    put({"t.csv": "image,label,caption\n" + "".join(lines)})
    assert f'line 3: column "{empty}" is empty' in refused("t.csv", columns=["label", "caption"])
    left = read_pictures("t.csv", columns=["label", "caption"], drop_empty=True)
    assert len(left) == 1 and left.dropped == 1


def test_captions_must_be_text(put):
    put({"t.jsonl": '{"image": "x.png", "caption": 3}\n'})
    assert "expected text" in refused("t.jsonl", columns=["caption"], text=["caption"])


# ---- Parquet, the hub ------------------------------------------------------------------------------------------------


@pytest.fixture
def parquet(put):
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    module = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

    def write(name, columns, metadata=None):
        table = arrow.table(columns)
        module.write_table(table.replace_schema_metadata(metadata), name, row_group_size=2)

    return write


def test_parquet_of_bytes_structures_and_paths(parquet, put):
    put({"r.png": encoded("red")})
    values = {
        "bytes": [encoded(name) for name in ("green", "blue", "red")],
        "structure": [{"bytes": encoded("green"), "path": None}, {"bytes": encoded("blue"), "path": "b.png"},
                      {"bytes": None, "path": "r.png"}],
        "path": ["r.png", "r.png", "r.png"],
    }  # fmt: skip
    parquet("p.parquet", {**values, "label": [1, 0, 1]}, {"labels": '["cat", "dog"]'})
    for column in values:
        pictures = read_pictures("p.parquet", columns=["label"], image=column)
        assert [colour(pictures, row) for row in range(3)][2] == "red"
        assert colour(pictures, 1) == ("red" if column == "path" else "blue")
        assert pictures.where(2) == "p.parquet, row 3" and pictures.select([2]).where(0) == "p.parquet, row 3"
    assert learn_labels(pictures.table, "label").names == ("cat", "dog")
    assert "the columns are bytes, structure, path, label" in refused("p.parquet", columns=["label"])
    assert len(read_pictures("p.parquet", image="bytes")) == 3  # nothing but pictures
    assert 'no column "text"' in refused("p.parquet", columns=["text"], image="bytes")


def test_shards_of_a_split(parquet):
    os.mkdir("set")
    for number, names in enumerate((["red", "green", "blue"], ["blue", "red"])):
        parquet(f"set/train-0000{number}-of-00002.parquet", {"image": [encoded(one) for one in names], "label": names})
    parquet("set/test.parquet", {"image": [encoded("red")], "label": ["red"]})
    pictures = read_pictures("set", columns=["label"])
    assert [colour(pictures, row) for row in range(5)] == pictures.table.columns["label"]
    assert pictures.where(3) == os.path.join("set", "train-00001-of-00002.parquet, row 1")
    order = [4, 0, 3, 1, 2] * 20
    with ThreadPoolExecutor(8) as threads:  # any order, several at once
        read = list(threads.map(lambda row: colour(pictures, row), order))
    assert read == [pictures.table.columns["label"][row] for row in order]
    assert len(Source(train="set").test_or_validation(reader=read_pictures, columns=["label"])) == 1
    assert len(read_pictures("set/*.parquet", columns=["label"])) == 6
    assert len(read_pictures("set", columns=["label"], count=2)) == 2


def test_a_data_set_in_the_layout_of_the_hub(put):
    pytest.importorskip("datasets", reason="datasets is not installed")
    names = {
        f"set/{split}/{label}/{i}.png": encoded(label)
        for split in ("train", "test")
        for label in COLOURS
        for i in (0, 1)
    }
    put(names)
    pictures = read_pictures(f"hf:{os.path.abspath('set')}", columns=["label"])
    assert pictures.table.named("label") == [colour(pictures, row) for row in range(6)]
    assert 'no column "text"' in refused(f"hf:{os.path.abspath('set')}", columns=["text"])


# ---- tar -------------------------------------------------------------------------------------------------------------


def archive(name, members, **options):
    with tarfile.open(name, "w", **options) as tar:
        for member, content in members:
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_webdataset(put):
    members = [("a/0.jpg", encoded("red", "JPEG")), ("a/0.txt", b"one\n"), ("a/0.cls", b"7"), ("a/1.cls", b"3")]
    members += [("a/1.txt", "zw\u00f6lf".encode()), ("a/1.PNG", encoded("blue"))]
    archive("s-0.tar", members)
    archive("s-1.tar", [("x.json", b'{"text": "three", "label": 2, "more": 1}'), ("x.webp", encoded("green", "WEBP"))])
    pictures = read_pictures("s-*.tar", columns=["text", "label"])
    assert pictures.table.columns["text"] == ["one", "zw\u00f6lf", "three"]
    assert pictures.table.columns["label"] == [7, 3, 2]
    assert [colour(pictures, row) for row in range(3)] == ["red", "blue", "green"]
    assert pictures.where(1).endswith("s-0.tar, a/1.PNG") and pictures.content(1) == encoded("blue")
    assert 'x: no column "caption"; the columns are image, text, label, more' in refused("s-1.tar", columns=["caption"])


def link(kind):
    info = tarfile.TarInfo("b.png")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    "members, message",
    [
        ([("b.png", link(tarfile.SYMTYPE))], "b.png: is a link, expected plain files only"),
        ([("b.png", link(tarfile.LNKTYPE))], "b.png: is a link"),
        ([("b.png", link(tarfile.FIFOTYPE))], "b.png: is no plain file"),
        ([("b.txt", b"x")], "b: a row with no picture, expected one: its members are txt"),
        ([("b.png", b"x"), ("b.jpg", b"x")], "b: a row with 2 pictures"),
        ([("b.png", b"x"), ("b.png", b"x")], "b.png: stands twice"),
        ([("b.png", b"x"), ("b.json", b"[1]")], "b.json: expected an object"),
        ([("b.png", b"x"), ("b.json", b"{")], "b.json: bad JSON"),
        ([("b.png", b"x"), ("b.txt", b"\xff")], "expected UTF-8"),
        ([], "there are no pictures"),
    ],
)
def test_archives_that_are_refused(put, members, message):
    archive("s.tar", members)
    assert message in refused("s.tar", columns=["text"] if members else [])


def test_rows_of_an_archive_that_cannot_be_used_are_left_out(put):
    archive("s.tar", [("a.txt", b"x"), ("b.png", b"x"), ("c.png", b"x"), ("c.txt", b"\xff"), ("d.png", b"x"),
                      ("d.txt", b"fine")])  # fmt: skip
    with leaving_out([]) as faults:
        pictures = read_pictures("s.tar", columns=["text"])
    assert pictures.table.columns["text"] == ["fine"] and pictures.where(0) == "s.tar, d.png"
    assert [str(fault).partition(":")[0] for fault in faults] == [
        "s.tar, a",
        "s.tar, b",
        "s.tar, c.txt, line 1, byte 1",
    ]


def test_broken_archives(put):
    archive("s.tar", [("a.png", bytes(9000)), ("a.txt", b"x")])
    with open("s.tar", "rb") as file:
        whole = file.read()
    put({"cut.tar": whole[:5000], "no.tar": b"nothing" * 300, "packed.tar.gz": whole})
    assert "cut.tar" in refused("cut.tar") and "broken tar file" in refused("no.tar")
    assert "a packed tar file cannot be read in any order" in refused("packed.tar.gz")
    assert "does not exist" in refused("absent.tar")


# ---- what is no picture ----------------------------------------------------------------------------------------------


def test_what_is_no_picture_is_one_line_with_its_place(put):
    whole = encoded("red", "JPEG", (300, 200))
    put({"set/a/1.jpg": b"hello", "set/a/2.jpg": whole[: len(whole) // 2], "set/a/3.jpg": b""})
    pictures = read_pictures("set")
    for row, message in enumerate(("is no picture", "cut off or damaged", "is empty")):
        line = unreadable(pictures, row)
        assert line.startswith(os.path.join("set", f"a/{row + 1}.jpg")) and message in line
    os.remove("set/a/1.jpg")
    assert "there is no picture" in unreadable(pictures)
    os.mkfifo("set/a/1.jpg")
    assert "no regular file" in unreadable(pictures)


def test_made_rows(put):
    pictures = read_pictures("builtin:shapes", columns=["label", "caption"], count=5, split="test")
    assert len(pictures) == 5 and pictures.image(0).size == (32, 32)
    assert "the columns are image, label, shape, caption, objects, contents, claims" in refused(
        "builtin:shapes", columns=["text"]
    )
    assert Image.open(io.BytesIO(pictures.content(3))).tobytes() == pictures.image(3).tobytes()
    assert "no built-in data" in refused("builtin:shape")
