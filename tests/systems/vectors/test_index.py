"""The index of vectors: exact, the same after it was saved, whole after a kill, and nobody else's."""

import json

import numpy as np
import pytest
import torch

from formers.errors import ConfigError, DataError
from formers.systems.vectors import index as module
from formers.systems.vectors import mining
from formers.systems.vectors.index import VectorIndex, fingerprint

DIM = 16


def unit(rows: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(rows, DIM)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def filled(rows: int = 300) -> VectorIndex:
    index = VectorIndex("m", DIM)
    index.add([f"k{i}" for i in range(rows)], unit(rows), list(range(rows)), model="m")
    return index


@pytest.fixture(params=[1 << 24, 700])
def cells(request, monkeypatch):
    """Queries all at once, and two at a time; rows all at once, and seven at a time."""
    monkeypatch.setattr(mining, "CELLS", request.param)
    monkeypatch.setattr(module, "STEP", 4096 if request.param > 700 else 7)


def test_a_search_is_all_against_all(cells):
    index, queries = filled(), unit(5, seed=1)
    scores = queries @ unit(300).T
    for row, found in zip(scores, index.search(queries, 12, model="m"), strict=True):
        best = np.argsort(-row, kind="stable")[:12]
        assert [key for key, _ in found] == [f"k{i}" for i in best]
        np.testing.assert_allclose([score for _, score in found], row[best], atol=1e-6)
    assert len(index.search(queries[:1], 1000, model="m")[0]) == 300
    assert VectorIndex("m", DIM).search(queries, model="m") == [[]] * 5 and index.search(queries[:0], model="m") == []


def test_among_equals_the_first_is_first(cells):
    same = np.tile(np.eye(DIM, dtype=np.float32)[2:3], (40, 1))
    index = VectorIndex("m", DIM)
    index.add([str(i) for i in range(40)], same, [None] * 40, model="m")
    index.remove(["0", "7"])
    assert [key for key, _ in index.search(same[:1], 9, model="m")[0]] == "1 2 3 4 5 6 8 9 10".split()


def test_what_is_removed_or_replaced_is_not_found():
    index, x = filled(20), unit(20)
    index.remove(["k3"])
    index.add(["k5", "new"], np.stack([x[3], x[5]]), [[1, 2], None], model="m")
    assert len(index) == 20 and "k3" not in index and index.payload("k5") == [1, 2]
    assert index.keys[-2:] == ["k5", "new"]
    assert [found[0][0] for found in index.search(x[[3, 5]], 1, model="m")] == ["k5", "new"]


def test_an_index_is_the_same_after_every_save(tmp_path, cells):
    index, plain, dice = filled(50), filled(50), np.random.default_rng(3)
    for turn in range(12):
        for each in (index, plain):
            each.remove(f"k{i}" for i in range(4 * turn, 4 * turn + 4) if f"k{i}" in each)
            each.add([f"t{turn}-{i}" for i in range(5)], unit(5, seed=turn), [turn] * 5, model="m")
        index.about["turn"] = turn
        index.save(tmp_path)
        if dice.random() < 0.5:
            index = VectorIndex.load(tmp_path)
        queries = unit(3, seed=100 + turn)
        assert index.keys == plain.keys and index.about == {"turn": turn} and index.payload(f"t{turn}-0") == turn
        assert [[k for k, _ in row] for row in index.search(queries, model="m")] == [
            [k for k, _ in row] for row in plain.search(queries, model="m")
        ]
    files = {path.name for path in tmp_path.iterdir()}
    assert len(files) == 2 and "vectors-0.f32" not in files, "it was written anew, and the old file is gone"


def test_a_save_only_adds_to_the_file(tmp_path):
    index = filled(40)
    index.save(tmp_path)
    before = (tmp_path / "vectors-0.f32").read_bytes()
    index.add(["more"], unit(1, seed=9), [None], model="m")
    index.save(tmp_path)
    assert (tmp_path / "vectors-0.f32").read_bytes()[: len(before)] == before
    assert (tmp_path / "vectors-0.f32").stat().st_size == len(before) + 4 * DIM


def test_a_kill_between_vectors_and_keys_loses_what_was_not_saved_and_no_more(tmp_path):
    filled(40).save(tmp_path)
    with (tmp_path / "vectors-0.f32").open("ab") as file:  # as far as a kill let it come
        file.write(b"x" * 333)
    (tmp_path / "vectors-1.f32").write_bytes(b"half of another")
    index = VectorIndex.load(tmp_path)
    assert index.keys == filled(40).keys
    index.add(["more"], unit(1, seed=9), [None], model="m")
    index.save(tmp_path)
    found = VectorIndex.load(tmp_path).search(unit(1, seed=9), 1, model="m")
    assert found[0][0] == ("more", pytest.approx(1))
    assert [path.name for path in tmp_path.glob("*.f32")] == ["vectors-0.f32"]


def test_ctrl_c_within_add_leaves_an_index_that_can_be_saved(tmp_path):
    index = filled(40)
    index._parts.append(unit(3, seed=4))  # so far it came
    index._payloads += [None]
    index.save(tmp_path)
    again = VectorIndex.load(tmp_path)
    assert again.keys == filled(40).keys and again.search(unit(40)[7:8], 1, model="m")[0][0][0] == "k7"


def test_it_is_saved_elsewhere_whole(tmp_path):
    index = filled(40)
    index.save(tmp_path / "a")
    filled(3).save(tmp_path / "b")
    index.save(tmp_path / "b")
    assert VectorIndex.load(tmp_path / "b").keys == VectorIndex.load(tmp_path / "a").keys == index.keys
    VectorIndex("m", DIM).save(tmp_path / "empty")
    assert VectorIndex.load(tmp_path / "empty").keys == []


def test_another_model_and_other_vectors_are_refused():
    index = filled(3)
    wrong = {
        r"vectors are of the model other, the index is of m": lambda: index.search(unit(1), model="other"),
        r"the model other": lambda: index.add(["a"], unit(1), [0], model="other"),
        r"shape \(1, 3\): expected \(count, 16\)": lambda: index.search(np.ones((1, 3), np.float32), model="m"),
        r"length one": lambda: index.search(2 * unit(1), model="m"),
        r"not have length one": lambda: index.add(["a"], np.full((1, DIM), np.nan, np.float32), [0], model="m"),
        r"comes twice": lambda: index.add(["a", "a"], unit(2), [0, 0], model="m"),
        r"no key 'a'": lambda: index.remove(["a"]),
        r"2 keys, 1 vectors": lambda: index.add(["a", "b"], unit(1), [0], model="m"),
        r"top \(0\)": lambda: index.search(unit(1), 0, model="m"),
    }
    for message, work in wrong.items():
        with pytest.raises(ConfigError, match=message):
            work()
    assert index.keys == ["k0", "k1", "k2"]


@pytest.mark.parametrize("file", ["index.json", "vectors-0.f32"])
def test_damage_is_one_line(tmp_path, file):
    filled(20).save(tmp_path)
    path = tmp_path / file
    whole = path.read_bytes()
    dice = np.random.default_rng(5)
    broken = [whole[:-1], whole[: len(whole) // 2], b"", b"null", b"{}"]
    for place in dice.integers(0, len(whole), 40):
        broken.append(whole[:place] + bytes([whole[place] ^ 1 << int(dice.integers(8))]) + whole[place + 1 :])
    for content in broken:
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"is damaged .*delete it, and have it made again") as fault:
            VectorIndex.load(tmp_path)
        assert "\n" not in str(fault.value)
    path.unlink()
    with pytest.raises(DataError, match=r"is damaged|holds no index"):
        VectorIndex.load(tmp_path)


def test_a_file_that_says_it_is_larger_is_refused(tmp_path):
    filled(20).save(tmp_path)
    value = json.loads((tmp_path / "index.json").read_bytes())
    for key, bad in (("dim", 2**20), ("dim", -1), ("generation", -1), ("keys", [1]), ("version", 2)):
        (tmp_path / "index.json").write_text(json.dumps({**value, "index": {**value["index"], key: bad}}))
        with pytest.raises(DataError, match=r"is damaged"):
            VectorIndex.load(tmp_path)


def test_a_fingerprint_is_of_weights_their_format_and_files():
    def made(scale=1.0):
        torch.manual_seed(1)
        layer = torch.nn.Linear(3, 2)
        layer.weight.data.mul_(scale)
        return layer

    prints = [
        fingerprint(made()),
        fingerprint(made(1.001)),
        fingerprint(made().to(torch.bfloat16)),
        fingerprint(made(), {"preprocessor_config.json": b"{}"}),
        fingerprint(made(), {"preprocessor_config.json": b"{ }"}),
    ]
    assert len(set(prints)) == 5 and prints[0] == fingerprint(made())
