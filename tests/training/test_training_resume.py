"""A run that ends in any way goes on to the same bits."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import training_toy
from training_toy import ToyBatches, ToyTask, config, final, run_all

from formers.errors import CheckpointError
from formers.training import Finished, Run, Saved, Started, Stepped, Stopped, train

ROOT = Path(__file__).parents[2]
USUAL = {"steps": 10, "save_every": 2, "evaluate_every": 3, "sample_every": 4, "average": 0.9, "accumulate": 2}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def toy(dropout=0.3):
    return ToyTask(dropout=dropout, batch_norm=True)


def start(folder, **options):
    """training_toy.py as a process of its own."""
    command = [sys.executable, training_toy.__file__, str(folder), json.dumps(options)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def wait_for(process, word):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(word):
            return
    raise AssertionError(f"no {word}: {''.join(lines)}")


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_five_and_five_are_ten(tmp_path, average):
    usual = USUAL | {"average": average, "schedule": "inverse_sqrt"}
    run_all(tmp_path / "whole", toy(), **usual)
    run_all(tmp_path / "parts", toy(), **usual | {"steps": 5})
    torch.manual_seed(123)  # whatever the process has drawn before must not matter
    _, events = run_all(tmp_path / "parts", toy(), **usual)
    assert isinstance(events[0], Started) and events[0].resumed and events[0].step == 5
    assert same(final(tmp_path / "whole"), final(tmp_path / "parts"))


def test_evaluation_and_samples_do_not_disturb(tmp_path):
    quiet, _ = run_all(tmp_path / "quiet", toy())
    busy, _ = run_all(tmp_path / "busy", toy(), evaluate_every=1, sample_every=1, save_every=1, average=0.5)
    assert same(quiet.model.state_dict(), busy.model.state_dict())


def test_an_abandoned_generator_goes_on(tmp_path):
    run_all(tmp_path / "whole", toy(), **USUAL)
    for event in train(toy(), ToyBatches(), config(**USUAL), Run(tmp_path / "parts")):
        if isinstance(event, Stepped) and event.step == 7:
            break
    _, events = run_all(tmp_path / "parts", toy(), **USUAL)
    assert events[0].step == 6
    assert same(final(tmp_path / "whole"), final(tmp_path / "parts"))


def lines(folder, kind):
    dropped = {"seconds", "tokens_per_second", "remaining_seconds", "time", "folder"}
    events = [line for line in Run(folder).read_events() if line["event"] == kind]
    return [{name: value for name, value in line.items() if name not in dropped} for line in events]


def test_a_report_of_a_resumed_run_covers_its_whole_interval(tmp_path):
    usual = {"log_every": 4, "save_every": 3, "accumulate": 2}
    run_all(tmp_path / "whole", toy(), **usual)
    for stop in (3, 7, 9):  # killed after these steps, of which the checkpoints 3, 6 and 9 are left
        for event in train(toy(), ToyBatches(), config(**usual), Run(tmp_path / "parts")):
            if event.step >= stop and not isinstance(event, Started):
                break
    run_all(tmp_path / "parts", toy(), **usual)
    assert lines(tmp_path / "parts", "stepped") == lines(tmp_path / "whole", "stepped")
    assert [line["step"] for line in lines(tmp_path / "parts", "stepped")] == [4, 8, 10]
    assert lines(tmp_path / "parts", "saved") == lines(tmp_path / "whole", "saved")


def test_a_save_that_was_not_told_is_told_later(tmp_path, monkeypatch):
    record = Run.record
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):

        def killed(run, event):
            if isinstance(event, Saved):
                raise KeyboardInterrupt
            record(run, event)

        patched.setattr(Run, "record", killed)
        run_all(tmp_path, steps=4, save_every=2)
    _, events = run_all(tmp_path, steps=4, save_every=2)
    assert isinstance(events[0], Saved) and events[0].step == 2 and Path(events[0].folder).is_dir()
    assert [line["step"] for line in lines(tmp_path, "saved")] == [2, 4]
    assert len(run_all(tmp_path, steps=4, save_every=2)[1]) == 1


def test_a_part_that_is_no_number_does_not_spoil_the_checkpoint(tmp_path):
    for steps in (3, 5):
        task = ToyTask()
        loss = task.loss
        task.loss = lambda batch, loss=loss: replace(given := loss(batch), parts={**given.parts, "odd": math.nan})
        _, events = run_all(tmp_path, task, steps=steps, log_every=2)
    stepped = [event for event in events if isinstance(event, Stepped)]
    assert [event.step for event in stepped] == [4, 5] and math.isnan(stepped[0].parts["odd"])


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    task = {"dropout": 0.3, "batch_norm": True, "slow": 0.01}
    options = {"task": task, "config": USUAL | {"steps": 60}}
    run_all(tmp_path / "whole", ToyTask(**task), **options["config"])
    chance, resumed = random.Random(), []
    for word, times in (("saving", 1), ("saving", 3), ("ready", 1), ("Saved", 2), ("saving", 2), ("Evaluated", 1)):
        process = start(tmp_path / "parts", **options)
        for _ in range(times):
            wait_for(process, word)
        time.sleep(chance.uniform(0, 0.02))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        latest = Run(tmp_path / "parts").latest()
        resumed.append(int(latest.name) if latest else 0)
    assert resumed == sorted(resumed) and 4 < resumed[-1] < 60
    run_all(tmp_path / "parts", ToyTask(**task), **options["config"])
    assert same(final(tmp_path / "whole"), final(tmp_path / "parts"))
    assert not list((tmp_path / "parts").rglob("*.tmp-*"))
    assert lines(tmp_path / "parts", "stepped") == lines(tmp_path / "whole", "stepped")
    assert lines(tmp_path / "parts", "saved") == lines(tmp_path / "whole", "saved")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_cleanly(tmp_path, number):
    options = {"task": {"dropout": 0.3, "batch_norm": True}, "config": USUAL | {"steps": 40}, "pause": 0.01}
    process = start(tmp_path / "parts", **options)
    wait_for(process, "Stepped(step=3")
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and "Stopped(" in output and "the same command goes on" in output, output
    assert output.index("Saved(") < output.index("Stopped(") and "Finished(" not in output
    run_all(tmp_path / "whole", toy(), **USUAL | {"steps": 40})
    run_all(tmp_path / "parts", toy(), **USUAL | {"steps": 40})
    assert same(final(tmp_path / "whole"), final(tmp_path / "parts"))


def test_a_second_interrupt_is_a_keyboard_interrupt_and_handlers_come_back(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    events = train(ToyTask(), ToyBatches(), config(), Run(tmp_path))
    next(events)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert isinstance(list(events)[-1], Stopped)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_finished_says_so(tmp_path):
    _, first = run_all(tmp_path, **USUAL)
    task, events = run_all(tmp_path, **USUAL)
    assert len(events) == 1 and isinstance(events[0], Finished) and events[0].already
    assert "raise train.steps" in events[0].message and events[0].folder == first[-1].folder
    assert task.calls == 0


def test_the_probe_decides_once(tmp_path):
    _, first = run_all(tmp_path, steps=2, precision="auto")
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["decisions"]["precision"]["name"] == first[0].precision
    other = {"fp32": "bf16", "bf16": "fp32"}[first[0].precision]
    environment["decisions"]["precision"]["name"] = other
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    _, second = run_all(tmp_path, steps=4, precision="auto")
    assert second[0].precision == other and second[0].decided == "probe"
    facts = json.loads((Run(tmp_path).latest() / "training.json").read_text())
    assert facts["precision"]["name"] == other


def test_another_model_is_refused(tmp_path):
    run_all(tmp_path, steps=2)
    other = ToyTask()
    other.model.blocks[0] = torch.nn.Linear(8, 16, bias=False)
    with pytest.raises(CheckpointError, match=r"another model: blocks.0.bias is unknown"):
        run_all(tmp_path, other, steps=4)
    frozen = ToyTask()
    frozen.model.embedding.weight.requires_grad_(False)
    with pytest.raises(CheckpointError, match="do not learn differ"):
        run_all(tmp_path, frozen, steps=4)


def test_a_broken_checkpoint_names_itself(tmp_path):
    _, events = run_all(tmp_path, steps=4, save_every=2)
    last = [event for event in events if isinstance(event, Saved)][-1]
    Path(last.folder, "training.safetensors").write_bytes(b"broken")
    with pytest.raises(CheckpointError, match=r"000004.*remove it to go on from the one before"):
        run_all(tmp_path, steps=6)
