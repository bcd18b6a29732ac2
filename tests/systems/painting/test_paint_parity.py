"""Whole ways of the reference's pipelines with tiny random parts: words, pictures and masks to pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import formers
from formers.systems.painting.options import Painting
from formers.systems.painting.paint import Painted
from tests.systems.painting import tiny_folder

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning", "ignore::FutureWarning")

PROMPT, NEGATIVE = "a red circle above a blue square", "green"
SAMPLERS = {
    "ddim": "DDIMScheduler", "pndm": "PNDMScheduler", "euler": "EulerDiscreteScheduler", "lcm": "LCMScheduler",
    "euler-a": "EulerAncestralDiscreteScheduler", "dpm++": "DPMSolverMultistepScheduler",
}  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny_folder.write(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def inpainting(tmp_path_factory):
    return tiny_folder.write(tmp_path_factory.mktemp("inpainting"), inpainting=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A picture and a mask of 64 x 48 pixels; the mask is white on whole latents."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC).save(folder / "in.png")
    mask = np.zeros((48, 64), np.uint8)
    mask[16:32, 8:40] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    return folder


def painted(model, **options):
    """The last latents and the pictures of a painting."""
    events = list(formers.load(model, system="painting").paint(Painting(prompt=PROMPT, negative=NEGATIVE, **options)))
    pictures = [event.pixels for event in events if isinstance(event, Painted)]
    return events[-2].latents, pictures


def theirs(kind, model, sampler, seed, **options):
    """The same of the reference."""
    pipeline = kind.from_pretrained(model)
    pipeline.scheduler = getattr(diffusers, SAMPLERS[sampler]).from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    options |= {"prompt": PROMPT, "num_inference_steps": 6, "guidance_scale": 5.0}
    if kind is not diffusers.LatentConsistencyModelPipeline:
        options["negative_prompt"] = NEGATIVE
    latents = pipeline(**options, generator=[torch.Generator().manual_seed(seed)], output_type="latent").images
    pictures = pipeline(**options, generator=[torch.Generator().manual_seed(seed)], output_type="pil").images
    return latents, np.asarray(pictures[0])


def compare(ours, reference, where=...):
    torch.testing.assert_close(ours[0], reference[0], atol=2e-4, rtol=1e-4)
    assert reference[1].std() > 5  # the picture shows something
    assert np.abs(ours[1][-1].astype(int) - reference[1])[where].max() <= 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_words_to_a_picture(plain, sampler):
    options = {"height": 48, "width": 64, "guidance_rescale": 0.5, "eta": 0.3 if sampler == "ddim" else 0.0}
    reference = theirs(diffusers.StableDiffusionPipeline, plain, sampler, 8, **options)
    how = {"steps": 6, "guidance": 5.0, "sampler": sampler, "rescale": 0.5, "eta": options["eta"], "size": "64x48"}
    compare(painted(plain, seed=7, count=2, **how), reference)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_picture_to_a_picture(plain, files, sampler):
    image = Image.open(files / "in.png")
    reference = theirs(diffusers.StableDiffusionImg2ImgPipeline, plain, sampler, 3, image=image, strength=0.7)
    how = {"steps": 6, "guidance": 5.0, "sampler": sampler, "image": str(files / "in.png"), "strength": 0.7}
    compare(painted(plain, seed=3, **how), reference)


@pytest.mark.parametrize("strength", [0.7, 1.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("kind", ["plain", "inpainting"])
def test_a_hole_in_a_picture(request, kind, files, sampler, strength):
    model = request.getfixturevalue(kind)
    image, mask = Image.open(files / "in.png"), Image.open(files / "mask.png")
    more = {"image": image, "mask_image": mask, "strength": strength, "height": 48, "width": 64}
    reference = theirs(diffusers.StableDiffusionInpaintPipeline, model, sampler, 3, **more)
    how = {"steps": 6, "guidance": 5.0, "sampler": sampler, "image": str(files / "in.png"), "strength": strength}
    ours = painted(model, seed=3, mask=str(files / "mask.png"), blur=0, **how)
    hole = np.asarray(mask) > 0
    compare(ours, reference, hole)
    assert np.array_equal(ours[1][0][~hole], np.asarray(image)[~hole])
    assert not np.array_equal(reference[1][~hole], np.asarray(image)[~hole])  # which is why pixels are put back


def test_a_unet_that_learned_guidance(tmp_path):
    """As the published latent consistency models: it reads how strong guidance is, and no negative prompt."""
    model = tiny_folder.write(tmp_path, guidance_dim=7, scheduler="LCMScheduler")
    reference = theirs(diffusers.LatentConsistencyModelPipeline, model, "lcm", 3, height=48, width=64)
    compare(painted(model, seed=3, steps=6, guidance=5.0, size="64x48"), reference)
