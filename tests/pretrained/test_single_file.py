"""Stable Diffusion in one file: what the reference's own converters make of the same names, and what is refused."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import formers
from formers.errors import CheckpointError
from formers.models.clip import TEXTS, TextTower, TextTowerConfig
from formers.models.unet import UNet as UNetModel
from formers.models.unet import UNetConfig
from formers.models.vae import VAE, VAEConfig
from formers.pretrained.diffusers_folder import load_diffusers
from formers.pretrained.layouts.latent_diffusion import (
    OPEN_CLIP_TEXT,
    ORIGINAL_UNET,
    ORIGINAL_VAE,
    TEXT,
    about_text,
    about_unet,
    about_vae,
)
from formers.pretrained.mapping import to_theirs
from formers.pretrained.single_file import TEXT_1, TEXT_2, UNET, load_single_file
from formers.pretrained.single_file import VAE as CODER
from tests.parity.test_diffusion_families import randomised

diffusers = pytest.importorskip("diffusers")
single_file_utils = pytest.importorskip("diffusers.loaders.single_file_utils")
from tests.pretrained.diffusion_toy import tiny_pipeline  # noqa: E402

SIZES = {"block_out_channels": (32, 64), "norm_num_groups": 32}
SECOND = {"block_out_channels": (64, 128), "attention_head_dim": (1, 2), "use_linear_projection": True}


@pytest.fixture(scope="module", params=["1.x", "2.x"])
def case(request, tmp_path_factory):
    """(a folder of the reference, our parts of it, the same in one file, whether it is 2.x)."""
    folder, second = tmp_path_factory.mktemp("reference"), request.param == "2.x"
    unet = {**SIZES, "attention_head_dim": 8, **(SECOND if second else {"in_channels": 9})}
    text = {"hidden_act": "gelu" if second else "quick_gelu", "num_attention_heads": 1}
    pipeline = tiny_pipeline(folder, unet=unet, vae=SIZES, text=text)
    for model in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        randomised(model)
    pipeline.save_pretrained(folder / "whole")
    parts = load_diffusers(folder / "whole")
    tensors = in_one(parts, second)
    (folder / "one").mkdir()
    shutil.copytree(folder / "whole/tokenizer", folder / "one/tokenizer")
    save_file(tensors, folder / "one/model.safetensors", {"modelspec.prediction_type": "epsilon"})
    return folder, parts, tensors, second


def in_one(parts, second):
    networks = {
        UNET: (parts.unet, ORIGINAL_UNET),
        CODER: (parts.vae, ORIGINAL_VAE),
        TEXT_2 if second else TEXT_1: (parts.text, OPEN_CLIP_TEXT if second else TEXT),
    }
    tensors = {
        prefix + name: tensor.clone().contiguous()
        for prefix, (model, kind) in networks.items()
        for name, tensor in to_theirs(model.state_dict(), kind.table(model.config)).items()
    }
    if second:  # a layer more, which is not read, and the last map
        start = f"{TEXT_2}transformer.resblocks."
        tensors |= {
            name.replace(f"{start}1.", f"{start}2."): tensor.clone()
            for name, tensor in tensors.items()
            if name.startswith(f"{start}1.")
        }
        tensors |= {f"{TEXT_2}text_projection": torch.eye(12), f"{TEXT_2}logit_scale": torch.ones(())}
    return tensors | {"betas": torch.ones(3), "model_ema.decay": torch.ones(())}


def test_the_names_are_those_of_the_reference(case):
    """Its converters give the very weights of its folder."""
    folder, _, tensors, second = case
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder / "whole")
    unet = single_file_utils.convert_ldm_unet_checkpoint(dict(tensors), pipeline.unet.config)
    vae = single_file_utils.convert_ldm_vae_checkpoint(dict(tensors), pipeline.vae.config)
    pairs = [(pipeline.unet, unet), (pipeline.vae, vae)]
    if not second:
        pairs.append((pipeline.text_encoder, single_file_utils.convert_ldm_clip_checkpoint(dict(tensors))))
    else:
        text = single_file_utils.convert_open_clip_checkpoint(pipeline.text_encoder, dict(tensors), prefix=TEXT_2)
        pairs.append((pipeline.text_encoder, {name: x for name, x in text.items() if ".2." not in name}))
    for model, state in pairs:
        bare = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
        expected = {name.removeprefix("text_model."): x for name, x in model.state_dict().items()}
        expected = {name: x for name, x in expected.items() if not name.endswith("position_ids")}
        assert bare.keys() - {"text_projection.weight"} == expected.keys()
        assert all(torch.equal(bare[name], tensor) for name, tensor in expected.items())


def test_read(case, caplog):
    folder, expected, _, second = case
    parts = load_single_file(folder / "one/model.safetensors")
    for ours, theirs in ((parts.unet, expected.unet), (parts.vae, expected.vae), (parts.text, expected.text)):
        state = ours.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in theirs.state_dict().items())
        assert state.keys() == theirs.state_dict().keys() and not ours.training
    assert parts.unet.config.heads == expected.unet.config.heads
    assert parts.text.config.stack == expected.text.config.stack and type(parts.vae) is VAE
    assert parts.tokenizer.encode(["a red"]) == expected.tokenizer.encode(["a red"])
    assert (parts.tokenizer.pad == 0) is second
    assert "averaged weights (model_ema), which are not read" in caplog.text
    assert parts.scheduler["_class_name"] == ("DDIMScheduler" if second else "PNDMScheduler")
    painter = formers.load(folder / "one/model.safetensors")
    painter.save(folder / "again")
    again = diffusers.StableDiffusionPipeline.from_pretrained(folder / "again")
    assert torch.equal(again.unet.conv_in.weight, expected.unet.convolution_in.weight)


def test_what_the_unet_predicts(case, tmp_path, caplog):
    """2.x says it in the file or is read as v, and this is said."""
    folder, _, tensors, second = case
    if not second:
        return
    shutil.copytree(folder / "whole/tokenizer", tmp_path / "tokenizer")
    save_file(tensors, tmp_path / "model.safetensors")
    parts = load_single_file(tmp_path / "model.safetensors")
    assert parts.scheduler["prediction_type"] == "v_prediction" and parts.unet.config.size == 96
    assert "does not say what its UNet predicts" in caplog.text


def test_what_is_refused(case, tmp_path, monkeypatch):
    folder, _, tensors, second = case
    if second:
        return
    with pytest.raises(CheckpointError, match="is a pickle, which can run code, so it is not read"):
        (tmp_path / "model.ckpt").touch()
        formers.load(tmp_path / "model.ckpt")
    changes = {
        "is Stable Diffusion XL, which is not read here": {f"{UNET}label_emb.0.0.weight": torch.ones(1)},
        r"unknown|not known to this model \(1\): \+ odd": {f"{UNET}odd": torch.ones(1)},
        r"wrong shape \(1\): out.0.bias \(31,\)": {f"{UNET}out.0.bias": torch.ones(31)},
    }
    for message, change in changes.items():
        save_file(tensors | change, tmp_path / "changed.safetensors")
        with pytest.raises(CheckpointError, match=message):
            load_single_file(tmp_path / "changed.safetensors")
    save_file({"weight": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"is no Stable Diffusion 1.x or 2.x in one file"):
        formers.load(tmp_path / "other.safetensors")
    lost = f"{UNET}middle_block.1.proj_in.weight"
    save_file({name: x for name, x in tensors.items() if name != lost}, tmp_path / "lost.safetensors")
    with pytest.raises(CheckpointError, match=r"has no middle_block.1.proj_in.weight, which every"):
        load_single_file(tmp_path / "lost.safetensors")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    save_file(tensors, tmp_path / "alone.safetensors")
    with pytest.raises(CheckpointError, match=r"holds no tokenizer: put CLIP's vocab.json and merges.txt into"):
        load_single_file(tmp_path / "alone.safetensors")


@pytest.mark.parametrize(
    "unet", [UNetConfig(), UNetConfig(heads=(5, 10, 20, 20), memory_dim=1024, linear=True), UNetConfig(channels=9)]
)
def test_published_sizes(unet):
    """What is said of the networks of 1.5, 2.1 and inpainting, from the shapes of their tensors alone."""
    second = unet.linear
    stack, kind = TEXTS["huge" if second else "large"][0], OPEN_CLIP_TEXT if second else TEXT
    text = TextTowerConfig(stack=replace(stack, layers=23) if second else stack, projection=0)
    with torch.device("meta"):
        models = [(UNetModel(unet), ORIGINAL_UNET), (VAE(VAEConfig()), ORIGINAL_VAE), (TextTower(text), kind)]
        files = [to_theirs(model.state_dict(), kind.table(model.config)) for model, kind in models]
    raws = [about_unet(files[0], ""), about_vae(files[1], ""), about_text(files[2], "", open_clip=second)]
    for (model, kind), raw, tensors in zip(models, raws, files, strict=True):
        assert kind.config.to_ours(raw, tensors, what="") == model.config
    names = [f"{end}.weight" for end in ("input_blocks.10.0.in_layers.2", "output_blocks.2.1.conv", "out.2",
             "output_blocks.8.2.conv", "output_blocks.11.1.transformer_blocks.0.attn2.to_k")]  # fmt: skip
    assert len(files[0]) == 686 and len(files[1]) == 248 and files[0].keys() >= set(names)
