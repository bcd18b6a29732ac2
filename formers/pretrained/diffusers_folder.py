"""Folders of diffusers: model_index.json names the parts of Stable Diffusion, a folder each.

    model_index.json · unet/ · vae/ · text_encoder/ · tokenizer/ · scheduler/scheduler_config.json

What is written here opens in that library too, and in others that read its folders.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from formers.errors import CheckpointError, shown
from formers.files import Content, as_json, expanded, leads_out, parse_json, read_json, read_source
from formers.models.clip import TextTower
from formers.models.unet import UNet
from formers.models.vae import VAE, TinyVAE
from formers.notes import note
from formers.pretrained.family import CLASS
from formers.pretrained.files import CONFIG, write_folder
from formers.pretrained.load import load_model, network_files, tokenizer_files
from formers.text.open import load_tokenizer
from formers.text.tokenizer import Tokenizer

INDEX, SCHEDULER = "model_index.json", "scheduler/scheduler_config.json"
PIPELINE, INPAINTING = "StableDiffusionPipeline", "StableDiffusionInpaintPipeline"
# The networks that are read, and what each must be
MODELS: dict[str, tuple[type[nn.Module], ...]] = {"unet": (UNet,), "vae": (VAE, TinyVAE), "text_encoder": (TextTower,)}
UNREAD = ("safety_checker", "feature_extractor", "image_encoder")  # of pictures that come out, or of other prompts
NEEDED = ("unet", "scheduler")
KNOWN = (*MODELS, "tokenizer", "scheduler")
NO_SCHEDULER = {CLASS: "DDIMScheduler"}


@dataclass(frozen=True, kw_only=True)
class DiffusionParts:
    """The parts of latent diffusion; without `vae` it works on pixels, without `text` it reads none."""

    unet: UNet
    vae: VAE | TinyVAE | None = None
    text: TextTower | None = None
    tokenizer: Tokenizer | None = None
    scheduler: Mapping[str, Any] = field(default_factory=lambda: NO_SCHEDULER)
    """scheduler_config.json as it is: how the UNet was trained, and how it is sampled from."""
    index: Mapping[str, Any] = field(default_factory=dict)
    """What model_index.json says beside the parts, the class of the pipeline among it."""

    def models(self) -> Iterator[tuple[str, nn.Module]]:
        """The networks by the names of their folders."""
        for name, model in (("unet", self.unet), ("vae", self.vae), ("text_encoder", self.text)):
            if model is not None:
                yield name, model


def is_diffusers_folder(folder: Path) -> bool:
    """Whether a folder has parts of diffusion in it."""
    return (folder / INDEX).is_file()


def load_diffusers(
    folder: str | Path, *, dtype: torch.dtype | None = None, device: str | torch.device | None = None
) -> DiffusionParts:
    """The parts of a folder, networks in evaluation mode and in fp32 unless `dtype`; weights in fp16 alone are read.

    What checks the pictures that come out (safety_checker) is not read, which is said. Raises CheckpointError for a
    part that is missing, is none of those that are known here, or does not fit the others.
    """
    folder = expanded(folder)
    index = read_json(folder / INDEX)
    parts = {name: entry for name, entry in index.items() if isinstance(entry, list)}
    named = {name: class_of(folder, name, entry) for name, entry in parts.items()}
    present = {name: kind for name, kind in named.items() if kind}
    if strange := [f"{name} ({kind})" for name, kind in present.items() if name not in (*KNOWN, *UNREAD)]:
        what = f"{folder / INDEX} names {shown(', '.join(strange))[1:-1]}"
        raise CheckpointError(f"{what}, which is not read here; known: {', '.join(KNOWN)}")
    for name in {**present, **dict.fromkeys(NEEDED, "")}:
        if name in UNREAD:
            continue
        if name not in present:
            raise CheckpointError(f"{folder / INDEX} names no {name}, which every such model has; get the folder again")
        if leads_out(folder / name, folder) or not (folder / name).is_dir():
            what = f"{folder} has no folder {name}, which its {INDEX} names ({present[name]})"
            raise CheckpointError(f"{what}; get this part again")
    models: dict[str, Any] = {}
    for name, kinds in MODELS.items():
        if name in present:
            models[name] = load_model(folder / name, dtype=dtype, device=device).model
            if not isinstance(models[name], kinds):
                got, expected = type(models[name]).__name__, " or ".join(kind.__name__ for kind in kinds)
                raise CheckpointError(f"{folder / name} is a {got}, expected a {expected}")
    tokenizer = None
    if "tokenizer" in present:
        tokenizer = load_tokenizer(folder / "tokenizer", {"model_type": "clip_text_model"})
        if tokenizer is None:
            raise CheckpointError(f"{folder / 'tokenizer'} has no tokenizer.json, nor vocab.json and merges.txt")
    if unread := [name for name in UNREAD[:1] if name in present]:
        note(f"{folder}: {unread[0]} is not read here; pictures are given as they are painted")
    loaded = DiffusionParts(
        unet=models["unet"],
        vae=models.get("vae"),
        text=models.get("text_encoder"),
        tokenizer=tokenizer,
        scheduler=read_settings(folder / SCHEDULER),
        index={key: value for key, value in index.items() if key not in parts},
    )
    check_parts(loaded, str(folder))
    return loaded


def class_of(folder: Path, name: str, entry: Any) -> str:
    """The class of a part, "" for one that is left empty. Raises CheckpointError for an entry that is no part."""
    if len(entry) != 2 or not all(word is None or isinstance(word, str) for word in entry):
        what = f"{folder / INDEX}: {shown(name)} is {shown(entry)}"
        raise CheckpointError(f"{what}, expected the names of a library and a class")
    return entry[1] or ""


def read_settings(path: Path) -> dict[str, Any]:
    """scheduler_config.json; its writer puts down bounds that are infinite, which is not JSON, and means none."""
    if not path.exists():
        raise CheckpointError(f"{path.parent} has no {path.name}")
    text = read_source(path).replace("-Infinity", "null")
    settings: dict[str, Any] = parse_json(text, dict[str, Any], str(path))
    return settings


def check_parts(parts: DiffusionParts, where: str) -> None:
    """Raises CheckpointError for parts that do not go together, with their sizes."""
    unet, vae, text = parts.unet.config, parts.vae, parts.text
    if text is not None and unet.memory_dim != text.config.stack.dim:
        what = f"the unet of {where} reads texts of {unet.memory_dim} numbers"
        raise CheckpointError(f"{what}, but its text_encoder gives {text.config.stack.dim}")
    if vae is not None and unet.out_channels != vae.config.latent_channels:
        what = f"the unet of {where} gives latents of {unet.out_channels} channels"
        raise CheckpointError(f"{what}, but its vae reads {vae.config.latent_channels}")
    if parts.tokenizer is not None and text is not None and parts.tokenizer.vocab > text.config.vocab:
        what = f"the tokenizer of {where} has {parts.tokenizer.vocab:,} ids"
        raise CheckpointError(f"{what}, but its text_encoder {text.config.vocab:,}")


def save_diffusers(folder: str | Path, parts: DiffusionParts, *, fp16: bool = False) -> Path:
    """Write a folder that opens in diffusers, all or nothing; gives its path.

    fp16: weights of so many bits, in files whose names say so. Networks that diffusers has no word for (a UNet that
    reads no text) are written in our own layout, for us alone. Raises CheckpointError for parts that do not go
    together.
    """
    check_parts(parts, str(folder))
    files: dict[str, Content] = {SCHEDULER: as_json(parts.scheduler)}
    inpainting = parts.unet.config.channels == 2 * parts.unet.config.out_channels + 1
    index: dict[str, Any] = {CLASS: INPAINTING if inpainting else PIPELINE, **parts.index}
    index |= {"requires_safety_checker": False, **{name: [None, None] for name in (*KNOWN, *UNREAD)}}
    index["scheduler"] = ["diffusers", parts.scheduler[CLASS]]
    for name, model in parts.models():
        # its ids go into the config of a tower that knows its end; old ones have an id there that nobody reads
        reads = parts.tokenizer if isinstance(model, TextTower) and model.config.end is not None else None
        written = network_files(model, reads, fp16=fp16)
        files |= {f"{name}/{file}": content for file, content in written.items()}
        index[name] = entry_of(written[CONFIG])
    if parts.tokenizer is not None:
        written = {**tokenizer_files(parts.tokenizer, parts.text or parts.unet)}
        files |= {f"tokenizer/{file}": content for file, content in written.items()}
        own = parts.tokenizer.bos is None  # CLIP's begins a text with a token, word pieces have none of that kind
        index["tokenizer"] = ["transformers", "PreTrainedTokenizerFast" if own else "CLIPTokenizer"]
    return write_folder(folder, {**files, INDEX: as_json(index)})


def entry_of(config: Content) -> list[str]:
    """Library and class of a network, from its config.json: of diffusers, of transformers, or of our own layout."""
    assert isinstance(config, bytes)
    raw = json.loads(config)
    if CLASS in raw:
        return ["diffusers", raw[CLASS]]
    return ["formers" if raw["model_type"].startswith("formers-") else "transformers", raw["architectures"][0]]
