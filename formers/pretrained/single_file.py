"""Stable Diffusion 1.x and 2.x in one safetensors file, as its authors filed it and web interfaces read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from formers.errors import CheckpointError
from formers.files import expanded
from formers.notes import note
from formers.pretrained import hub
from formers.pretrained.diffusers_folder import DiffusionParts, check_parts
from formers.pretrained.family import Family
from formers.pretrained.files import read_metadata, read_safetensors, refuse_pickle, safetensors_names
from formers.pretrained.layouts.latent_diffusion import (
    OPEN_CLIP_TEXT,
    ORIGINAL_UNET,
    ORIGINAL_VAE,
    TEXT,
    about_text,
    about_unet,
    about_vae,
)
from formers.text.open import load_tokenizer
from formers.text.tokenizer import Tokenizer

UNET, VAE = "model.diffusion_model.", "first_stage_model."
TEXT_1, TEXT_2 = "cond_stage_model.transformer.", "cond_stage_model.model."
LAYERS = "transformer.resblocks."
XL = ("conditioner.embedders.", UNET + "label_emb.")
AVERAGE = "model_ema."
TOKENIZER = "openai/clip-vit-large-patch14"  # whose vocabulary is that of all of them
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
PREDICTION = "modelspec.prediction_type"
SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "trained_betas": None,
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "timestep_spacing": "leading",
}


def is_single_file(place: Path) -> bool:
    """Whether a place is a file of weights that is not in a folder's form; its inside is looked at when it is read."""
    return place.suffix == ".safetensors" and place.is_file()


def load_single_file(
    path: str | Path, *, dtype: torch.dtype | None = None, device: str | torch.device | None = None
) -> DiffusionParts:
    """The parts of a file, networks in evaluation mode and in fp32 unless `dtype`.

    The tokenizer is read from a folder `tokenizer` beside it, or from beside it, or fetched, since the file has none.
    Raises CheckpointError for a pickle, for another model, and for every weight that does not fit.
    """
    path = expanded(path)
    refuse_pickle(path)
    refuse_others(path)
    tensors = read_safetensors(path, mapped=False)
    if any(name.startswith(AVERAGE) for name in tensors):
        note(f"{path} also holds averaged weights ({AVERAGE[:-1]}), which are not read, as elsewhere")

    def build(kind: Family, raw: Mapping[str, Any], own: Mapping[str, Tensor], prefix: str) -> Any:
        return kind.build(raw, own, dtype=dtype, what=f"{path}, {prefix[:-1]}").model.to(device=device)

    own = within(tensors, UNET)
    raw = about_unet(own, f"{path}, {UNET[:-1]}")
    second = bool(raw["use_linear_projection"])
    velocity = second and predicts_velocity(path, inpainting=raw["in_channels"] == 9)
    unet = build(ORIGINAL_UNET, {**raw, "sample_size": 96 if velocity else 64}, own, UNET)
    vae = text = tokenizer = None
    if own := {name: x for name, x in within(tensors, VAE).items() if not name.startswith("loss.")}:
        vae = build(ORIGINAL_VAE, about_vae(own, f"{path}, {VAE[:-1]}"), own, VAE)
    for prefix, kind in ((TEXT_1, TEXT), (TEXT_2, OPEN_CLIP_TEXT)):
        if own := last_but_one(within(tensors, prefix)):
            text = build(kind, about_text(own, f"{path}, {prefix[:-1]}", open_clip=prefix == TEXT_2), own, prefix)
            tokenizer = tokenizer_for(path, second=second)
    kind_of_sampler = "DDIMScheduler" if second else "PNDMScheduler"
    prediction = "v_prediction" if velocity else "epsilon"
    scheduler = {"_class_name": kind_of_sampler, **SCHEDULE, "skip_prk_steps": True, "prediction_type": prediction}
    parts = DiffusionParts(unet=unet, vae=vae, text=text, tokenizer=tokenizer, scheduler=scheduler)
    check_parts(parts, str(path))
    return parts


def refuse_others(path: Path) -> None:
    """Raises CheckpointError for a file of another model; no tensor is read."""
    names = safetensors_names(path)
    if any(name.startswith(XL) for name in names):
        raise CheckpointError(f"{path} is Stable Diffusion XL, which is not read here; known: 1.x and 2.x")
    if f"{UNET}input_blocks.0.0.weight" not in names:
        what = f"{path} is no Stable Diffusion 1.x or 2.x in one file (it has no {UNET}input_blocks)"
        raise CheckpointError(f"{what}; name the folder of a model, or a LoRA or learned words beside a model")


def within(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of one part, without its name."""
    return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}


def last_but_one(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A tower of open_clip without its last layer, which 2.x does not read; without its last map, a file lacks it."""
    if "text_projection" not in tensors:
        return tensors
    last = max((int(name.split(".")[2]) for name in tensors if name.startswith(LAYERS)), default=0)
    return {name: x for name, x in tensors.items() if not name.startswith(f"{LAYERS}{last}.")}


def predicts_velocity(path: Path, *, inpainting: bool) -> bool:
    """Whether a 2.x predicts v, as 2.0 and 2.1 of 768 pixels do: as the file says, else so, which is said."""
    stated = read_metadata(path).get(PREDICTION)
    if stated is not None or inpainting:
        return stated in ("v", "v_prediction")
    what = f"{path} does not say what its UNet predicts ({PREDICTION}): read as v, as Stable Diffusion 2.1 does"
    note(f"{what}; a model that predicts noise (2.x-base) needs a folder whose scheduler_config.json says so")
    return True


def tokenizer_for(path: Path, *, second: bool) -> Tokenizer:
    """CLIP's tokenizer; 2.x fills texts up with token 0. Raises CheckpointError where it is neither here nor there."""
    for folder in (path.parent / "tokenizer", path.parent):
        if (tokenizer := load_tokenizer(folder, {"model_type": "clip_text_model"})) is not None:
            break
    else:
        try:
            folder = hub.fetch(TOKENIZER, only=TOKENIZER_FILES)
        except CheckpointError as fault:
            what = f"{path} holds no tokenizer: put CLIP's vocab.json and merges.txt into {path.parent / 'tokenizer'}"
            raise CheckpointError(f"{what} ({fault})") from fault
        tokenizer = load_tokenizer(folder, {"model_type": "clip_text_model"})
        if tokenizer is None:
            raise CheckpointError(f"{folder} has no vocab.json and merges.txt; delete it and fetch it again")
    if second:
        tokenizer.pad = 0
    return tokenizer
