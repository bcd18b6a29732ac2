"""Model folders on disk: one clear line per fault when reading, all or nothing when writing."""

from __future__ import annotations

import errno
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from formers.errors import CheckpointError
from formers.pretrained import files
from formers.pretrained.files import as_safetensors, read_config, read_weights, weight_files, write_folder

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    save_file(TENSORS, tmp_path / "model" / "model.safetensors")
    return tmp_path / "model"


def same(tensors):
    assert tensors.keys() == TENSORS.keys()
    return all(torch.equal(tensors[name], TENSORS[name]) for name in tensors)


def shard(folder):
    (folder / "model.safetensors").unlink()
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    for name, file in places.items():
        save_file({name: TENSORS[name]}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def test_one_file_and_shards(folder):
    assert same(read_weights(folder))
    shard(folder)
    assert same(read_weights(folder))


def test_a_missing_shard(folder):
    shard(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks 1 of 2 shards \(model-00002-of-00002.safetensors\)"):
        read_weights(folder)


def test_an_index_that_is_wrong(folder):
    shard(folder)
    index = folder / "model.safetensors.index.json"
    places = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": places | {"c": places["a"]}}))
    with pytest.raises(CheckpointError, match=r"lack 1 weights of .*: c"):
        read_weights(folder)
    index.write_text(json.dumps({"weight_map": places | {"c": "../../secret"}}))
    with pytest.raises(CheckpointError, match=r"secret' is no name of a \.safetensors file in its folder"):
        read_weights(folder)
    index.write_text("{}")
    with pytest.raises(CheckpointError, match="weight_map is missing"):
        read_weights(folder)
    for name in ("", ".", "x.txt", "x.safetensors\0", "a" * 300 + ".safetensors", 3, None, ["x"]):
        index.write_text(json.dumps({"weight_map": places | {"c": name}}))
        with pytest.raises(CheckpointError, match=r"is no name of a|weight_map.c is"):
            read_weights(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-5],
        lambda data: data[:20],
        lambda data: b"",
        lambda data: data[:8] + b"\xff" + data[9:],
        lambda data: b"\xff" * 8 + data[8:],
    ],
    ids=["truncated", "header-truncated", "empty", "header-damaged", "length-damaged"],
)
def test_damaged_weights_name_file_size_and_cure(folder, damage):
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError) as told:
        read_weights(folder)
    message = str(told.value)
    with pytest.raises(CheckpointError) as same:
        files.read_safetensors(path, mapped=False)
    assert str(same.value) == message
    assert str(path) in message and f"({path.stat().st_size:,} bytes)" in message
    assert "delete it and get it again" in message and "\n" not in message


def test_tensors_read_into_memory_of_their_own_are_those_of_the_mapped_file(tmp_path):
    tensors = {str(kind): torch.arange(-3, 9).view(3, 4).to(kind) for kind in files.TYPES}
    tensors |= {"none": torch.empty(0, 3), "one": torch.tensor(1.5)}
    save_file(tensors, tmp_path / "a.safetensors")
    mapped, own = (files.read_safetensors(tmp_path / "a.safetensors", mapped=mapped) for mapped in (True, False))
    assert own.keys() == mapped.keys() == tensors.keys()
    for name, tensor in own.items():
        assert tensor.dtype == tensors[name].dtype and torch.equal(tensor, tensors[name])
        assert torch.equal(mapped[name], tensor) and tensor.untyped_storage().nbytes() == tensor.nbytes
    save_file({"a": torch.zeros(4).to(torch.float8_e4m3fn)}, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match="float8_e4m3fn"):
        files.read_safetensors(tmp_path / "b.safetensors", mapped=False)


def test_a_git_lfs_pointer(folder):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    (folder / "model.safetensors").write_text(pointer)
    with pytest.raises(CheckpointError, match="run git lfs pull"):
        read_weights(folder)


