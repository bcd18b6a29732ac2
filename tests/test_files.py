"""Single files and folders that are written whole or removed; folders are tested with model folders."""

import errno
import os

import pytest

from formers.files import remove_folder, remove_leftovers, replace_file, replaced_folder


def test_a_file_is_replaced_whole_or_stays(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "a.txt"
    replace_file(path, b"first")
    replace_file(path, lambda beside: beside.write_text("second"))
    assert path.read_text() == "second" and [each.name for each in path.parent.iterdir()] == ["a.txt"]

    def full_disk(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"third")
    assert path.read_text() == "second"
    remove_leftovers(path.parent)
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]


def test_a_folder_takes_its_place_at_the_end(tmp_path):
    for text in ("old", "new"):
        with replaced_folder(tmp_path / "f", lambda name: name == "kept.txt") as fresh:
            (fresh / "a.txt").write_text(text)
            (fresh / f"{text}.txt").write_text("")
        (tmp_path / "f" / "kept.txt").touch()
    assert {each.name for each in (tmp_path / "f").iterdir()} == {"a.txt", "new.txt", "kept.txt"}
    with pytest.raises(ZeroDivisionError), replaced_folder(tmp_path / "f") as fresh:
        (fresh / "a.txt").write_text(str(1 / 0))
    assert (tmp_path / "f" / "a.txt").read_text() == "new" and len(list(tmp_path.iterdir())) == 1
    remove_folder(tmp_path / "f")
    remove_folder(tmp_path / "f")
    assert not list(tmp_path.iterdir())
