"""Pictures found by words: the list, what is read again and what is not, Ctrl-C and kills, and every wrong thing."""

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import formers
from formers.blocks.stack import StackConfig
from formers.errors import FormersError
from formers.images.preprocess import usual
from formers.models.vit import ViT, ViTConfig
from formers.systems import picture_search
from formers.systems.images.system import PictureModel
from formers.systems.vectors import collection
from tests.cli.conftest import ROOT, call, fails, works
from tests.systems.colours import Colours, Pictured, draw

MODEL = ["--model", "colours"]
SHADES = {
    "a.png": (250, 20, 20),
    "b.jpg": (20, 240, 30),
    "deep/er/c.PNG": (160, 0, 90),
    "deep/d.webp": (10, 20, 200),
    "e.gif": (200, 210, 190),
}


@pytest.fixture
def models(monkeypatch):
    """Name -> what opens under it; what was opened stands in `opened`."""
    there = {"colours": Colours(), "other": Colours(3.0), "vit": Pictured(), "text": object()}
    monkeypatch.setattr("formers.registry.load", lambda name, **how: there[name])
    return there


@pytest.fixture
def folder(tmp_path, models):
    place = tmp_path / "photos"
    for name, colour in SHADES.items():
        draw(place / name, colour)
    (place / "notes.txt").write_text("no picture")
    (place / "film.mp4").write_bytes(b"no picture")
    draw(place / ".hidden" / "x.png", "red")
    return place


def found(*arguments) -> list[str]:
    return [Path(line.split("\t")[2]).name for line in works("search", *arguments).splitlines()]


def test_words_and_pictures_find_pictures(folder, models, tmp_path):
    assert found(folder, "a red apple", *MODEL, "--top", 2) == ["a.png", "c.PNG"]
    assert found(folder, "something blue")[0] == "d.webp", "the index says the model"
    assert len(found(folder, "white")) == 5, "all, where there are fewer than ten"
    draw(tmp_path / "query.png", "green")
    assert found(folder, "--picture", tmp_path / "query.png", "--top", 1) == ["b.jpg"]
    assert models["colours"].read == 5 + 1, "and every picture was read once"
    rows = [json.loads(line) for line in works("search", folder, "red", "--json", "--top", 1).splitlines()]
    assert rows == [{"rank": 1, "score": pytest.approx(0.98, abs=0.02), "path": str(folder / "a.png")}]


def test_a_sheet_is_drawn_beside_the_list(folder, tmp_path):
    done = call("search", folder, "red", *MODEL, "--top", 2, "--out", "sheet.png")
    assert len(done.stdout.splitlines()) == 2 and "wrote sheet.png" in done.stderr
    with Image.open("sheet.png") as sheet:
        colours = {pixel for _, pixel in sheet.convert("RGB").getcolors(1 << 20)}
    assert SHADES["a.png"] in colours and SHADES["deep/er/c.PNG"] in colours and SHADES["e.gif"] not in colours
    works("search", folder, "--picture", folder / "a.png", "--out", "sheet.svg")
    assert b"searched" in Path("sheet.svg").read_bytes()
    assert works("search", folder, "red", "--out", "list.jsonl") == ""
    assert json.loads(Path("list.jsonl").read_text().splitlines()[0])["rank"] == 1


def test_several_queries(folder, tmp_path):
    (tmp_path / "queries.txt").write_text("red\nblue thing\n")
    lines = works("search", folder, "--file", "queries.txt", *MODEL, "--top", 1).splitlines()
    assert [line.split("\t")[3] for line in lines] == ["red", "blue thing"]
    assert [Path(line.split("\t")[2]).name for line in lines] == ["a.png", "d.webp"]
    assert works("search", folder, "--file", "-", "--top", 1, stdin="green\n").endswith("b.jpg\n")
    assert "line 2 is empty" in fails("search", folder, "--file", "-", stdin="green\n\n")


def test_only_what_changed_is_read_again(folder, models):
    works("search", folder, *MODEL)
    models["colours"].read = 0
    draw(folder / "a.png", "blue", (13, 13))
    (folder / "b.jpg").rename(folder / "deep" / "moved.jpg")
    (folder / "e.gif").unlink()
    draw(folder / "new.png", "red")
    assert found(folder, "red", "--top", 9) == ["new.png", "c.PNG", "moved.jpg", "d.webp", "a.png"]
    assert models["colours"].read == 3, "changed, moved, new"
    works("search", folder, "red")
    assert models["colours"].read == 3


def test_unreadable_pictures_are_named_and_not_read_again(folder, models, monkeypatch):
    (folder / "bad.jpg").write_bytes(b"no picture at all")
    (folder / "cut.jpg").write_bytes((folder / "b.jpg").read_bytes()[:-40])
    done = call("search", folder, "red", *MODEL)
    assert done.exit_code == 0 and "bad.jpg (17 bytes) is no picture" in done.stderr and "cut.jpg (" in done.stderr
    assert "left out: 2 picture(s) that cannot be used" in done.stderr
    decoded = []
    monkeypatch.setattr(picture_search, "decode", lambda path, name, **_: decoded.append(name))
    again = call("search", folder, "red")
    assert again.stdout == done.stdout and decoded == []
    assert (
        again.stderr.count("\n") == 1 and "left out: 2 picture(s) that cannot be used; the first: bad" in again.stderr
    )
    monkeypatch.undo()
    monkeypatch.setattr("formers.registry.load", lambda name, **how: models[name])
    draw(folder / "bad.jpg", "red")
    done = call("search", folder, "red", "--top", 1)
    assert done.stdout.endswith("bad.jpg\n") and "left out: 1 picture(s)" in done.stderr


