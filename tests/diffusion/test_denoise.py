"""The loop, guidance, the settings' file and the training's noise: what holds beside the reference's numbers."""

import json

import pytest
import torch

from formers.diffusion.denoise import Held, denoised, draw, generators
from formers.diffusion.guidance import guided
from formers.diffusion.samplers import SAMPLERS
from formers.diffusion.schedule import Schedule
from formers.diffusion.scheduler import Scheduler
from formers.errors import CheckpointError, ConfigError, DataError, FormersError
from formers.pretrained.diffusers_folder import read_settings

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHAPE = (4, 6, 6)
PUBLISHED = {
    "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "beta_start": 0.00085, "num_train_timesteps": 1000, "set_alpha_to_one": False, "skip_prk_steps": True,
    "steps_offset": 1, "trained_betas": None, "clip_sample": False,
}  # fmt: skip


@pytest.fixture
def scheduler():
    return Scheduler.of(PUBLISHED)


def waves(latents, time):
    return (latents.roll(1, 1) * 0.7 + float(time) / 300).sin()


def paint(plan, seeds, network=waves, **options):
    own = generators(seeds)
    return list(denoised(network, plan, plan.start(draw(own, SHAPE)), own, **options))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_picture_has_the_same_bytes_in_any_batch(scheduler, name):
    plan = scheduler.plan(8, sampler=name, eta=0.5 if name == "ddim" else 0.0)
    together = paint(plan, [7, 8, 9])[-1].latents
    for row, seed in enumerate([7, 8, 9]):
        assert torch.equal(paint(plan, [seed])[-1].latents[0], together[row])
    assert torch.equal(paint(plan, [7, 8, 9])[-1].latents, together)
    assert not torch.equal(together[0], together[1])


def test_passes_of_one_picture_make_a_network_agree_with_itself():
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(4, 4, 3, padding=1)

    def network(latents, times, text):
        return convolution(latents) + text.mean((1, 2)).reshape(-1, 1, 1, 1) + times.reshape(-1, 1, 1, 1) / 1000

    text, negative, latents = torch.randn(3, 5, 8), torch.randn(3, 5, 8), torch.randn(3, *SHAPE)
    alone = guided(network, text, negative, rescale=0.4, at_once=1)(latents, 7.0)
    assert torch.equal(guided(network, text[1:2], negative[1:2], rescale=0.4, at_once=1)(latents[1:2], 7.0), alone[1:2])
    torch.testing.assert_close(guided(network, text, negative, rescale=0.4)(latents, 7.0), alone)
    times = torch.full((3,), 7.0)
    away, wanted = network(latents, times, negative), network(latents, times, text)
    torch.testing.assert_close(guided(network, text, negative, scale=3)(latents, 7.0), away + 3 * (wanted - away))
    torch.testing.assert_close(guided(network, text, negative, scale=1)(latents, 7.0), wanted)
    torch.testing.assert_close(guided(network, text)(latents, 7.0), wanted)
    one = guided(network, text, negative[:1].expand(3, -1, -1), at_once=2)(latents, 7.0)
    torch.testing.assert_close(guided(network, text, negative[:1], at_once=2)(latents, 7.0), one)


def test_rescaled_guidance_is_the_references():
    reference = pytest.importorskip("diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion")
    latents, both = torch.randn(2, *SHAPE), torch.randn(4, *SHAPE)
    away, wanted = both.chunk(2)
    theirs = reference.rescale_noise_cfg(away + 5 * (wanted - away), wanted, guidance_rescale=0.7)
    text = torch.zeros(2, 1, 1)
    ours = guided(lambda latents, times, text: both, text, text, scale=5, rescale=0.7)(latents, 1.0)
    torch.testing.assert_close(ours, theirs)


def test_channels_beside_the_latents_reach_every_row():
    seen = []

    def network(latents, times, text):
        seen.append(latents)
        return latents[:, :4]

    text, beside = torch.zeros(2, 1, 1), torch.randn(1, 5, 6, 6)
    guided(network, text, text, beside=beside)(torch.zeros(2, *SHAPE), 1.0)
    assert seen[0].shape == (4, 9, 6, 6)
    assert torch.equal(seen[0][3, 4:], beside[0])


@pytest.mark.parametrize("name", SAMPLERS)
def test_inpainting_keeps_what_is_not_masked(scheduler, name):
    plan = scheduler.plan(6, sampler=name)
    clean, mask = torch.randn(2, *SHAPE), torch.zeros(1, 1, 6, 6)
    mask[..., 2:4, 2:4] = 1
    held = Held(clean, torch.randn(2, *SHAPE), mask)
    moments = paint(plan, [1, 2], held=held)
    kept = mask.expand(2, *SHAPE) == 0
    assert torch.equal(moments[-1].latents[kept], clean[kept])
    after = plan.legs[3].at
    wanted = after.signal * clean + after.noise * held.noise
    torch.testing.assert_close(moments[2].latents[kept], wanted[kept])
    assert not torch.allclose(moments[-1].latents[~kept], clean[~kept])


