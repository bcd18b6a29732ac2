"""What is kept in the run folder, and what stops a run."""

import errno
import json
import os
import sys
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import torch
import training_toy
from safetensors.torch import load_file
from training_toy import ToyBatches, ToyTask, final, run_all

from formers.errors import CheckpointError, ConfigError, FormersError, TrainingError
from formers.files import remove_folder, write_file
from formers.pretrained.files import as_safetensors, write_folder
from formers.training import Evaluated, Finished, Reported, Run, Sampled, Saved, Started, Stepped, checkpoint, precision
from formers.training.events import from_json, to_json
from formers.training.order import Cursor
from tests.disk import full_disk as limited_disk


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def kept(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir() if path.is_dir())


def test_the_last_and_the_best_are_kept(tmp_path):
    task = ToyTask(metrics=[5, 3, 4, 6, 7])
    _, events = run_all(tmp_path, task, evaluate_every=2, save_every=1, keep=2)
    assert kept(tmp_path) == ["000004", "000009", "000010"]
    run = Run(tmp_path)
    assert run.best().name == "000004" and run.latest().name == "000010"
    assert json.loads((tmp_path / "checkpoints/best.json").read_text()) == {"step": 4, "monitor": "loss", "value": 3}
    assert [event.best for event in of(Evaluated, events)] == [True, True, False, False, False]
    assert events[-1].best_step == 4 and events[-1].folder == str(run.best())


def test_a_new_best_is_saved_at_once(tmp_path):
    run_all(tmp_path, ToyTask(metrics=[1, 2, 2, 2, 2]), evaluate_every=2, keep=1)
    assert kept(tmp_path) == ["000002", "000010"]


def test_patience(tmp_path):
    task = ToyTask(metrics=[3, 2, 2.5, 2, float("nan")])
    _, events = run_all(tmp_path, task, evaluate_every=1, patience=3)
    assert isinstance(events[-1], Finished) and events[-1].step == 5 and events[-1].best_step == 2
    assert events[-2].reason == "patience" and "no better loss than 2 at step 2 in 3 evaluations" in events[-2].message
    _, again = run_all(tmp_path, evaluate_every=1, patience=3)
    assert again[0].already and "raise train.patience" in again[0].message
    _, more = run_all(tmp_path, ToyTask(metrics=[1]), evaluate_every=1, patience=4)
    assert more[-1].best_step == 6


def test_an_unknown_monitor_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r'train.monitor "los" is not among the scores.*did you mean "loss"'):
        run_all(tmp_path, evaluate_every=2, monitor="los")
    every = r'"f1" is not among the scores of this task, (\w+, )*loss.*; choose one: --set train.monitor=NAME$'
    with pytest.raises(ConfigError, match=every):
        run_all(tmp_path, evaluate_every=2, monitor="f1")


def test_averaged_weights_are_what_is_saved_and_evaluated(tmp_path):
    task, _ = run_all(tmp_path, average=0.9, evaluate_every=10)
    saved = load_file(Run(tmp_path).latest() / "model.safetensors")
    tensors = load_file(Run(tmp_path).latest() / "training.safetensors")
    for name, weight in task.model.named_parameters():
        assert torch.equal(tensors[f"weight.{name}"], weight)
        assert torch.equal(tensors[f"average.{name}"], saved[name]) and torch.equal(task.seen[0][name], saved[name])
        assert not torch.equal(saved[name], weight)


def test_not_a_number_stops_with_what_is_known(tmp_path):
    task = ToyTask()
    task.poison = 6 + 6  # calls of the measurement before the first step, then six good steps
    with pytest.raises(TrainingError) as stop:
        run_all(tmp_path, task, save_every=2)
    assert "\n" not in str(stop.value)
    for word in ("the loss is nan at learning rate 0.005", "in the batch rows ", "train.rate", "checkpoint is intact"):
        assert word in str(stop.value)
    assert str(stop.value).startswith("step 7:") and kept(tmp_path)[-1] == "000006"
    assert all(weight.isfinite().all() for weight in task.model.parameters())


def full_disk(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["task", "fsync", "rename"])
def test_a_full_disk(tmp_path, monkeypatch, where):
    run_all(tmp_path, steps=4, save_every=2)
    before, task = kept(tmp_path), ToyTask()
    if where == "task":
        monkeypatch.setattr(task, "save", full_disk)
    else:
        monkeypatch.setattr(os, where, full_disk)
    if where == "fsync":
        monkeypatch.setattr("formers.training.run.replace_file", write_file)
    with pytest.raises(
        CheckpointError, match=r"cannot save the checkpoint .*000006: .*No space left on device.*intact"
    ):
        run_all(tmp_path, task, steps=6)
    assert kept(tmp_path) == before
    monkeypatch.undo()
    assert run_all(tmp_path, steps=6)[1][-1].step == 6


