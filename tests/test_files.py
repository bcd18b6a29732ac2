"""Single files and folders that are written whole or removed; folders are tested with model folders."""

import errno
import os
import stat

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from formers.errors import CheckpointError, ConfigError
from formers.files import (
    expanded,
    read_source,
    remove_folder,
    remove_leftovers,
    replace_file,
    replaced_file,
    replaced_folder,
    try_file,
    try_folder,
)
from tests.disk import full_disk


def test_a_file_is_replaced_whole_or_stays(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "a.txt"
    replace_file(path, b"first")
    replace_file(path, lambda beside: beside.write_text("second"))
    assert path.read_text() == "second" and [each.name for each in path.parent.iterdir()] == ["a.txt"]

    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
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


def modes(*paths):
    return [stat.S_IMODE(path.stat().st_mode) for path in paths]


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.parametrize(
    "write", [lambda path: path.write_bytes(b"x" * 10_000), lambda path: np.save(path, np.zeros(2_000))]
)
def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, write):
    path = tmp_path / "v.npy"
    path.write_text("good")
    with full_disk(), pytest.raises(OSError) as fault, replaced_file(path) as beside:
        write(beside)
    assert fault.value.filename == str(path) and fault.value.strerror
    assert path.read_text() == "good" and [each.name for each in tmp_path.iterdir()] == ["v.npy"]


def test_faults_of_other_files_keep_their_names(tmp_path):
    with pytest.raises(FileNotFoundError) as fault, replaced_file(tmp_path / "a"):
        (tmp_path / "none").read_text()
    assert fault.value.filename == str(tmp_path / "none")
    with pytest.raises(BrokenPipeError), replaced_file(tmp_path / "a"):
        raise BrokenPipeError(errno.EPIPE, "gone")
    assert not list(tmp_path.iterdir())


def test_files_honour_the_umask_and_keep_their_modes(tmp_path, umask):
    with replaced_folder(tmp_path / "f") as fresh:
        save_file({"a": torch.zeros(3)}, fresh / "a.safetensors")
        (fresh / "deep").mkdir()
    replace_file(tmp_path / "a.txt", b"x")
    assert modes(tmp_path / "f" / "a.safetensors", tmp_path / "a.txt") == [0o640] * 2
    assert modes(tmp_path / "f", tmp_path / "f" / "deep") == [0o750] * 2
    (tmp_path / "a.txt").chmod(0o600)
    replace_file(tmp_path / "a.txt", b"y")
    assert modes(tmp_path / "a.txt") == [0o600]


def test_links_stay_links_and_devices_are_written(tmp_path):
    (tmp_path / "to").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "to")
    replace_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "to").read_text() == "new"
    try_file(tmp_path / "link")
    with replaced_file(type(tmp_path)(os.devnull)) as device:
        try_file(device)
        device.write_text("x")
    assert not os.path.isfile(os.devnull)


def test_a_place_is_tried(tmp_path):
    try_file(tmp_path / "a.txt")
    try_folder(tmp_path / "a" / "b", overwrite=False)
    try_folder(tmp_path, overwrite=False)  # empty
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(CheckpointError, match="a file of that name exists"):
            try_folder(tmp_path / "file", overwrite=overwrite)
    with pytest.raises(CheckpointError, match=r"is not empty; name another folder, or give --overwrite"):
        try_folder(tmp_path, overwrite=False)
    try_folder(tmp_path, overwrite=True)
    with full_disk(0):
        for attempt in (try_file, lambda path: try_folder(path, overwrite=False)):
            with pytest.raises(OSError) as fault:
                attempt(tmp_path / "x")
            assert fault.value.filename == str(tmp_path / "x")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


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


def test_a_link_to_itself_is_replaced(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "a")
    try_file(tmp_path / "a")
    replace_file(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x" and not (tmp_path / "a").is_symlink()
