"""Single files and folders that are written whole or removed; folders are tested with model folders."""

import errno
import os

import pytest

from formers.errors import ConfigError
from formers.files import expanded, read_source, remove_folder, remove_leftovers, replace_file, replaced_folder


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


def test_what_is_obeyed_is_a_regular_text(tmp_path):
    path = tmp_path / "a.toml"
    with pytest.raises(ConfigError, match=r"--recipe .*a\.toml: there is no such file"):
        read_source(path, option="--recipe", error=ConfigError)
    path.write_text("ä")
    assert read_source(path) == "ä"
    path.write_bytes(b"a\xff")
    with pytest.raises(ConfigError, match=r"no text in UTF-8 \(byte 1\)"):
        read_source(path, error=ConfigError)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="no regular file"):
        read_source(path, error=ConfigError)
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_source(tmp_path / name, error=ConfigError)


def test_an_unknown_user_is_part_of_a_name():
    assert str(expanded("~nobody-of-this-name/x")) == "~nobody-of-this-name/x"
    assert str(expanded("~/x")) == os.path.expanduser("~/x")
