"""Whatever can be read as a model: a folder of one network, one of diffusers with several, or all of them in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from formers.adapters.lora import add
from formers.files import expanded, read_json
from formers.models.diffusion import LatentDiffusion
from formers.pretrained.diffusers_folder import is_diffusers_folder, load_diffusers
from formers.pretrained.load import load_model, model_class
from formers.pretrained.loaded import Loaded
from formers.pretrained.peft.adapters import PEFT, Adapter, base_of
from formers.pretrained.peft.diffusion_lora import WEIGHTS as LORA
from formers.pretrained.peft.diffusion_lora import read_diffusion_lora
from formers.pretrained.peft.shapes import AdapterShape
from formers.pretrained.single_file import is_single_file, load_single_file


def load_source(
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    allow_bin: bool = False,
    ignore_keys: Sequence[str] = (),
) -> Loaded:
    """As `load_model`; of a diffusers folder the parts are one LatentDiffusion, scheduler and index its config.

    So are those of Stable Diffusion in one safetensors file; of a folder with a LoRA of diffusers, which says whose it
    is, they have it within their weights.
    """
    folder = expanded(folder)
    if (folder / LORA).is_file():
        adapter = Adapter(folder, read_json(folder / PEFT[0], AdapterShape), folder / LORA)
        base = load_source(base_of(adapter, allow_bin=allow_bin), dtype=dtype, device=device)
        assert isinstance(base.model, LatentDiffusion)
        models = {"unet": base.model.unet, "text_encoder": base.model.text}
        networks = {name: model for name, model in models.items() if model is not None}
        for name, added in read_diffusion_lora(folder / LORA, networks).items():
            add(networks[name], added)
        return replace(base, folder=folder)
    if is_single_file(folder):
        parts = load_single_file(folder, dtype=dtype, device=device)
    elif is_diffusers_folder(folder):
        parts = load_diffusers(folder, dtype=dtype, device=device)
    else:
        return load_model(folder, dtype=dtype, device=device, allow_bin=allow_bin, ignore_keys=ignore_keys)
    model = LatentDiffusion(parts.unet, parts.vae, parts.text).eval()
    return Loaded(model, "diffusers", {"scheduler": parts.scheduler, "index": parts.index}, parts.tokenizer, folder)


def source_class(place: Path) -> type[nn.Module]:
    """The class of the model that `load_source` gives; no tensor is read."""
    several = is_diffusers_folder(place) or is_single_file(place) or (place / LORA).is_file()
    return LatentDiffusion if several else model_class(place)