def test_pickles_are_refused_unless_allowed(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        read_weights(folder, allow_bin=True)
    torch.save(TENSORS, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=f"formers export {folder} OUT --allow-bin"):
        read_weights(folder)
    assert same(read_weights(folder, allow_bin=True))
    torch.save({"a": TENSORS["a"], "code": Path("x")}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_weights(folder, allow_bin=True)
    torch.save({"a": 3}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="more than named, dense tensors"):
        read_weights(folder, allow_bin=True)
    (folder / "pytorch_model.bin").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_weights(folder, allow_bin=True)


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(1).expand(10**11),
        torch.sparse_coo_tensor([[0]], [1.0], (4,), check_invariants=True),
        torch.empty(10**6, 10**6, device="meta"),
        {"a": torch.ones(1)},
        None,
    ],
    ids=["stretched", "sparse", "meta", "nested", "none"],
)
def test_pickled_tensors_that_are_not_all_there(folder, value):
    (folder / "model.safetensors").unlink()
    for tensors in ({**TENSORS, "a": value}, {3: TENSORS["a"]}, [value]):
        torch.save(tensors, folder / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match="more than named, dense tensors"):
            read_weights(folder, allow_bin=True)


def test_no_fault_of_a_pickle_advises_to_run_it(folder):
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    for content in (Path("x"), print, slice(3), {"a": Path("x")}):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=r"it wants [\w.]+, which is no tensor") as fault:
            read_weights(folder, allow_bin=True)
        assert "weights_only" not in str(fault.value)
    for content in (b"", b"junk", b"\x80\x04\x95", b"PK\x03\x04", pickle.dumps({"a": [1]}), pickle.dumps("a" * 10)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as fault:
            read_weights(folder, allow_bin=True)
        assert "weights_only" not in str(fault.value) and len(str(fault.value)) < 400


def test_pipes_and_devices_are_no_weights(folder):
    for name in ("model.safetensors", "pytorch_model.bin"):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
        with pytest.raises(CheckpointError, match=f"{name} is no regular file"):
            read_weights(folder, allow_bin=True)
        (folder / name).unlink()


def test_sharded_pickles(folder):
    (folder / "model.safetensors").unlink()
    places = {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}
    for name, file in places.items():
        torch.save({name: TENSORS[name]}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    assert same(read_weights(folder, allow_bin=True))
    with pytest.raises(CheckpointError, match="--allow-bin"):
        read_weights(folder)


def test_config_faults(folder):
    with pytest.raises(CheckpointError, match=r"has no config.json; it is not a model folder"):
        read_config(folder)
    with pytest.raises(CheckpointError, match="does not exist"):
        read_config(folder / "absent")
    with pytest.raises(CheckpointError, match="is not a folder"):
        read_config(folder / "model.safetensors")
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is not valid JSON"):
        read_config(folder)
    (folder / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match="is not valid JSON"):
        read_config(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"it is \[\], expected an object"):
        read_config(folder)
    (folder / "config.json").write_text("{}")
    assert read_config(folder) == ({}, {})


def listing(path):
    return {each.name: each.read_bytes() for each in path.iterdir()}


def test_writing_replaces_a_model_and_keeps_other_files(tmp_path):
    target = tmp_path / "deep" / "model"
    write_folder(target, {"config.json": b"1", "vocab.json": b"{}", "notes.txt": b"old"})
    (target / "mine.txt").write_text("mine")
    (target / "pictures").mkdir()
    (target / "pictures" / "a.png").write_text("a")
    assert write_folder(target, {"config.json": b"2", "model.safetensors": as_safetensors(TENSORS)}) == target
    assert same(read_weights(target))
    assert {each.name for each in target.iterdir()} == {
        "config.json",
        "model.safetensors",
        "notes.txt",
        "mine.txt",
        "pictures",
    }
    assert (target / "config.json").read_bytes() == b"2" and (target / "pictures" / "a.png").exists()
    assert [each.name for each in target.parent.iterdir()] == ["model"]


def test_files_in_folders(tmp_path):
    for content in (b"1", b"2"):
        write_folder(tmp_path / "m", {"1_Pooling/config.json": content})
        assert (tmp_path / "m" / "1_Pooling" / "config.json").read_bytes() == content


def test_the_mode_of_new_folders_is_the_usual_one(tmp_path):
    (tmp_path / "plain").mkdir()
    written = write_folder(tmp_path / "m", {"a": b""})
    assert written.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES], ids=["disk-full", "no-permission"])
