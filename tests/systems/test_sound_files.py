"""Sounds that a verb works on: files, folders, patterns, lists, tables, standard input, requests."""

import base64
import io
import sys

import numpy as np
import pytest

from formers.data.bad_rows import leaving_out
from formers.data.builtin.dialtones import dialled
from formers.errors import ConfigError, DataError, PackageError
from formers.systems.inputs import CommandInputs
from formers.systems.sound_files import Sounds
from formers.systems.system import Typed

pytest.importorskip("soundfile")
WAV = dialled("train", 0, several=False).wav()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    for name in ("b.wav", "inner/a.WAV"):
        (tmp_path / name).write_bytes(WAV)
    (tmp_path / "notes.txt").write_text("no sound")
    (tmp_path / "list.txt").write_text("b.wav\n\ninner/a.WAV\n")
    (tmp_path / "table.csv").write_text("audio,label\nb.wav,1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*arguments, **options):
    sounds = Sounds.of_command(CommandInputs(arguments, **options), Typed(), {})
    return list(sounds.worked(lambda source: [(source.name, len(source.whole(16_000).samples))]))


def test_where_sounds_come_from(folder, monkeypatch):
    length = len(dialled("train", 0, several=False).sound().samples)
    assert names("b.wav") == [("b.wav", length)]
    assert [name for name, _ in names(".")] == ["./b.wav", "./inner/a.WAV"]
    assert [name for name, _ in names("*.wav", "inner")] == [str(folder / "b.wav"), "inner/a.WAV"] or names("*.wav")
    assert [name for name, _ in names(file="list.txt")] == ["b.wav", "inner/a.WAV"]
    assert names(file="table.csv") == [("table.csv, line 2", length)]
    assert names(file="builtin:dialtones")[0][0] == "builtin:dialtones, row 1"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(WAV)))
    assert names("-") == [("standard input", length)]


def test_without_the_extra_no_file_is_left_out(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with leaving_out([]) as left, pytest.raises(PackageError, match="needs the package soundfile"):
        names(".")
    assert not left


def test_a_source_is_read_in_pieces_too(folder):
    (source,) = Sounds.of_files(["b.wav"]).worked(lambda source: [source])
    pieces = np.concatenate([*source.pieces(8_000, start=0.1)])
    assert abs(len(pieces) - round(8_000 * (source.seconds() - 0.1))) <= 1


def test_a_fault_of_work_names_its_sound(folder):
    def refused(source):
        raise DataError("too short for this model" if source.name == "b.wav" else f"{source.name} is cut off")

    for name, message in (("b.wav", "b.wav: too short for this model"), ("inner/a.WAV", "inner/a.WAV is cut off")):
        with pytest.raises(DataError) as caught:
            list(Sounds.of_files([name]).worked(refused))
        assert str(caught.value) == message


def test_requests():
    encoded = base64.b64encode(WAV).decode()
    sounds = Sounds.of_request([encoded, f"data:audio/wav;base64,{encoded}"], "sounds")
    assert sounds.names == ["sounds 1 of 2", "sounds 2 of 2"] and len(sounds) == 2
    assert all(rate == 16_000 for rate in sounds.worked(lambda source: [source.whole(16_000).rate]))
    for value, message in ((3, "got 3, expected a sound in base64"), ("?!", "expected the bytes of a sound in base64")):
        with pytest.raises((ConfigError, DataError), match=message):
            Sounds.of_request(value, "sounds")


def test_what_is_wrong_is_said(folder):
    with pytest.raises(ConfigError, match="there is no sound: give files"):
        names()
    with pytest.raises(DataError, match="there is no such sound, folder or pattern"):
        names("c.wav")
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: a folder without a sound; expected files that end in \.wav, \.flac"):
        names("empty")
    with pytest.raises(DataError, match=r"notes.txt is no sound that is read here"):
        names("notes.txt", "b.wav")
    with leaving_out(faults := []):
        assert len(names("notes.txt", "b.wav")) == 1 and "notes.txt" in str(faults[0])
        with pytest.raises(DataError, match="none of the 1 sound"):
            names("notes.txt")
