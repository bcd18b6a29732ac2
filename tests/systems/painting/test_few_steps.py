"""Distillation for few steps: boundaries of the reference, the teacher's step, the target, what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import formers
from formers.data.pictures import read_pictures
from formers.diffusion.samplers import boundary
from formers.diffusion.schedule import Schedule
from formers.errors import ConfigError
from formers.systems.painting.data import PaintingBatches, PaintingRows
from formers.systems.painting.few_steps import Distillation, FewStepsTask, for_few_steps
from formers.systems.painting.task import PaintingConfig, PaintingTask
from tests.systems.painting.test_painting_learning import SMALL
from tests.systems.painting.tiny_painter import SIDE, painter


@pytest.fixture
def task(tmp_path):
    model = painter(tmp_path, vae=False, prediction_type="v_prediction")
    model = for_few_steps(beginning(), model)
    table = read_pictures("builtin:shapes", columns=["caption"], count=8)
    batches = PaintingBatches(table, model, PaintingRows(), SIDE, empty=0.0)
    return FewStepsTask(PaintingTask(model, batches, PaintingConfig(), learn_text=False), Distillation(few_steps=True))


def beginning(start: str | None = "run", *, learn_text: bool = False, adapter: str = "none", **how):
    config = PaintingConfig(learn_text=learn_text, distillation=Distillation(few_steps=True, **how))
    return SimpleNamespace(task=config, start=start, sections={"adapter": SimpleNamespace(kind=adapter)})


def test_boundaries_are_the_references():
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.LCMScheduler()
    for time in (0, 1, 19, 999):
        expected = theirs.get_scalings_for_boundary_condition_discrete(torch.tensor(float(time)))
        assert boundary(time, 10.0) == pytest.approx([float(part) for part in expected])
    assert boundary(0, 10.0) == (1, 0)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_each_of_a_batch_is_read_at_its_own_time(prediction):
    schedule, times = Schedule(prediction_type=prediction), torch.tensor([3, 500, 999])
    answer, latents = torch.randn(2, 3, 2, 4, 4).unbind()
    whole = schedule.read_at(answer, latents, times)
    rows = [schedule.read(answer[i], latents[i], schedule.point(int(time))) for i, time in enumerate(times)]
    for i, parts in enumerate(zip(*rows, strict=True)):
        torch.testing.assert_close(whole[i], torch.stack(parts), rtol=1e-4, atol=1e-4)


def test_the_teacher_makes_the_guided_step_of_ddim(task):
    plan = task.painter.scheduler.plan(50, sampler="ddim", spacing="trailing")
    leg = plan.legs[10]
    latents = torch.randn(2, 3, SIDE, SIDE)
    memory = task.painter.prompted(["red", "ab"])[0]
    start, end = (torch.full((2,), int(point.time)) for point in (leg.start, leg.end))
    away, wanted = (task.teacher(latents, start, one) for one in (task.nothing.expand(2, -1, -1), memory))
    clean, noise = task.schedule.read(away + 3 * (wanted - away), latents, leg.start)
    expected = leg.end.signal * clean + leg.end.noise * noise
    assert int(leg.start.time) % 20 == 19 and int(leg.start.time - leg.end.time) == 20
    torch.testing.assert_close(task.nearer(latents, start, end, memory), expected, rtol=1e-4, atol=1e-4)


def test_at_time_zero_latents_are_already_clean(task):
    latents = torch.randn(2, 3, SIDE, SIDE)
    torch.testing.assert_close(task.clean(torch.randn_like(latents), latents, torch.tensor([0, 0])), latents)


def test_the_target_follows_and_checkpoints_hold_it(task):
    before = [value.clone() for value in task.model.averages()]
    with torch.no_grad():
        for weight in task.model.unet.parameters():
            weight.add_(1.0)
    task.model.follow(0.75)
    for value, old in zip(task.model.averages(), before, strict=True):
        torch.testing.assert_close(value, old + 0.25)
    assert {"average_0", "unet.convolution_in.weight"} <= task.model.state_dict().keys()
    assert len(list(task.model.parameters())) == len(before)
    latents, memory = torch.randn(1, 3, SIDE, SIDE), task.painter.prompted(["red"])[0]
    plain = task.model.unet(latents, torch.tensor([7]), memory)
    task.model.follow(0.0)
    torch.testing.assert_close(task.model.average(latents, torch.tensor([7]), memory), plain)


def test_it_learns_and_leaves_its_teacher_alone(task):
    teacher = [weight.clone() for weight in task.teacher.parameters()]
    optimizer = torch.optim.Adam(task.model.parameters(), 2e-3)
    batch = next(task.painting.validation.judged())
    first = float(task.evaluate().scores[0].value)
    for _ in range(20):
        optimizer.zero_grad()
        loss = task.loss(batch)
        (loss.total / loss.count).backward()
        optimizer.step()
    assert float(task.evaluate().scores[0].value) < 0.8 * first
    assert all(torch.equal(*pair) for pair in zip(task.teacher.parameters(), teacher, strict=True))


def test_its_painter_samples_with_lcm_wherever_it_is_opened(task, tmp_path):
    task.save(tmp_path / "model")
    again = formers.load(tmp_path / "model")
    assert again.scheduler.sampler == "lcm" and again.scheduler.plan(4).sampling.original_inference_steps == 50
    assert task.painting.painted(["red"]).shape == (1, 3, SIDE, SIDE)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"start": None}, "distils a painter that is there"),
        ({"learn_text": True}, "leave out learn_text and adapters"),
        ({"adapter": "lora"}, "leave out learn_text and adapters"),
        ({"teacher_steps": 2000}, r"teacher_steps \(2,000\) must be at most 1,000"),
    ],
)
def test_what_cannot_be_distilled_is_said(how, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        for_few_steps(beginning(**how), painter(tmp_path, vae=False))


def test_the_recipe_distils_a_run_and_goes_on_with_the_same_target(tmp_path):
    painting, distilled = tmp_path / "painting", tmp_path / "distilled"
    list(formers.train("painting", SMALL, run=painting))
    data = [change for change in SMALL if change.startswith(("data", "rows.batch", "train", "task.sheet"))]
    changes = [*data, f"model.start={painting}", "data.train=builtin:shapes"]
    list(formers.train("painting/few-steps", [*changes, "train.steps=2"], run=distilled))
    list(formers.train("painting/few-steps", [*changes, "train.steps=4"], run=distilled))
    whole = tmp_path / "whole"
    list(formers.train("painting/few-steps", [*changes, "train.steps=4"], run=whole))
    one, other = (load_file(run / "checkpoints/000004/training.safetensors") for run in (distilled, whole))
    assert any(name.startswith("buffer.average_") for name in one) and one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert formers.load(distilled).scheduler.sampler == "lcm"
