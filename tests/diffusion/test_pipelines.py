"""Whole ways of `diffusers`' pipelines with a small random UNet: text, picture and mask to latents, with guidance."""

import pytest
import torch

from formers.diffusion.denoise import Held, denoised, draw, generators
from formers.diffusion.guidance import guided
from formers.diffusion.samplers import SAMPLERS
from formers.diffusion.scheduler import Scheduler

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning", "ignore::FutureWarning")

SEEDS = (5, 6)
KEYS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
KEYS |= {"clip_sample": False, "set_alpha_to_one": False, "skip_prk_steps": True}


def small_unet(channels):
    torch.manual_seed(channels)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=channels, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        cross_attention_dim=12, attention_head_dim=2, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    for weight in unet.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return unet.eval()


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(1)
    return diffusers.AutoencoderKL(block_out_channels=(8, 8, 8, 8), norm_num_groups=4, down_block_types=(
        "DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4).eval()  # fmt: skip


@pytest.fixture(scope="module")
def texts():
    torch.manual_seed(2)
    return torch.randn(2, 5, 12), torch.randn(2, 5, 12)


def pipeline(kind, name, vae, unet):
    scheduler = getattr(diffusers, SAMPLERS[name].class_name).from_config(KEYS)
    pipe = kind(vae, None, None, unet, scheduler, None, None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def ours(name, unet, texts, start, *, strength=1.0, steps=7, held=None, **options):
    def network(latents, times, text):
        return unet(latents, times, text).sample

    class_name = SAMPLERS[name].class_name
    plan = Scheduler.of({"_class_name": class_name, **KEYS}).plan(steps, strength=strength)
    own = generators(SEEDS)
    latents, held = start(plan, draw(own, (4, 8, 8)))
    moments = denoised(guided(network, *texts, scale=5, **options), plan, latents, own, held=held)
    return list(moments)[-1].latents


def asked(texts, **more):
    text, negative = texts
    own = {"prompt_embeds": text, "negative_prompt_embeds": negative, "generator": generators(SEEDS)}
    return {**own, "guidance_scale": 5, "num_inference_steps": 7, "output_type": "latent", **more}


@pytest.mark.parametrize("name", SAMPLERS)
def test_text_to_latents(name, vae, texts):
    unet = small_unet(4)
    pipe = pipeline(diffusers.StableDiffusionPipeline, name, vae, unet)
    theirs = pipe(**asked(texts, guidance_rescale=0.6, height=64, width=64)).images
    latents = ours(name, unet, texts, lambda plan, noise: (plan.start(noise), None), rescale=0.6)
    torch.testing.assert_close(latents, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SAMPLERS)
def test_picture_to_latents(name, vae, texts):
    unet, clean = small_unet(4), torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    pipe = pipeline(diffusers.StableDiffusionImg2ImgPipeline, name, vae, unet)
    theirs = pipe(**asked(texts, image=clean, strength=0.6)).images
    start = lambda plan, noise: (plan.start_from(clean, noise), None)  # noqa: E731
    torch.testing.assert_close(ours(name, unet, texts, start, strength=0.6), theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("strength", [0.7, 1.0])
@pytest.mark.parametrize("name", SAMPLERS)
def test_picture_and_mask_to_latents(name, strength, vae, texts):
    unet, clean = small_unet(4), torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 3:6, 1:5] = 1
    pipe = pipeline(diffusers.StableDiffusionInpaintPipeline, name, vae, unet)
    wide = mask.repeat_interleave(8, 2).repeat_interleave(8, 3)
    more = {"image": clean, "mask_image": wide, "masked_image_latents": clean, "height": 64, "width": 64}
    theirs = pipe(**asked(texts, strength=strength, **more)).images

    def start(plan, noise):
        latents = plan.start(noise) if strength == 1 else plan.start_from(clean, noise)
        return latents, Held(clean, noise, mask)

    torch.testing.assert_close(ours(name, unet, texts, start, strength=strength), theirs, atol=1e-4, rtol=1e-4)