def test_a_perfect_network_is_followed_to_the_clean_latents(scheduler):
    """One that knows the picture: every sampler ends there, or as near as the noise of time 0 lets it."""
    clean = torch.randn(1, *SHAPE)
    for name in SAMPLERS:
        plan = scheduler.plan(12, sampler=name)
        points = {leg.at.time: leg.at for leg in plan.legs}

        def network(latents, time, points=points):
            return (latents - points[time].signal * clean) / points[time].noise

        moments = paint(plan, [3], network)
        near = 0.2 if name in ("pndm", "ddim") else 1e-3
        torch.testing.assert_close(moments[-1].latents, clean, atol=near, rtol=0)
        torch.testing.assert_close(moments[2].clean, clean, atol=1e-3, rtol=1e-3)


def test_the_file_goes_round(tmp_path):
    for keys in [PUBLISHED, {"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -float("inf")}]:
        (tmp_path / "scheduler_config.json").write_text(json.dumps(keys))
        scheduler = Scheduler.of(read_settings(tmp_path / "scheduler_config.json"))
        written = scheduler.raw()
        again = Scheduler.of(written)
        assert (again.schedule, again.sampling()) == (scheduler.schedule, scheduler.sampling())
        assert keys.items() - {("lambda_min_clipped", -float("inf"))} <= {**dict.fromkeys(keys), **written}.items()
        json.dumps(written, allow_nan=False)


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_is_written_opens_in_the_reference(tmp_path, name):
    diffusers = pytest.importorskip("diffusers")
    ours = Scheduler(Schedule(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction"), name)
    (tmp_path / "scheduler_config.json").write_text(json.dumps(ours.raw()))
    again = Scheduler.of(read_settings(tmp_path / "scheduler_config.json"))
    assert (again.schedule, again.sampler, again.sampling()) == (ours.schedule, name, ours.sampling())
    theirs = getattr(diffusers, SAMPLERS[name].class_name).from_pretrained(tmp_path)
    assert torch.equal(theirs.alphas_cumprod, ours.schedule.alpha_bars)
    assert theirs.config.prediction_type == "v_prediction"
    assert {key for key in ours.raw() if key not in theirs.config} <= {"rescale_betas_zero_snr", "_class_name"}


@pytest.mark.parametrize("name", SAMPLERS)
def test_another_sampler_than_the_files_goes_as_in_the_reference(name):
    diffusers = pytest.importorskip("diffusers")
    theirs = getattr(diffusers, SAMPLERS[name].class_name).from_config(PUBLISHED)
    theirs.set_timesteps(10)
    plan = Scheduler.of(PUBLISHED).plan(10, sampler=name)
    assert [leg.at.time for leg in plan.legs] == pytest.approx(theirs.timesteps.tolist(), abs=2e-3)
    ours = Scheduler.of(PUBLISHED).sampling(name)
    for key in SAMPLERS[name].keys:
        if key not in ("eta", "sigma_min", "sigma_max", "lambda_min_clipped", "disable_corrector"):
            assert getattr(ours, key) == theirs.config[key], key


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_noise_and_targets_of_the_training(prediction):
    diffusers = pytest.importorskip("diffusers")
    schedule = Schedule(prediction_type=prediction, beta_schedule="scaled_linear")
    theirs = diffusers.DDPMScheduler(beta_schedule="scaled_linear")
    clean, noise, times = torch.randn(3, *SHAPE), torch.randn(3, *SHAPE), torch.tensor([0, 400, 999])
    noisy = schedule.noised(clean, noise, times)
    torch.testing.assert_close(noisy, theirs.add_noise(clean, noise, times))
    target = schedule.target(clean, noise, times)
    if prediction == "v_prediction":
        torch.testing.assert_close(target, theirs.get_velocity(clean, noise, times))
    for row, time in enumerate(times.tolist()):
        read = schedule.read(target[row : row + 1], noisy[row : row + 1], schedule.point(time))
        torch.testing.assert_close(read[0][0], clean[row], atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(read[1][0], noise[row], atol=2e-4, rtol=1e-4)
    ratio = theirs.alphas_cumprod[times] / (1 - theirs.alphas_cumprod[times])
    by = {"epsilon": ratio, "v_prediction": ratio + 1, "sample": 1}[prediction]
    torch.testing.assert_close(schedule.weights(times, 5.0), ratio.clamp(max=5) / by)


def test_weights_stay_finite_where_nothing_but_noise_is_left():
    for prediction in ("epsilon", "v_prediction", "sample"):
        schedule = Schedule(prediction_type=prediction, rescale_betas_zero_snr=True)
        assert schedule.alpha_bars[-1] == 0
        assert schedule.weights(torch.tensor([999])).isfinite().all()


def test_who_looks_on_may_compute_gradients(scheduler):
    own = generators([1])
    plan = scheduler.plan(3)
    for _ in denoised(waves, plan, plan.start(draw(own, SHAPE)), own):
        assert torch.is_grad_enabled()


def test_no_numbers_stop_the_loop_with_the_step(scheduler):
    def breaks(latents, time):
        broken = latents.clone()
        if time < 700:
            broken[1, 0, 0, 0] = float("nan")
        return broken

    with pytest.raises(DataError, match=r"picture 2 are no finite numbers after step 4 of 10 \(time 601\)"):
        paint(scheduler.plan(10, sampler="ddim"), [1, 2], breaks)


@pytest.mark.parametrize(("ask", "wrong"), [
    ({"sampler": "pndm", "keys": {"prediction_type": "sample"}}, "cannot sample from a network that predicts sample"),
    ({"sampler": "heun", "keys": {"rescale_betas_zero_snr": True}}, "heun cannot begin with pure noise"),
    ({"sampler": "ddim", "spacing": "trailing", "keys": {"rescale_betas_zero_snr": True}}, "which says nothing"),
    ({"sampler": "eular"}, 'did you mean "euler"'),
    ({"sampler": "ddim", "spacing": "karras"}, "ddim has no karras spacing; choose euler, heun, dpm[+][+], unipc"),
    ({"sampler": "ddim", "spacing": "karas"}, 'did you mean "karras"'),
    ({"sampler": "lcm", "spacing": "linspace"}, "lcm has a spacing of its own"),
    ({"sampler": "lcm", "steps": 60}, "lcm was asked for 60 steps, expected at most 50"),
    ({"sampler": "pndm", "steps": 3, "keys": {"skip_prk_steps": False}}, "at least 4 steps and strength 1"),
    ({"sampler": "pndm", "strength": 0.5, "keys": {"skip_prk_steps": False}}, "at least 4 steps and strength 1"),
    ({"sampler": "ddim", "eta": 1.5}, r"eta \(1.5\) must be in \[0, 1\]"),
    ({"sampler": "euler", "eta": 0.5}, "is of ddim alone"),
    ({"steps": 0}, r"steps \(0\) must be in \[1, 1,000\]"),
    ({"steps": 1001}, r"steps \(1,001\) must be"),
    ({"steps": 1000, "sampler": "ddim"}, "the first time would be 1,000"),
    ({"strength": 0.0}, r"strength \(0\) must be in \(0, 1\]"),
    ({"strength": 1.5}, r"strength \(1.5\) must be"),
    ({"strength": 0.05, "steps": 10}, "at least 0.1 with 10 steps"),
    ({"strength": float("nan")}, r"strength \(nan\) must be"),
])  # fmt: skip
def test_what_cannot_be_asked_for(ask, wrong):
    keys = {"_class_name": "DDIMScheduler", "steps_offset": 1, **ask.pop("keys", {})}
    with pytest.raises(FormersError, match=wrong) as fault:
        Scheduler.of(keys).plan(ask.pop("steps", 20), **ask)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(("keys", "wrong"), [
    ({"_class_name": "LMSDiscreteScheduler"}, "_class_name is 'LMSDiscreteScheduler'"),
    ({}, "_class_name is None"),
    ({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"}, "algorithm_type"),
    ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3}, "solver_order is 3"),
    ({"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True}, "use_flow_sigmas is True"),
    ({"_class_name": "EulerDiscreteScheduler", "use_beta_sigmas": True}, "use_beta_sigmas is True"),
    ({"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}, "timestep_type"),
    ({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True, "use_exponential_sigmas": True}, "exclude"),
    ({"_class_name": "DDPMScheduler", "variance_type": "learned_range"}, "variance_type is 'learned_range'"),
    ({"_class_name": "DDIMScheduler", "beta_schedule": "laplace"}, "beta_schedule is 'laplace', expected 'linear' or"),
    ({"_class_name": "DDIMScheduler", "prediction_type": "flow_prediction"}, "prediction_type is 'flow_prediction'"),
    ({"_class_name": "DDIMScheduler", "beta_start": "0.1"}, "beta_start is '0.1', expected a number"),
    ({"_class_name": "DDIMScheduler", "trained_betas": [0.1, 0.2]}, "trained_betas has 2 values, expected"),
    ({"_class_name": "DDIMScheduler", "num_train_timesteps": 0}, "num_train_timesteps is 0"),
])  # fmt: skip
def test_what_cannot_be_obeyed_is_refused_by_name(keys, wrong):
    with pytest.raises((CheckpointError, ConfigError), match=wrong):
        Scheduler.of(keys).sampling()


def test_another_sampler_than_one_that_is_refused():
    for name, more in [("LMSDiscreteScheduler", {}), ("EulerDiscreteScheduler", {"use_beta_sigmas": True})]:
        assert Scheduler.of({"_class_name": name, **more}).plan(5, sampler="ddim").legs[0].at.time == 800
    assert Scheduler.of({"_class_name": "LMSDiscreteScheduler"}).raw()["_class_name"] == "LMSDiscreteScheduler"


def test_a_prompt_and_a_negative_of_other_lengths():
    with pytest.raises(ConfigError, match="154 places and the negative prompt 77"):
        guided(lambda latents, times, text: latents, torch.zeros(1, 154, 8), torch.zeros(1, 77, 8))
    with pytest.raises(ConfigError, match=r"rescale \(2\)"):
        guided(lambda latents, times, text: latents, torch.zeros(1, 77, 8), rescale=2)
