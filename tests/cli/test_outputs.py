"""What verbs write: the place is tried before the work begins, a fault leaves the file that was there."""

import json
import os
import shutil
import stat

import numpy as np
import pytest

from tests.cli.conftest import call, fails, works
from tests.disk import full_disk

SMALL = ["data.count=40", "data.held_out=12", "rows.vocab=120", "model.dim=16", "model.hidden=16", "model.heads=2",
         "model.layers=1", "train.steps=1", "train.evaluate_every=0", "train.sample_every=0"]  # fmt: skip
SETS = [part for change in [*SMALL, "train.precision=fp32"] for part in ("--set", change)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs") / "run"
    works("train", "embedding", "--run", folder, *SETS)
    return folder


def test_a_full_disk_leaves_the_vectors_that_were_there(encoder, tmp_path):
    (tmp_path / "texts.txt").write_text("a cat\n" * 200)
    works("encode", encoder, "a dog", "--out", "v.npy")
    before = np.load("v.npy")
    for name in ("v.npy", "v.jsonl", "v.parquet"):
        (tmp_path / name).touch()
        with full_disk(100):
            result = call("encode", encoder, "--file", "texts.txt", "--out", name)
        assert result.exit_code == 2 and result.stderr.splitlines()[-1].startswith(f"formers: error: {name}: ")
    assert np.array_equal(np.load("v.npy"), before) and (tmp_path / "v.jsonl").read_text() == ""
    assert not list(tmp_path.glob(".tmp-*"))


def test_the_place_is_tried_before_the_model_is_opened(encoder):
    with full_disk(0):
        assert fails("encode", "no/such/model", "a", "--out", "v.npy").startswith("v.npy: ")
    assert "no such run" in fails("encode", "no/such/model", "a", "--out", "v.npy")


def test_a_fault_in_the_middle_leaves_the_lines_that_were_there(trained, encoder, tmp_path):
    (tmp_path / "texts.txt").write_text("a cat\n\na dog\n")
    (tmp_path / "v.jsonl").write_text("good\n")
    assert "is empty" in fails("encode", encoder, "--file", "texts.txt", "--out", "v.jsonl")
    assert (tmp_path / "v.jsonl").read_text() == "good\n"
    works("translate", trained.folder, "a cat", "--out", os.devnull)


def test_export_and_merge_replace_no_folder_unless_told(trained, tmp_path):
    before = os.umask(0o022)
    works("export", trained.folder, "model")
    os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model").iterdir()} == {0o644}
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    merging = ["adapt", "merge", "model", "none", "model"]
    for command in (["export", "model", "model"], ["export", "no/such/model", "model"], merging):
        assert "model is not empty; name another folder, or give --overwrite" in fails(*command)
    (tmp_path / "model" / "notes.md").write_text("mine")
    works("export", "model", "model", "--overwrite", "--dtype", "bf16")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] != config.get("dtype", "float32")
    assert (tmp_path / "model" / "notes.md").read_text() == "mine"
    with full_disk():
        assert "cannot write" in fails("export", "model", "model", "--overwrite")
    assert works("inspect", "model", "parameters")
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_run_with_a_recipe_of_before_still_opens(trained, tmp_path, caplog):
    from formers.notes import note
    from formers.server.models import Models

    shutil.copytree(trained.folder, tmp_path / "old")
    recipe = (tmp_path / "old" / "recipe.toml").read_text()
    for text, part in (
        (recipe.replace("[data]", "[data]\nvocab = 3", 1), "since formers 0.2.0 [data] says only where rows come from"),
        ("x = [", "not a TOML file"),
        ('system = "instruct"', 'is called "chat"'),
    ):
        (tmp_path / "old" / "recipe.toml").write_text(text)
        note.cache_clear()
        caplog.clear()
        assert len(works("translate", "old", "I ate an apple").splitlines()) == 1
        assert list(Models.load(["old"]).served) == ["old"]
        assert part in caplog.text and "old is opened without its recipe" in caplog.text
        assert "has a recipe that cannot be read" in call("evaluate", "old").stderr
        assert part in fails("train", "old")  # which needs it


def test_a_fault_while_results_are_shown_ends_what_makes_them(tmp_path):
    from pathlib import Path

    from formers.cli.show import Output, show
    from formers.errors import ConfigError
    from formers.systems.system import Report

    ended = []

    def work():
        try:
            yield Report([])
        finally:
            ended.append(True)

    events = work()  # held here too, so that no counting of references ends it
    with pytest.raises(ConfigError, match="has no such file"):
        show(events, Output(Path(tmp_path / "x.odd")))
    assert ended
