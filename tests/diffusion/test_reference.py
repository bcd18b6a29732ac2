"""Every sampler's whole sequence of latents, as `diffusers` goes it from the same noise."""

import json
import warnings

import pytest
import torch

from formers.diffusion.denoise import denoised, draw, generators
from formers.diffusion.samplers import SAMPLERS
from formers.diffusion.scheduler import Scheduler, read_scheduler

diffusers = pytest.importorskip("diffusers")
warnings.filterwarnings("ignore", module="diffusers")

TRAINED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PNDM = {"skip_prk_steps": True}
SHAPE = (4, 6, 6)
SEEDS = (3, 11)


@pytest.fixture(scope="module")
def network():
    """What answers as a network might: bounded, of all channels, otherwise at each time."""
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))

    def answer(latents, time):
        mixed = torch.einsum("bchw,cd->bdhw", latents, weight)
        return (mixed + float(time) / 500).sin()

    return answer


def theirs(network, scheduler, steps, noise, own, skipped=0, clean=None, **options):
    """Their latents after each step, scaled as the network reads them."""
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps[skipped * scheduler.order :]
    latents = noise * scheduler.init_noise_sigma
    if clean is not None:
        scheduler.set_begin_index(skipped * scheduler.order) if skipped else None
        latents = scheduler.add_noise(clean, noise, times[:1])
    seen = []
    for time in times:
        answer = network(scheduler.scale_model_input(latents, time), time)
        if "generator" in scheduler.step.__annotations__:
            options["generator"] = own
        latents = scheduler.step(answer, time, latents, **options).prev_sample
        scale = (getattr(scheduler, "is_scale_input_called", None) is not None) or "Heun" in type(scheduler).__name__
        sigma = scheduler.sigmas[scheduler.step_index] if scale else torch.zeros(())
        seen.append(latents / (sigma**2 + 1) ** 0.5)
    return [float(time) for time in times], seen


def same(network, keys, steps, name=None, strength=1.0, skipped=0, clean=None, atol=1e-4, **options):
    name = name or keys.pop("name")
    kind = getattr(diffusers, SAMPLERS[name].class_name)
    keys = {**TRAINED, **(PNDM if name == "pndm" else {}), **keys}
    own, other = generators(SEEDS), generators(SEEDS)
    noise = draw(own, SHAPE)
    assert torch.equal(noise, draw(other, SHAPE))
    times, seen = theirs(network, kind(**keys), steps, noise, other, skipped, clean, **options)
    plan = Scheduler.of({"_class_name": kind.__name__, **keys}).plan(
        steps, sampler=name, strength=strength, eta=options.get("eta", 0.0)
    )
    latents = plan.start(noise) if clean is None else plan.start_from(clean, noise)
    moments = list(denoised(network, plan, latents, own))
    assert [moment.time for moment in moments] == pytest.approx(times, abs=2e-3)
    for moment, reference in zip(moments, seen, strict=True):
        torch.testing.assert_close(moment.latents, reference, atol=atol, rtol=1e-4, msg=f"step {moment.step}")


PREDICTIONS = ["epsilon", "v_prediction", "sample"]


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 4, 7, 20])
def test_each_prediction_and_spacing(network, name, prediction, spacing, steps):
    if prediction not in SAMPLERS[name].predictions or (name, prediction) == ("euler-a", "sample"):
        pytest.skip("not of the reference")
    if (name, steps, spacing) in {("pndm", 1, "trailing"), ("lcm", 1, "trailing")}:
        pass
    keys = {"prediction_type": prediction, "timestep_spacing": spacing}
    if name == "lcm":
        keys["timestep_spacing"] = "leading"
    if spacing == "leading" and name not in ("lcm",):
        keys["steps_offset"] = 1
    same(network, keys, steps, name)
