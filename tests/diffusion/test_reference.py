"""Every sampler's whole sequence of latents, as `diffusers` goes it from the same noise."""

import pytest
import torch

from formers.diffusion.denoise import denoised, draw, generators
from formers.diffusion.samplers import SAMPLERS
from formers.diffusion.scheduler import Scheduler

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TRAINED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PNDM = {"skip_prk_steps": True}
IN_SIGMAS = {"EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler"}
SHAPE = (4, 6, 6)
SEEDS = (3, 11)


@pytest.fixture(scope="module")
def network():
    """What answers as a network might: bounded, of all channels, otherwise at each time."""
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)) / 4

    def answer(latents, time):
        mixed = torch.einsum("bchw,cd->bdhw", latents, weight.to(latents))
        return (mixed + float(time) / 500).sin()

    return answer


def theirs(network, scheduler, steps, noise, own, skipped=0, clean=None, **options):
    """Their latents after each step, scaled as the network reads them."""
    scheduler.set_timesteps(steps)
    times = scheduler.timesteps[skipped * scheduler.order :]
    latents = noise * scheduler.init_noise_sigma
    if "set_begin_index" in dir(scheduler):  # else times that are there twice, cut to whole ones, confuse it
        scheduler.set_begin_index(skipped * scheduler.order)
    if clean is not None:
        latents = scheduler.add_noise(clean, noise, times[:1].repeat(2))
    seen = []
    for time in times:
        answer = network(scheduler.scale_model_input(latents, time), time)
        if "generator" in scheduler.step.__annotations__:
            options["generator"] = own
        latents = scheduler.step(answer, time, latents, **options).prev_sample
        sigma = scheduler.sigmas[scheduler.step_index] if type(scheduler).__name__ in IN_SIGMAS else torch.zeros(())
        seen.append(latents / (sigma**2 + 1) ** 0.5)
    return [float(time) for time in times], seen


def same(network, keys, steps, name=None, strength=1.0, skipped=0, clean=None, atol=1e-4, **options):
    name = name or keys.pop("name")
    kind = getattr(diffusers, SAMPLERS[name].class_name)
    keys = {**TRAINED, **(PNDM if name == "pndm" else {}), **keys}
    own, other = generators(SEEDS), generators(SEEDS)
    noise = draw(own, SHAPE)
    assert torch.equal(noise, draw(other, SHAPE))
    exact = noise.double() if name == "heun" else noise  # which alone of those in sigmas keeps to what it is given
    times, seen = theirs(network, kind(**keys), steps, exact, other, skipped, clean, **options)
    plan = Scheduler.of({"_class_name": kind.__name__, **keys}).plan(
        steps, sampler=name, strength=strength, eta=options.get("eta", 0.0)
    )
    latents = plan.start(noise) if clean is None else plan.start_from(clean, noise)
    moments = list(denoised(network, plan, latents, own))
    assert [moment.time for moment in moments] == pytest.approx(times, abs=2e-3)
    for moment, reference in zip(moments, seen, strict=True):
        torch.testing.assert_close(
            moment.latents,
            reference.float(),
            atol=atol,
            rtol=1e-4,
            msg=lambda text, at=moment.step: f"step {at}: {text}",
        )


SPACINGS = ("leading", "linspace", "trailing")
WORDS = [
    (name, word) for name in SAMPLERS for word in SAMPLERS[name].predictions if (name, word) != ("euler-a", "sample")
]


@pytest.mark.parametrize("steps", [1, 4, 7, 20])
@pytest.mark.parametrize(("name", "prediction"), WORDS)
def test_each_prediction_and_spacing(network, name, prediction, steps):
    for spacing in SPACINGS if name != "lcm" else ("leading",):
        offset = int(spacing == "leading" and name != "lcm")
        same(network, {"prediction_type": prediction, "timestep_spacing": spacing, "steps_offset": offset}, steps, name)


