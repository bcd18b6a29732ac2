"""Whole runs of the translation system: killed and resumed, and in two processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import formers

SMALL = [
    "train.threads=1",
    "train.precision=fp32",
    "data.count=300",
    "data.held_out=20",
    "rows.vocab=300",
    "rows.tokens_per_batch=256",
    "model.dim=32",
    "model.hidden=64",
    "task.decoded=0",
    "train.monitor=loss",
    "train.warmup=5",
    "train.save_every=3",
    "train.evaluate_every=6",
    "train.sample_every=0",
    "train.steps=12",
    "train.average=0.9",
    # AdamW would blow rounding up where a gradient is zero by nature, as of the keys' biases
    "train.epsilon=0.001",
]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(run: Path, *more: str) -> list[str]:
    settings = [part for each in (*SMALL, *more) for part in ("--set", each)]
    return ["-m", "formers", "train", "translation", "--run", str(run), "--plain", *settings]


def train(run: Path, *more: str) -> None:
    """The same in this process."""
    list(formers.train("translation", [*SMALL, *more], run=run))


def final_weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "000012" / "model.safetensors")


@pytest.mark.slow
def test_a_killed_run_ends_with_the_very_same_weights(tmp_path):
    dropout = "model.dropout=0.2"
    train(tmp_path / "whole", dropout)
    killed = subprocess.Popen(
        [sys.executable, *command(tmp_path / "killed", dropout)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 120
    while time.monotonic() < until and not (tmp_path / "killed" / "checkpoints" / "000003").is_dir():
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "checkpoints" / "000012").exists(), "the kill came too late to show anything"
    train(tmp_path / "killed", dropout)
    whole, resumed = final_weights(tmp_path / "whole"), final_weights(tmp_path / "killed")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(tmp_path):
    dropout = "model.dropout=0.0"  # each process draws its own dropout
    train(tmp_path / "one", dropout)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "--"]
    subprocess.run(
        [sys.executable, *launcher, *command(tmp_path / "two", dropout)[1:]],
        check=True,
        env=ENVIRONMENT,
        capture_output=True,
    )
    one, two = final_weights(tmp_path / "one"), final_weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)
