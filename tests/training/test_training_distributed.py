"""Two processes learn what one learns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import training_toy
import two_towers_toy
from training_toy import final, run_all
from two_towers_toy import TwoTowersTask, steps

import formers
from formers.training import Run
from formers.training.distributed import World

ROOT = Path(__file__).parents[2]


def test_shares_are_a_partition():
    rows = [3, 1, 4, 1, 5]
    shares = [World(rank, 3).share(rows) for rank in range(3)]
    assert sorted(row for mine, _ in shares for row in mine) == sorted(rows)
    assert [weight for _, weight in shares] == [1.0, 1.0, 1.0]
    assert [World(rank, 3).share([7]) for rank in range(3)] == [([7], 1.0), ([7], 0.0), ([7], 0.0)]


def two_processes(*program):
    """What a program prints that `torchrun` starts twice."""
    launch = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1", "--master_port=0"]
    launch += ["--rdzv_backend=c10d", "--rdzv_endpoint=127.0.0.1:0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launch, *program], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def assert_close(one, two):
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    settings = {"steps": 10, "accumulate": 2, "average": 0.9, "save_every": 4, "evaluate_every": 5, "sample_every": 5}
    options = json.dumps({"config": settings, "batches": {"size": 3, "rows": 10}})  # the last batch has one row
    output = two_processes(training_toy.__file__, str(tmp_path / "two"), options)
    assert output.count("Finished(") == 1 and "processes=2" in output
    run_all(tmp_path / "one", batches=training_toy.ToyBatches(size=3, rows=10), **settings)
    assert_learned_alike(tmp_path)


@pytest.mark.slow
def test_two_processes_see_the_negatives_of_both(tmp_path):
    """Rows of a batch compared with each other, shared unevenly; of the last batch one process has no row."""
    two_processes(two_towers_toy.__file__, str(tmp_path / "two"))
    list(steps(tmp_path / "one"))
    assert_close(final(tmp_path / "one"), final(tmp_path / "two"))
    start, end = TwoTowersTask().model.state_dict(), final(tmp_path / "one")
    assert all(not torch.equal(end[f"weight.{name}"], value) for name, value in start.items())


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["in_batch", "cosent"])
def test_sentence_vectors_do_not_depend_on_the_number_of_processes(tmp_path, objective):
    rows = {"in_batch": ["rows.rows=groups"], "cosent": ["rows.rows=scored", "data.train=builtin:paraphrase-scores"]}
    sizes = [
        "model.dim=16",
        "model.dropout=0.0",
        "model.heads=2",
        "model.layers=1",
        "model.hidden=16",
        "model.length=16",
        "rows.vocab=100",
    ]
    changes = [*sizes, "data.count=60", "data.held_out=10", "rows.rows_per_batch=13", f"task.objective={objective}"]
    changes += [*rows[objective], "train.precision=fp32", "train.steps=4", "train.warmup=1", "train.sample_every=0"]
    command = ["train", "embedding", *[word for change in changes for word in ("--set", change)]]
    two_processes("-m", "--", "formers", *command, "--run", str(tmp_path / "two"))
    list(formers.train("embedding", changes, run=tmp_path / "one"))
    assert_close(final(tmp_path / "one"), final(tmp_path / "two"))


@pytest.mark.slow
@pytest.mark.parametrize("system", ["images", "clip", "clip/locked"])
def test_pictures_do_not_depend_on_the_number_of_processes(tmp_path, system):
    """CLIP compares with the captions of both; an odd batch is shared unevenly."""
    system, _, lock = system.partition("/")
    sizes = ["model.kind=vit", "model.height=16", "model.patch=8", "model.dim=16", "model.layers=1", "model.heads=2"]
    text = ["text_dim=16", "text_layers=1", "text_heads=2", "text_hidden=16", "length=16", "projection=8"]
    changes = [*sizes, "model.hidden=16", "data.count=30", "data.held_out=10", "rows.batch=13", "rows.flip=0.5"]
    changes += ["train.precision=fp32", "train.steps=4", "train.warmup=1", "train.sample_every=0", "train.log_every=1"]
    changes += ["train.epsilon=0.01"]  # gradients of keys' biases are noise, which Adam would enlarge
    changes += [f"model.{size}" for size in text] if system == "clip" else []
    if lock:
        list(formers.train("clip", changes, run=tmp_path / "start"))
        changes += [f"model.start={tmp_path / 'start'}", "task.lock=text"]
    assert_the_same(tmp_path, system, changes)


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["task.few_steps=true", "task.teacher_steps=10"]], ids=["captions", "few steps"])
def test_painters_do_not_depend_on_the_number_of_processes(tmp_path, more):
    """Noise and times are those of a row, whoever reads it; the odd batch is shared unevenly."""
    changes = ["model.height=8", "model.widths=[8, 16]", "model.attention=[false, true]", "model.heads=2"]
    changes += ["model.groups=4", "model.text_dim=8", "model.text_layers=1", "model.text_heads=2", "model.length=16"]
    changes += ["model.pooled=true", "data.count=30", "data.held_out=10", "rows.batch=13", "rows.vocab=540"]
    changes += ["train.precision=fp32", "train.steps=4", "train.warmup=1", "train.sample_every=0", "train.log_every=1"]
    changes += ["train.epsilon=0.01", "task.times=logit-normal"]
    if more:
        list(formers.train("painting", changes, run=tmp_path / "start"))
        changes += [f"model.start={tmp_path / 'start'}", *more]
    assert_the_same(tmp_path, "painting", changes)


def assert_the_same(tmp_path, system, changes):
    """Train in one process and in two."""
    words = [word for change in changes for word in ("--set", change)]
    two_processes("-m", "--", "formers", "train", system, *words, "--run", str(tmp_path / "two"))
    list(formers.train(system, changes, run=tmp_path / "one"))
    assert_learned_alike(tmp_path)


def assert_learned_alike(tmp_path):
    """Weights and losses of the runs one and two."""
    assert_close(final(tmp_path / "one"), final(tmp_path / "two"))
    losses = [
        [line["loss"] for line in Run(tmp_path / name).read_events() if line["event"] == "stepped"]
        for name in ("one", "two")
    ]
    torch.testing.assert_close(*map(torch.tensor, losses), atol=1e-5, rtol=0)