@pytest.mark.parametrize("curve", ["karras", "exponential"])
@pytest.mark.parametrize("name", ["euler", "heun", "dpm++", "unipc"])
@pytest.mark.parametrize("schedule", ["scaled_linear", "squaredcos_cap_v2"])
def test_sigmas_along_a_curve(network, name, curve, schedule):
    for steps, spacing in [(11, "linspace"), (17, "leading"), (20, "trailing")]:
        keys = {f"use_{curve}_sigmas": True, "beta_schedule": schedule, "timestep_spacing": spacing}
        if schedule == "squaredcos_cap_v2":  # whose first sigma is 20,000: epsilon says nothing there in float32
            keys["prediction_type"] = "v_prediction"
        same(network, keys, steps, name)


@pytest.mark.parametrize("keys", [
    {"name": "ddpm", "clip_sample": False},
    {"name": "ddpm", "variance_type": "fixed_large", "steps_offset": 1},
    {"name": "ddpm", "variance_type": "fixed_small_log"},
    {"name": "ddpm", "beta_schedule": "sigmoid"},
    {"name": "ddpm", "num_train_timesteps": 200, "beta_schedule": "linear", "beta_start": 0.0005, "beta_end": 0.1},
    {"name": "ddim", "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1},
    {"name": "ddim", "clip_sample_range": 0.5},
    {"name": "ddim", "thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.9},
    {"name": "ddim", "trained_betas": [0.001 * i + 0.001 for i in range(50)], "num_train_timesteps": 50},
    {"name": "pndm", "set_alpha_to_one": True, "beta_schedule": "linear"},
    {"name": "pndm", "skip_prk_steps": False},
    {"name": "pndm", "skip_prk_steps": False, "prediction_type": "v_prediction", "timestep_spacing": "trailing"},
    {"name": "euler", "final_sigmas_type": "sigma_min"},
    {"name": "euler", "use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 10.0},
    {"name": "heun", "clip_sample": True, "clip_sample_range": 0.8},
    {"name": "dpm++", "solver_type": "heun"},
    {"name": "dpm++", "solver_order": 1},
    {"name": "dpm++", "algorithm_type": "deis", "solver_type": "logrho", "final_sigmas_type": "sigma_min"},
    {"name": "dpm++", "lower_order_final": False, "final_sigmas_type": "sigma_min"},
    {"name": "dpm++", "euler_at_final": True, "final_sigmas_type": "sigma_min"},
    {"name": "dpm++", "beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1},
    {"name": "dpm++", "thresholding": True},
    {"name": "unipc", "solver_type": "bh1", "final_sigmas_type": "sigma_min"},
    {"name": "unipc", "solver_order": 1},
    {"name": "unipc", "solver_order": 3},
    {"name": "unipc", "disable_corrector": [0, 2]},
    {"name": "unipc", "final_sigmas_type": "sigma_min"},
    {"name": "unipc", "use_karras_sigmas": True, "sigma_min": 0.1, "sigma_max": 10.0},
    {"name": "unipc", "thresholding": True},
    {"name": "lcm", "original_inference_steps": 40, "timestep_scaling": 2.0, "clip_sample": True},
], ids=lambda keys: "-".join(map(str, [*keys.values()][:3])))  # fmt: skip
def test_keys_that_change_numbers(network, keys):
    for steps in (4, 6, 20):
        same(network, dict(keys), steps)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if SAMPLERS[name].pure])
def test_a_schedule_that_ends_in_pure_noise(network, name):
    for spacing in SPACINGS if name != "lcm" else ("leading",):
        keys = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": spacing}
        same(network, keys, 10, name)


def test_fresh_noise_of_ddim(network):
    for eta in (0.3, 1.0):
        same(network, {"clip_sample": False, "set_alpha_to_one": False}, 12, "ddim", eta=eta)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("steps", "strength"), [(10, 0.6), (20, 0.75), (10, 1.0)])
def test_from_a_picture(network, name, steps, strength):
    clean = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(5))
    skipped = steps - min(int(steps * strength), steps)
    same(network, {}, steps, name, strength=strength, skipped=skipped, clean=clean)
