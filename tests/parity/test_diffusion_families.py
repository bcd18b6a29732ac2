"""Parity of diffusion: a reference with every parameter random -> our load -> equal outputs, odd sizes too -> our save
-> it loads -> equal again; the published sizes, counted."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from formers.errors import CheckpointError
from formers.models.clip import TEXTS, TextTower, TextTowerConfig
from formers.models.unet import UNet, UNetConfig
from formers.models.vae import VAE, TinyVAE, TinyVAEConfig, VAEConfig
from formers.pretrained.load import load_model, save_model

diffusers = pytest.importorskip("diffusers")

CROSS = {
    "block_out_channels": (8, 16, 24),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 10,
    "norm_num_groups": 4,
    "attention_head_dim": 2,
}
CODER = {
    "block_out_channels": (8, 16, 24),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "norm_num_groups": 4,
}
TINY = {"num_encoder_blocks": (1, 2), "num_decoder_blocks": (2, 1)}
TINY |= {f"{coder}_block_out_channels": (6, 6) for coder in ("encoder", "decoder")}
UNETS = {
    "1.x": CROSS,
    "2.x": CROSS | {"attention_head_dim": (1, 2, 3), "use_linear_projection": True, "upcast_attention": True},
    "inpainting": CROSS | {"in_channels": 9, "layers_per_block": 1},
    "classes": CROSS | {"num_class_embeds": 5, "sample_size": 12},
    "pooled": CROSS | {"addition_embed_type": "text", "addition_embed_type_num_heads": 5},
    "consistency": CROSS | {"time_cond_proj_dim": 6},
}
CODERS = {
    "kl": ("AutoencoderKL", CODER | {"layers_per_block": 2}),
    "grey": ("AutoencoderKL", CODER | {"in_channels": 1, "out_channels": 1, "latent_channels": 3}),
    "tiny": ("AutoencoderTiny", TINY),
}


def randomised(model):
    torch.manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            around = "norm" in name and name.endswith("weight")
            parameter.copy_(torch.randn_like(parameter) * 0.3 / max(1, parameter[0].numel() / 16) ** 0.5 + around)
    return model.eval()


def their_prediction(model, latents, times, memory, guidance):
    classes = torch.arange(len(latents)) if model.config.num_class_embeds else None
    with torch.no_grad():
        return model(latents, times, memory, class_labels=classes, timestep_cond=guidance).sample


def our_prediction(model, latents, times, memory, guidance):
    classes = torch.arange(len(latents)) if model.config.classes else None
    with torch.no_grad():
        return model(latents, times, memory, classes=classes, guidance=guidance)


@pytest.mark.parametrize("case", UNETS)
def test_unet(case, tmp_path):
    reference = randomised(diffusers.UNet2DConditionModel(**UNETS[case]))
    reference.save_pretrained(tmp_path / "theirs")
    loaded = load_model(tmp_path / "theirs")
    assert type(loaded.model) is UNet and not loaded.notes
    save_model(tmp_path / "ours", loaded.model)
    before, after = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("theirs", "ours"))
    assert before | after == before
    again = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "ours")
    guidance = torch.randn(3, 6) if case == "consistency" else None
    for size, times in (((8, 12), torch.tensor([1, 500, 999])), ((7, 9), 37), ((5, 6), torch.tensor([0.5, 3.25, 999]))):
        latents, memory = torch.randn(3, reference.config.in_channels, *size), torch.randn(3, 7, 10)
        prediction = our_prediction(loaded.model, latents, times, memory, guidance)
        for source in (reference, again):
            expected = their_prediction(source, latents, times, memory, guidance)
            torch.testing.assert_close(prediction, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("case", CODERS)
def test_autoencoder(case, tmp_path):
    name, config = CODERS[case]
    reference = randomised(getattr(diffusers, name)(**config))
    reference.save_pretrained(tmp_path / "theirs")
    model = load_model(tmp_path / "theirs").model
    save_model(tmp_path / "ours", model)
    again = getattr(diffusers, name).from_pretrained(tmp_path / "ours")
    for size in ((16, 24), (19, 13)):
        pictures = torch.rand(2, model.config.channels, *size) * 2 - 1
        with torch.no_grad():
            for source in (reference, again):
                if case == "tiny":
                    latents = source.encode(pictures).latents
                    torch.testing.assert_close(model.encode(pictures), latents, atol=1e-4, rtol=1e-4)
                else:
                    posterior, (mean, logvar) = source.encode(pictures).latent_dist, model.encode(pictures)
                    latents = posterior.mean
                    torch.testing.assert_close(mean, latents, atol=1e-4, rtol=1e-4)
                    torch.testing.assert_close(logvar, posterior.logvar, atol=1e-4, rtol=1e-4)
                torch.testing.assert_close(model.decode(latents), source.decode(latents).sample, atol=1e-4, rtol=1e-4)


def test_attention_of_published_autoencoders(tmp_path):
    """Their names are those of an older version."""
    reference = randomised(diffusers.AutoencoderKL(**CODER))
    reference.save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
        tensors = {name.replace(f"attentions.0.{new}", f"attentions.0.{old}"): x for name, x in tensors.items()}
    save_file(tensors, path)
    pictures = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        expected = reference.encode(pictures).latent_dist.mean
        torch.testing.assert_close(load_model(tmp_path).model.encode(pictures)[0], expected, atol=1e-4, rtol=1e-4)


def test_shards_and_half_numbers(tmp_path):
    reference = randomised(diffusers.UNet2DConditionModel(**CROSS)).half()
    reference.save_pretrained(tmp_path / "half", variant="fp16")
    reference.save_pretrained(tmp_path / "shards", max_shard_size="50KB")
    models = [load_model(tmp_path / name).model for name in ("half", "shards")]
    assert next(models[0].parameters()).dtype == torch.float32
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)
    save_model(tmp_path / "ours", models[0], shard_bytes=50_000)
    again = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "ours")
    assert all(torch.equal(x, again.state_dict()[name].half()) for name, x in reference.state_dict().items())


def test_published_sizes():
    """Stable Diffusion 1.5, 2.1, the inpainting model, both of their autoencoders, the towers of 1.5 and 2.1."""
    first, second = (TEXTS[name][0] for name in ("large", "huge"))
    with torch.device("meta"):
        models = [
            UNet(UNetConfig()),
            UNet(UNetConfig(heads=(5, 10, 20, 20), memory_dim=1024, linear=True)),
            UNet(UNetConfig(channels=9)),
            VAE(VAEConfig()),
            TinyVAE(TinyVAEConfig()),
            TextTower(TextTowerConfig(stack=first, projection=0)),
            TextTower(TextTowerConfig(stack=replace(second, layers=23), projection=0)),
        ]
    counts = [sum(parameter.numel() for parameter in model.parameters()) for model in models]
    towers = [123_060_480, 340_387_840]
    assert counts == [859_520_964, 865_910_724, 859_535_364, 83_653_863, 2_445_063, *towers]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"class_embed_type": "timestep"}, "class_embed_type"),
        ({"addition_embed_type": "text_time"}, "addition_embed_type = .text_time., but none or text is computed"),
        ({"down_block_types": ["AttnDownBlock2D"] * 3}, "down_block_types"),
        ({"transformer_layers_per_block": [1, 2, 10]}, "transformer_layers_per_block"),
        ({"block_out_channels": [9, 16, 24]}, "multiples of groups"),
        ({"resnet_time_scale_shift": "scale_shift"}, "resnet_time_scale_shift"),
    ],
)
def test_what_is_not_computed_is_refused(changed, message, tmp_path):
    diffusers.UNet2DConditionModel(**CROSS).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path)
