"""Whole folders of Stable Diffusion: theirs read here, ours opened there, wrong ones refused in one line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from formers.errors import CheckpointError
from formers.models.unet import UNet, UNetConfig
from formers.models.vae import TinyVAE, TinyVAEConfig
from formers.pretrained.diffusers_folder import DiffusionParts, load_diffusers, save_diffusers
from tests.pretrained.diffusion_toy import tiny_pipeline

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
PROMPT = "a red circle above a blue square"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A tiny pipeline with random weights, as the reference writes it."""
    folder = tmp_path_factory.mktemp("reference")
    pipeline = tiny_pipeline(folder)
    pipeline.save_pretrained(folder / "whole")
    pipeline.save_pretrained(folder / "half", variant="fp16")
    return folder


def prediction(parts):
    """What the UNet says to a prompt at a step, with our parts."""
    ids = parts.tokenizer.encode([PROMPT])
    with torch.no_grad():
        memory = parts.text.hidden(torch.tensor(ids))
        return parts.unet(torch.linspace(-1, 1, 256).view(1, 4, 8, 8), 500, memory)


def their_prediction(pipeline):
    ids = pipeline.tokenizer(PROMPT, return_tensors="pt").input_ids
    with torch.no_grad():
        memory = pipeline.text_encoder(ids).last_hidden_state
        return pipeline.unet(torch.linspace(-1, 1, 256).view(1, 4, 8, 8), 500, memory).sample


def test_there_and_back(theirs, tmp_path):
    parts = load_diffusers(theirs / "whole")
    assert parts.unet.config.size == 8 and parts.scheduler["_class_name"] == "PNDMScheduler"
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(theirs / "whole")
    torch.testing.assert_close(prediction(parts), their_prediction(pipeline), atol=1e-5, rtol=1e-4)
    save_diffusers(tmp_path / "ours", parts)
    again = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "ours")
    torch.testing.assert_close(their_prediction(again), their_prediction(pipeline), atol=1e-6, rtol=1e-5)
    before, after = (
        json.loads((path / "model_index.json").read_text()) for path in (theirs / "whole", tmp_path / "ours")
    )
    assert before == after
    assert again.scheduler.config == pipeline.scheduler.config
    picture = again(PROMPT, num_inference_steps=2, output_type="np", generator=torch.manual_seed(1)).images
    assert (
        abs(
            picture - pipeline(PROMPT, num_inference_steps=2, output_type="np", generator=torch.manual_seed(1)).images
        ).max()
        < 1e-4
    )


def test_half_numbers(theirs, tmp_path):
    half, whole = load_diffusers(theirs / "half"), load_diffusers(theirs / "whole")
    torch.testing.assert_close(prediction(half), prediction(whole), atol=2e-2, rtol=1e-2)
    save_diffusers(tmp_path / "ours", whole, fp16=True)
    file = tmp_path / "ours/unet/diffusion_pytorch_model.fp16.safetensors"
    assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float16}
    again = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "ours", variant="fp16", dtype=torch.float32)
    torch.testing.assert_close(their_prediction(again), prediction(half), atol=1e-2, rtol=1e-2)


def test_other_parts(theirs, tmp_path):
    """The tiny autoencoder in place of the other; a UNet that reads no text, in our own layout."""
    parts = load_diffusers(theirs / "whole")
    tiny = TinyVAE(TinyVAEConfig(width=4, encoder_depths=(1, 1), decoder_depths=(1, 1)))
    save_diffusers(tmp_path / "tiny", replace(parts, vae=tiny))
    assert type(load_diffusers(tmp_path / "tiny").vae) is TinyVAE
    unet = UNet(
        UNetConfig(channels=1, out_channels=1, widths=(8,), attention=(True,), heads=(2,), memory_dim=None, groups=4)
    )
    save_diffusers(tmp_path / "pixels", DiffusionParts(unet=unet))
    again = load_diffusers(tmp_path / "pixels")
    assert again.unet.config == unet.config and again.vae is again.text is None
    assert json.loads((tmp_path / "pixels/model_index.json").read_text())["unet"] == ["formers", "UNet"]


def edited(folder, index=None, **changes):
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes) if index is None else index)


def test_wrong_folders(theirs, tmp_path):
    def copied():
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        return shutil.copytree(theirs / "whole", tmp_path / "copy")

    def refused(*words):
        with pytest.raises(CheckpointError) as fault:
            load_diffusers(tmp_path / "copy")
        assert all(word in str(fault.value) for word in words) and "\n" not in str(fault.value)

    shutil.rmtree(copied() / "vae")
    refused("no folder vae", "AutoencoderKL")
    edited(copied(), text_encoder_2=["transformers", "CLIPTextModel"])
    refused("text_encoder_2", "not read here")
    edited(copied(), unet=[None, None])
    refused("names no unet")
    edited(copied(), unet="UNet2DConditionModel", vae=["diffusers", 3])
    refused("vae", "a library and a class")
    (copied() / "scheduler/scheduler_config.json").unlink()
    refused("scheduler_config.json")
    shutil.rmtree(copied() / "unet")
    shutil.copytree(theirs / "whole/vae", tmp_path / "copy/unet")
    refused("is a VAE, expected a UNet")
    edited(copied(), "[1")
    refused("model_index.json", "not valid JSON")
    parts = load_diffusers(copied())
    with pytest.raises(CheckpointError, match="latents of 4 channels, but its vae reads 3"):
        save_diffusers(tmp_path / "out", replace(parts, vae=TinyVAE(TinyVAEConfig(width=4, latent_channels=3))))
