"""Two processes learn what one learns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import training_toy
from training_toy import final, run_all

from formers.training import Run
from formers.training.distributed import World

ROOT = Path(__file__).parents[2]


def test_shares_are_a_partition():
    rows = [3, 1, 4, 1, 5]
    shares = [World(rank, 3).share(rows) for rank in range(3)]
    assert sorted(row for mine, _ in shares for row in mine) == sorted(rows)
    assert [weight for _, weight in shares] == [1.0, 1.0, 1.0]
    assert [World(rank, 3).share([7]) for rank in range(3)] == [([7], 1.0), ([7], 0.0), ([7], 0.0)]


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    settings = {"steps": 10, "accumulate": 2, "average": 0.9, "save_every": 4, "evaluate_every": 5, "sample_every": 5}
    options = json.dumps({"config": settings, "batches": {"size": 3, "rows": 10}})  # the last batch has one row
    launch = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1", "--master_port=0"]
    launch += ["--rdzv_backend=c10d", "--rdzv_endpoint=127.0.0.1:0"]
    program = [training_toy.__file__, str(tmp_path / "two"), options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *launch, *program], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Finished(") == 1 and "processes=2" in done.stdout
    run_all(tmp_path / "one", batches=training_toy.ToyBatches(size=3, rows=10), **settings)
    one, two = final(tmp_path / "one"), final(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=1e-6, rtol=1e-5)
    losses = [
        [line["loss"] for line in Run(tmp_path / name).read_events() if line["event"] == "stepped"]
        for name in ("one", "two")
    ]
    torch.testing.assert_close(*map(torch.tensor, losses), atol=1e-5, rtol=0)