def test_a_folder_of_nothing_but_broken_pictures(tmp_path, models):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "x.png").write_bytes(b"x")
    done = call("search", "p", "red", *MODEL)
    assert done.exit_code == 2
    assert "p: none of its 1 pictures can be used; the first: x.png (1 bytes) is no" in done.stderr.splitlines()[-1]


def test_a_picture_that_the_model_refuses_is_left_out(folder, models):
    models["colours"].preprocessor = replace(models["colours"].preprocessor, resize=None)
    draw(folder / "right.png", "red", (8, 8))
    done = call("search", folder, "red", *MODEL)
    assert done.exit_code == 0 and done.stdout.endswith("right.png\n") and done.stdout.count("\n") == 1
    assert "left out: 5 picture(s)" in done.stderr and "a.png has 12 x 8 pixels" in done.stderr


def test_a_model_of_pictures_from_its_folder(folder, tmp_path, monkeypatch):
    monkeypatch.undo()
    torch.manual_seed(0)
    stack = StackConfig(dim=16, layers=1, heads=2, hidden=24)
    model = ViT(ViTConfig(stack=stack, height=16, width=16, patch=8))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    PictureModel(model.eval(), usual(16, 16)).save(tmp_path / "vit")
    monkeypatch.chdir(tmp_path)
    lines = works("search", "photos", "--picture", "photos/a.png", "--model", "vit").splitlines()
    assert len(lines) == 5 and lines[0] == "1\t1.0000\tphotos/a.png"
    assert found("photos", "--picture", "photos/b.jpg", "--top", 1) == ["b.jpg"]
    assert "vit knows pictures and no words" in fails("search", "photos", "red")


def test_every_model_has_its_index(folder, models):
    works("search", folder, *MODEL)
    works("search", folder, "red", "--model", "other")
    message = fails("search", folder, "red")
    assert message.endswith(".formers-index has 2 indexes: give --model, one of colours, other")
    models["colours"].read = 0
    works("search", folder, "red", *MODEL)
    assert models["colours"].read == 0


def test_a_model_that_was_trained_on(folder, models, caplog):
    works("search", folder, *MODEL)
    models["colours"] = Colours(5.0)
    message = fails("search", folder, "red")
    assert message == "colours is not what it was when the index was made: give --model colours to make it anew"
    with caplog.at_level(logging.WARNING, "formers"):
        assert found(folder, "red", *MODEL)[0] == "a.png"
    assert "colours is another model than before: its index of 5 is made anew" in caplog.text
    assert models["colours"].read == 5 and found(folder, "red")[0] == "a.png"


def test_ctrl_c_keeps_what_was_read(folder, models, monkeypatch, caplog):
    monkeypatch.setattr(picture_search, "BATCH", 1)
    encoder, encode = models["colours"], models["colours"].encode_pictures

    def interrupted(images):
        if encoder.read == 3:
            raise KeyboardInterrupt
        return encode(images)

    encoder.encode_pictures = interrupted
    with caplog.at_level(logging.WARNING, "formers"):
        assert call("search", folder, "red", *MODEL).exit_code == 130
    assert "3 of 5 are read and kept in" in caplog.text and "the same command goes on" in caplog.text
    encoder.encode_pictures, encoder.read = encode, 0
    assert len(found(folder, "red")) == 5 and encoder.read == 2


KILLED = """
import os, signal, sys
import formers.registry
from formers.cli import app
from formers.systems import picture_search
from formers.systems.vectors import collection
from tests.systems.colours import Colours

collection.SECONDS, picture_search.BATCH = 0, 1
encoder = Colours()
encode = encoder.encode_pictures
def killed(images):
    if encoder.read == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(images)
encoder.encode_pictures = killed
formers.registry.load = lambda name, **how: encoder
app(["search", "photos", "red", "--model", "colours"])
"""