def test_a_full_disk_as_safetensors_tells_it(tmp_path):
    task = ToyTask()
    with ExitStack() as stack:
        task.save = lambda folder: stack.enter_context(limited_disk())
        with pytest.raises(CheckpointError, match=r"cannot save the checkpoint .*File too large") as fault:
            run_all(tmp_path, task, steps=2)
    assert "intact" not in str(fault.value)  # there is none
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_full_disk_while_the_model_file_is_written(tmp_path):
    """As systems save: a folder of its own that is replaced, whose fault is a CheckpointError."""
    run_all(tmp_path, steps=2)
    task = ToyTask()

    def save(folder):
        with limited_disk():
            write_folder(folder, {"model.safetensors": as_safetensors({"big": torch.zeros(9_000)})})

    task.save = save
    with pytest.raises(CheckpointError) as fault:
        run_all(tmp_path, task, steps=4)
    assert str(fault.value).startswith(f"cannot save the checkpoint {tmp_path}/checkpoints/000004: ")
    assert str(fault.value).endswith("the earlier checkpoints are intact") and ".tmp-" not in str(fault.value)
    assert kept(tmp_path) == ["000002"] and not list(tmp_path.rglob(".tmp-*"))


def test_half_a_line_of_events_is_taken_back(tmp_path):
    run_all(tmp_path, steps=2)
    run = Run(tmp_path)
    before = run.events.read_bytes()
    with limited_disk(len(before) + 10), pytest.raises(TrainingError, match="cannot write into the run folder"):
        run.record(Reported(step=2, lines=["x" * 100]))
    assert run.events.read_bytes() == before
    run.record(Reported(step=2, lines=["y"]))
    assert [line["event"] for line in run.read_events()][-1] == "reported"


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("events.jsonl", '{"event": "stepped"}\n', "events.jsonl line 1: step is missing"),
        ("events.jsonl", '{"event": "stepped", "step": -1}\n', "step is -1"),
        ("events.jsonl", "[" * 100_000 + "\n", "nested too deeply"),
        ("environment.json", '{"decisions": {"precision": {"name": "fp8"}}}', "environment.json: decisions.precision"),
        ("checkpoints/best.json", '{"step": "../..", "monitor": "loss", "value": 1}', "step is '../..'"),
        ("checkpoints/best.json", '{"step": 1, "monitor": "loss", "value": NaN}', "best.json is not valid JSON"),
        ("checkpoints/000002/training.json", '{"step": true}', "step is True, expected a whole number"),
        ("checkpoints/000002/training.json", '{"step": 2, "tally": 3}', "tally is 3"),
        ("checkpoints/000002/training.json", '{"step": 2, "new": 3}', "is not of this version of formers"),
    ],
)
def test_files_of_a_run_that_were_changed_are_named(tmp_path, name, content, part):
    run_all(tmp_path, steps=2)
    (tmp_path / name).write_text(content)
    with pytest.raises(FormersError) as fault:
        Run(tmp_path).best()
        run_all(tmp_path, steps=4)
    assert part in str(fault.value) and "\n" not in str(fault.value)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"cannot write into the run folder .*file/run: Not a directory"):
        run_all(tmp_path / "file" / "run")


def test_events_are_recorded_and_cut_on_resume(tmp_path):
    _, events = run_all(tmp_path, steps=5, save_every=2, sample_every=2)
    run = Run(tmp_path)
    assert [from_json(line) for line in run.read_events()] == [from_json(to_json(event)) for event in events]
    remove_folder(run.latest())  # as if killed before the last save
    with run.events.open("a") as file:
        file.write('{"event": "step')
    _, more = run_all(tmp_path, steps=6, save_every=2)
    assert more[0].step == 4
    steps = [line["step"] for line in run.read_events() if line["event"] == "stepped"]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_leftovers_are_removed(tmp_path):
    run_all(tmp_path, steps=2)
    (tmp_path / "checkpoints/.tmp-000004").mkdir()
    (tmp_path / "checkpoints/.tmp-old-000001").mkdir()
    (tmp_path / "checkpoints/000009").mkdir()  # not a checkpoint: no training.json
    run_all(tmp_path, steps=4)
    assert kept(tmp_path) == ["000002", "000004", "000009"] and Run(tmp_path).latest().name == "000004"


def test_samples_are_files(tmp_path):
    _, events = run_all(tmp_path, steps=4, sample_every=2)
    sampled = of(Sampled, events)
    assert [event.step for event in sampled] == [2, 4]
    assert sampled[0].samples == [("1 + 1", "2"), ("a cat", "samples/000002/01.png")]
    assert (tmp_path / "samples/000002/01.png").read_bytes().startswith(b"\x89PNG")


