"""Tiny folders of Stable Diffusion with random weights, as the reference writes them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from formers.text.clip_tokenizer import END, byte_letters

DIM = 12


def randomise(model: torch.nn.Module, spread: float = 0.1) -> torch.nn.Module:
    """Every parameter anew: those that scale around 1."""
    for name, weight in model.named_parameters():
        torch.nn.init.normal_(weight, 1.0 if "norm" in name and name.endswith("weight") else 0.0, spread)
    return model.eval()


def write(
    folder: Path,
    *,
    inpainting: bool = False,
    guidance_dim: int | None = None,
    scheduler: str = "PNDMScheduler",
    **settings,
) -> Path:
    """A folder of pictures of 64 pixels; the UNet of `inpainting` reads nine channels."""
    import diffusers
    import transformers

    torch.manual_seed(3)
    folder.mkdir(parents=True, exist_ok=True)
    letters = byte_letters()
    pieces = [*letters, *(letter + END for letter in letters), "re", f"red{END}", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text(f"#version: 0.2\nr e\nre d{END}\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(pieces), hidden_size=DIM, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
            bos_token_id=len(pieces) - 2, eos_token_id=len(pieces) - 1, pad_token_id=len(pieces) - 1,
        )
    )  # fmt: skip
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), layers_per_block=1,
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=DIM, attention_head_dim=2,
        norm_num_groups=4, sample_size=8, in_channels=9 if inpainting else 4,
        time_cond_proj_dim=guidance_dim,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8,) * 4, down_block_types=("DownEncoderBlock2D",) * 4, norm_num_groups=4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1,
    )  # fmt: skip
    keys = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    if scheduler == "PNDMScheduler":
        keys["skip_prk_steps"] = True
    kind = diffusers.StableDiffusionInpaintPipeline if inpainting else diffusers.StableDiffusionPipeline
    pipeline = kind(
        randomise(vae, 0.2), randomise(text), tokenizer, randomise(unet, 0.2),
        getattr(diffusers, scheduler)(**keys, **settings), None, None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder / "model")
    return folder / "model"
