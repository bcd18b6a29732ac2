"""A tiny pipeline of Stable Diffusion as the reference makes it, its weights random."""

import json

import diffusers
import torch
import transformers

from formers.text.clip_tokenizer import END, byte_letters


def tiny_pipeline(folder, unet=None, vae=None, text=None):
    """The parts together; files of the tokenizer lie in `folder`; unet, vae, text: other settings."""
    torch.manual_seed(3)
    letters = byte_letters()
    pieces = [*letters, *(letter + END for letter in letters), "re", f"red{END}", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text(f"#version: 0.2\nr e\nre d{END}\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    settings = {
        "vocab_size": len(pieces),
        "hidden_size": 12,
        "intermediate_size": 20,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "bos_token_id": len(pieces) - 2,
        "eos_token_id": len(pieces) - 1,
        "pad_token_id": len(pieces) - 1,
    }
    tower = transformers.CLIPTextModel(transformers.CLIPTextConfig(**settings | (text or {})))
    settings = {
        "block_out_channels": (8, 16),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 12,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
        "sample_size": 8,
    }
    network = diffusers.UNet2DConditionModel(**settings | (unet or {}))
    settings = {
        "block_out_channels": (8, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 4,
    }
    coder = diffusers.AutoencoderKL(**settings | (vae or {}))
    scheduler = diffusers.PNDMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, skip_prk_steps=True, steps_offset=1
    )
    return diffusers.StableDiffusionPipeline(
        coder, tower, tokenizer, network, scheduler, None, None, requires_safety_checker=False
    )