def test_reports(tmp_path):
    _, events = run_all(tmp_path, steps=10, log_every=4)
    assert [type(event) for event in events] == [Started, Stepped, Stepped, Stepped, Saved, Finished]
    assert [event.step for event in of(Stepped, events)] == [4, 8, 10]
    assert events[0].estimate_seconds > 0 and events[-1].peak_memory > 2**20
    assert all(event.tokens_per_second > 0 and "tokens" not in event.parts for event in of(Stepped, events))
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["seed"] == 1 and environment["versions"]["torch"] and environment["command"] == sys.argv


def test_a_report_of_the_caller_survives_json():
    event = Reported(step=0, lines=["467 weights"])
    assert from_json(to_json(event)) == event


def test_the_order_goes_on_over_epochs():
    batches = ToyBatches(size=4, rows=10)
    whole = Cursor(batches).take(8)
    assert whole == [*batches.epoch(0), *batches.epoch(1), *batches.epoch(2)][:8]
    cursor = Cursor(batches)
    cursor.take(3)
    assert cursor.peek() == whole[3]
    assert Cursor(batches, cursor.epoch, cursor.index).take(5) == whole[3:]
    with pytest.raises(TrainingError, match="no batch in epoch 0"):
        Cursor(ToyBatches(rows=0)).take(1)


def test_compile_and_recompute_reach_the_task(tmp_path, monkeypatch):
    task, compiled = ToyTask(), []
    monkeypatch.setattr(task.model, "compile", lambda: compiled.append(True))
    run_all(tmp_path, task, steps=2, compile=True, recompute=True)
    assert compiled and task.recomputes


def test_only_a_checkpoint_that_is_there_is_intact(tmp_path):
    task = ToyTask()
    task.poison = 6 + 1
    with pytest.raises(TrainingError, match="step 2: the loss is nan") as fault:
        run_all(tmp_path, task)
    assert "intact" not in str(fault.value)


def test_a_probe_takes_bf16_where_it_is_a_tenth_faster(monkeypatch):
    for fp32, name in ((1.09, "fp32"), (1.11, "bf16"), (0.7, "fp32")):
        seconds = {"fp32": fp32, "bf16": 1.0}
        monkeypatch.setattr(precision, "_measure", lambda task, batch, name, device, seconds=seconds: seconds[name])
        decided = precision.decide("auto", ToyTask(), lambda: None, torch.device("cpu"))
        assert (decided.name, decided.decided) == (name, "probe") and decided.gain == pytest.approx(fp32 - 1)
    assert precision.decide("bf16", ToyTask(), lambda: None, torch.device("cpu")).gain is None


def test_nothing_to_learn(tmp_path):
    task = ToyTask()
    task.model.requires_grad_(False)
    with pytest.raises(TrainingError, match="nothing to train"):
        run_all(tmp_path, task)
    assert training_toy.VOCAB and not (tmp_path / "checkpoints").exists()


def test_frozen_weights_are_not_in_the_checkpoint(tmp_path):
    for steps in (2, 4):
        task = ToyTask()
        task.model.embedding.requires_grad_(False)
        run_all(tmp_path, task, steps=steps)
    assert "weight.embedding.weight" not in final(tmp_path) and "weight.blocks.0.weight" in final(tmp_path)


def test_a_report_says_which_way_is_better(tmp_path):
    class Reporting(ToyTask):
        def evaluate(self):
            surprise = super().evaluate().scores[0].value
            score = SimpleNamespace(name="surprise", value=surprise, unit="nats", lower_is_better=True)
            other = SimpleNamespace(name="hits", value=-surprise, unit="", lower_is_better=False)
            return SimpleNamespace(title="toy", scores=[score, other])

    for monitor in ("surprise", "hits"):
        task = Reporting(metrics=[5, 3, 4])
        _, events = run_all(tmp_path / monitor, task, steps=3, evaluate_every=1, monitor=monitor)
        assert [event.best for event in of(Evaluated, events)] == [True, True, False] and events[-1].best_step == 2
        lines = [line for line in Run(tmp_path / monitor).read_events() if line["event"] == "evaluated"]
        assert [line["metrics"] for line in lines] == [{"surprise": v, "hits": -v} for v in (5, 3, 4)]
        assert {line["monitor"] for line in lines} == {monitor}


def test_a_pipe_among_the_files_of_a_checkpoint_is_refused(tmp_path):
    os.mkfifo(tmp_path / checkpoint.TENSORS)
    with pytest.raises(CheckpointError, match="no regular file, expected a file; remove it to go on from"):
        checkpoint.read(tmp_path, dict)