@pytest.mark.parametrize("when", ["file", "flush", "swap"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_failed_write_leaves_what_was(tmp_path, monkeypatch, code, when, exists):
    target = tmp_path / "model"
    if exists:
        write_folder(target, {"config.json": b"old", "mine.txt": b"mine"})
    before = listing(target) if exists else None
    rename = Path.rename

    def fail(*_):
        raise OSError(code, os.strerror(code))

    def fail_on_new(self, to):
        return fail() if ".tmp-" in self.name else rename(self, to)

    if when == "swap":
        monkeypatch.setattr(Path, "rename", fail_on_new)
    if when == "flush":
        monkeypatch.setattr(os, "fsync", fail)
    content = {"config.json": b"new", "model.safetensors": fail if when == "file" else b"w"}
    with pytest.raises(CheckpointError, match=f"cannot write {target}: {os.strerror(code)}"):
        write_folder(target, content)
    monkeypatch.undo()
    assert [each.name for each in tmp_path.iterdir()] == (["model"] if exists else [])
    assert not exists or listing(target) == before


def test_a_full_disk_as_the_safetensors_writer_tells_it(tmp_path, monkeypatch):
    def full(*_):
        raise files.SafetensorError("Error while serializing: IoError(No space left on device)")

    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        write_folder(tmp_path / "model", {"config.json": b"1", "model.safetensors": as_safetensors(TENSORS)})
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "model").write_text("a file")
    with pytest.raises(CheckpointError, match="a file of that name exists"):
        write_folder(tmp_path / "model", {"a": b""})
    with pytest.raises(CheckpointError, match="cannot write"):
        write_folder(tmp_path / "model" / "deeper", {"a": b""})


def test_shards_fill_up_in_order_and_a_large_tensor_is_alone():
    tensors = {name: torch.ones(size) for name, size in [("a", 2), ("b", 3), ("large", 100), ("c", 4), ("d", 2)]}
    written = weight_files(tensors, 24)  # 6 numbers
    index = json.loads(written["model.safetensors.index.json"])
    assert index["metadata"] == {"total_size": 4 * 111}
    assert index["weight_map"] == {
        name: f"model-0000{shard}-of-00003.safetensors"
        for name, shard in [("a", 1), ("b", 1), ("large", 2), ("c", 3), ("d", 3)]
    }
    assert set(written) == {*index["weight_map"].values(), "model.safetensors.index.json"}
    assert list(weight_files(tensors, 444)) == ["model.safetensors"]
    assert list(weight_files({}, 24)) == ["model.safetensors"]


def test_one_file_and_shards_replace_each_other(tmp_path):
    for limit, expected in [
        (1000, {"model.safetensors"}),
        (24, {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}),
        (1000, {"model.safetensors"}),
    ]:
        write_folder(tmp_path / "m", weight_files(TENSORS, limit))
        assert {each.name for each in (tmp_path / "m").iterdir()} == expected
        assert same(read_weights(tmp_path / "m"))


def test_a_failed_shard_leaves_what_was(tmp_path, monkeypatch):
    write_folder(tmp_path / "m", weight_files(TENSORS, 1000))
    before = listing(tmp_path / "m")
    save = files.save_file

    def fail_on_the_second(tensors, path, metadata):
        if "00002-of" in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(tensors, path, metadata)

    monkeypatch.setattr(files, "save_file", fail_on_the_second)
    with pytest.raises(CheckpointError, match="No space left"):
        write_folder(tmp_path / "m", weight_files(TENSORS, 24))
    assert listing(tmp_path / "m") == before and [each.name for each in tmp_path.iterdir()] == ["m"]
