"""`--fresh` keeps the run that is there until there is another, and a run folder belongs to one process."""

import os
import shutil
import signal
import tomllib

import pytest

import formers
from formers.errors import ConfigError, DataError, TrainingError
from formers.training.events import Finished, Saved, Started
from formers.training.lock import hold
from formers.training.run import Run
from tests.cli.conftest import SETS, SMALL, call, fails, start, works

QUICK = [change for change in SMALL if "_every" not in change]
QUIET = ["train.evaluate_every=0", "train.sample_every=0", "train.log_every=1"]


def files(folder):
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder): path.read_bytes() for path in paths}


@pytest.fixture
def run(tmp_path):
    """A finished run, made anew for each test."""
    list(formers.train("translation", [*QUICK, *QUIET, "train.steps=1"], run=tmp_path / "run"))
    return Run(tmp_path / "run")


FAULTS = [
    ("data.train=none.tsv", "does not exist"),
    ("train.stepz=1", "has no key"),
    ("model.start=nothing/here/there", "there is no such run"),
    ("model.start=run/checkpoints/000001", "which --fresh would delete"),
]


@pytest.mark.parametrize(("change", "part"), FAULTS, ids=[change for change, _ in FAULTS])
def test_fresh_leaves_the_run_where_recipe_or_data_are_at_fault(run, change, part):
    before = files(run.folder)
    assert part in fails("train", "translation", "--run", "run", "--fresh", *SETS, "--set", change)
    assert files(run.folder) == before
    assert [path.name for path in run.folder.parent.iterdir()] == ["run"]


def test_the_old_run_is_there_until_the_new_one_is_saved(run):
    before = files(run.folder)
    changes = [*QUICK, *QUIET, "train.steps=2", "train.save_every=1", "data.seed=3"]
    for event in formers.train("translation", changes, run="run", fresh=True):
        if isinstance(event, Started):
            assert files(run.replaced) == before
            assert run.latest() is None and "seed = 3" in run.recipe.read_text()
        if isinstance(event, Saved):
            assert not run.replaced.exists()
    assert isinstance(event, Finished) and [path.name for path in run.folder.parent.iterdir()] == ["run"]
    assert list(run.folder.glob("tokenizer/*")) and not list(run.folder.glob(".tmp-*"))
    assert "step 2 of" not in works("train", "run", "--plain")


def test_what_a_killed_fresh_start_leaves(run):
    usual = [*QUIET, "train.steps=1"]
    changes = [*QUICK, *usual, "data.seed=3"]
    for event in formers.train("translation", changes, run="run", fresh=True):
        if isinstance(event, Started):
            break  # before the first save
    trained = files(run.replaced)
    assert any(name.name == "model.safetensors" for name in trained)
    events = formers.train("translation", [*changes, "data.seed=4"], run="run", fresh=True)
    assert any(str(run.replaced) in line for line in next(events).lines)  # still the one that has learned something
    assert files(run.replaced) == trained
    events.close()
    shutil.rmtree(run.folder)  # as if killed between the two renames
    shown = works("train", "translation", "--run", "run", *SETS, *[part for c in usual for part in ("--set", c)])
    assert "raise train.steps to go on" in shown and not run.replaced.exists()


def test_a_second_training_of_one_folder_is_refused(tmp_path):
    first = formers.train("translation", [*QUICK, *QUIET, "train.steps=2"], run="run")
    next(first)
    with pytest.raises(TrainingError, match=r"^run is in use: an earlier training of this very process"):
        next(formers.train("translation", [*QUICK, *QUIET, "train.steps=2"], run="run"))
    first.close()
    list(formers.train("translation", [*QUICK, *QUIET, "train.steps=2"], run="run"))


def test_a_lock_names_its_process_and_ends_with_it(tmp_path):
    arguments = ["train", "translation", "--run", "run", *SETS, *[p for c in QUIET for p in ("--set", c)]]
    with start(*arguments, "--set", "train.steps=100000", folder=tmp_path) as process:
        for line in process.stdout:
            if line.startswith("step "):
                break
        for more in ([], ["--fresh"]):
            message = fails(*arguments, *more)
            assert message.startswith(f"run is in use: process {process.pid} (") and "another folder (--run)" in message
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with hold(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").read_text().startswith(f"{os.getpid()} ")


def test_a_recipe_is_checked_when_train_is_called(tmp_path):
    with pytest.raises(ConfigError, match="there is no recipe"):
        formers.train("translatoin")
    with pytest.raises(ConfigError, match="has no key"):
        formers.train("translation", ["train.stepz=3"])
    events = formers.train("translation", ["data.train=none.tsv"])
    with pytest.raises(DataError, match="does not exist"):
        next(events)


def test_the_measured_precision_is_in_the_recipe(tmp_path):
    changes = [*QUICK, *QUIET, "train.steps=1", "train.precision=auto"]
    started = [event for event in formers.train("translation", changes, run="run") if isinstance(event, Started)]
    assert started[0].decided == "probe" and started[0].gain is not None
    saved = tomllib.loads((tmp_path / "run" / "recipe.toml").read_text())
    assert saved["train"]["precision"] == started[0].precision
    other = {"fp32": "bf16", "bf16": "fp32"}[started[0].precision]
    assert "train.precision" in fails(
        "train", "translation", "--run", "run", *SETS, "--set", f"train.precision={other}"
    )
    longer = [*changes, "train.steps=2"]  # auto is what was decided
    started = [event for event in formers.train("translation", longer, run="run") if isinstance(event, Started)]
    assert started[0].resumed and started[0].precision == saved["train"]["precision"] and started[0].decided == "probe"
    assert call("train", "run", "--set", "train.steps=3").exit_code == 0