def test_a_kill_loses_what_was_not_saved_and_no_more(folder, models, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (path,) = (folder / ".formers-index").glob("*/index.json")
    assert json.loads(path.read_bytes())["index"]["keys"] == ["a.png", "b.jpg", "e.gif"]
    assert len(found(folder, "red")) == 5 and models["colours"].read == 2


def test_an_index_in_another_place(folder, models, tmp_path):
    draw(tmp_path / "more" / "x.png", "red")
    for name in ("photos", "more"):
        works("search", name, "red", *MODEL, "--index", "place")
    assert not (folder / ".formers-index").exists() and len(list(Path("place").iterdir())) == 2
    assert found("photos", "red", "--index", "place", "--top", 1) == ["a.png"]
    (folder / ".formers-index").touch()  # as good as a folder that nobody may write
    assert "photos/.formers-index" in fails("search", "photos", "red", *MODEL)


def test_a_folder_that_may_not_be_written(folder, monkeypatch):
    def refused(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refused)
    message = fails("search", folder, "red", *MODEL)
    assert message.endswith(".formers-index cannot be written (Permission denied): give --index PLACE for it")


def test_two_at_a_time(folder, models):
    encoder, encode = models["colours"], models["colours"].encode_pictures

    def within(images):
        assert "process" in fails("search", folder, "red", *MODEL)
        return encode(images)

    encoder.encode_pictures = within
    works("search", folder, "red", *MODEL)


def test_a_name_that_is_no_unicode(folder):
    name = os.fsdecode(os.fsencode(str(folder)) + b"/caf\xe9.png")
    try:
        draw(Path(name), "red")
    except OSError:
        pytest.skip("this disk refuses such names")
    done = call("search", folder, "red", *MODEL)
    assert done.exit_code == 0 and r"caf\xe9.png is gone, or its name is no text in UTF-8: rename it" in done.stderr


def test_what_is_wrong_is_one_line(folder, models, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.txt").write_text("x")
    wrong = {
        ("empty", "red", *MODEL): "empty has no picture; expected files that end in .jpg",
        ("words", "red", *MODEL): "words has no picture (1 other file(s)); expected",
        ("nowhere", "red", *MODEL): "nowhere is not there, expected a folder",
        ("photos/a.png", "red", *MODEL): "photos/a.png is no folder, expected a folder",
        ("photos", " ", *MODEL): "the words to search for are empty",
        ("photos", "red"): "there is no index in photos/.formers-index yet: give --model",
        (
            "photos",
            "red",
            "--picture",
            "photos/a.png",
            *MODEL,
        ): "give words, --picture, --file or --duplicates, one of them",
        ("photos", "--picture", "photos/notes.txt", *MODEL): "photos/notes.txt (10 bytes) is no picture",
        ("photos", "--picture", "none.png", *MODEL): "none.png cannot be read: No such file",
        ("photos", "red", "--top", "0", *MODEL): "top (0) must be at least 1",
        ("photos", "red", "--model", "vit"): "vit knows pictures and no words: search with --picture FILE",
        ("photos", "red", "--model", "text"): "text makes no vectors of pictures",
        ("photos", "red", "--out", "x.exe", *MODEL): "--out x.exe: expected a name that ends in .png",
        ("photos", "red", "--out", "none/x.png", *MODEL): "the folder none does not exist",
    }
    for arguments, message in wrong.items():
        assert message in fails("search", *arguments)
        assert not (folder / ".formers-index").exists(), "nothing was read for it"
    assert found("photos", "--picture", "photos/a.png", "--model", "vit", "--top", 1) == ["a.png"]


def test_a_damaged_index_is_one_line(folder):
    works("search", folder, *MODEL)
    (path,) = (folder / ".formers-index").glob("*/vectors-0.f32")
    path.write_bytes(path.read_bytes()[:-4])
    for arguments in (MODEL, []):
        message = fails("search", folder, "red", *arguments)
        assert f"the index {path.parent} is damaged" in message and "delete it, and have it made again" in message


def test_pairs_of_pictures_that_are_alike(folder, models):
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    lines = works("search", folder, *MODEL, "--duplicates", 0.9999).splitlines()
    assert lines == [f"1.0000\t{folder / 'a.png'}\t{folder / 'copy.png'}"]
    (folder / "deep" / "d.webp").unlink()
    works("search", folder, *MODEL)
    assert len(works("search", folder, "--duplicates", -1).splitlines()) == 10, "all pairs of five"
    assert "one of them" in fails("search", folder, "red", "--duplicates", 0.9)
    assert "must be in [-1, 1]" in fails("search", folder, "--duplicates", 2)
    assert found(folder, "--picture", folder / "a.png", "--model", "vit", "--top", 1) == ["a.png"]
    assert works("search", folder, "--model", "vit", "--duplicates", 0.9999).count("\n") == 1, "no words are needed"
    works("search", folder, *MODEL, "--duplicates", 0.9, "--out", folder.parent / "pairs.png")
    assert (folder.parent / "pairs.png").exists()


def test_in_python(folder):
    results = formers.search(folder, "red", model="colours", top=2)
    assert [(each.rank, Path(each.path).name) for each in results] == [(1, "a.png"), (2, "c.PNG")]
    assert formers.search(str(folder), picture=str(folder / "b.jpg"))[0].path == str(folder / "b.jpg")
    with pytest.raises(FormersError, match="one of them"):
        formers.search(folder, "red", picture="x.png")


def test_saves_are_between_batches(folder, models, monkeypatch):
    monkeypatch.setattr(picture_search, "BATCH", 2)
    monkeypatch.setattr(collection, "SECONDS", 0)
    saves = []
    save = collection.VectorIndex.save
    monkeypatch.setattr(
        collection.VectorIndex, "save", lambda index, path: (saves.append(len(index)), save(index, path))
    )
    works("search", folder, *MODEL)
    assert saves == [0, 2, 4, 5, 5]
