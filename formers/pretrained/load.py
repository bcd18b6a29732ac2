"""Loading and saving a model folder: config and weights through the family's table, the tokenizer too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from formers.errors import CheckpointError
from formers.files import Content, as_json, expanded
from formers.images.preprocess import Preprocessor, load_preprocessor
from formers.models.clip import CLIP, TextTower
from formers.models.encoder import Encoder
from formers.models.heads import body
from formers.notes import note
from formers.pretrained.express import express, settings_of
from formers.pretrained.families import FAMILIES, family, family_of_class, guess_type
from formers.pretrained.family import CLASS, Family
from formers.pretrained.files import (
    CONFIG,
    DIFFUSION,
    GENERATION,
    WEIGHTS,
    half,
    index_file,
    read_config,
    read_weights,
    weight_files,
    weight_names,
    whole_file,
    write_folder,
)
from formers.pretrained.foreign import settle
from formers.pretrained.loaded import Loaded, check_vocabulary, read_system, system_file
from formers.pretrained.peft.adapters import base_of, is_adapter, load_adapted, read_adapter
from formers.pretrained.peft.heads import adapted_family
from formers.pretrained.provenance import Provenance, provenance_of, remember
from formers.pretrained.sentence_folder import body_folder
from formers.sound.features import FeatureExtractor, load_extractor
from formers.text.chat import load_template
from formers.text.open import load_tokenizer
from formers.text.tokenizer import Tokenizer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TOKENIZER_CONFIG = "tokenizer_config.json"
SHARD = 5 * 10**9  # bytes in one file of weights, as other libraries write them


def load_model(
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    allow_bin: bool = False,
    ignore_keys: Sequence[str] = (),
) -> Loaded:
    """A model folder (ours, or a published one) or .gguf file as our model in evaluation mode, fp32 unless `dtype`.

    ignore_keys: keys of config.json, or of the file of its pictures, that change nothing, though they are not computed
    here. What a user should know of the folder is said, and stands in `notes`. Raises CheckpointError, one line that
    names the file or lists every weight that does not fit.
    """
    folder = expanded(folder)
    if folder.suffix == ".gguf" and not folder.is_dir():
        from formers.pretrained.gguf.load import load_gguf

        return load_gguf(folder, dtype=dtype, device=device)
    if is_adapter(folder):
        loaded = load_adapted(folder, partial(load_model, ignore_keys=ignore_keys), allow_bin=allow_bin)
        if dtype is not None:
            family_of_class(loaded.family, type(loaded.model)).narrow(loaded.model, dtype)
        return replace(loaded, model=loaded.model.to(device=device))
    place, plain = body_folder(folder)
    raw, generation = read_config(place)
    model_type, architectures, notes = type_and_head(raw, place, plain)
    kind = family(model_type, architectures, stored_names(place))
    settled, more = settle(raw, kind, ignore_keys, str(place / CONFIG))  # said before the weights are read
    tensors = read_weights(place, allow_bin=allow_bin)
    kind = family(model_type, architectures, tensors)
    built = kind.build(settled, tensors, dtype=dtype, what=str(place))
    notes = [*notes, *more, *unread_note(place, kind, built.unread, plain or bool(architectures))]
    given = {key: value for key, value in raw.items() if value is not None}
    config = {**kind.generation, **given, "model_type": model_type, **generation}
    tokenizer = load_tokenizer(place, config)
    check_vocabulary(tokenizer, built.model, folder)
    fit_padding(tokenizer, built.model)
    model = built.model if device is None else built.model.to(device)
    remember(model, Provenance(model_type, raw, generation))
    for text in notes:
        note(text)
    return Loaded(
        model,
        kind.model_type,
        config,
        tokenizer,
        folder,
        built.prefix,
        load_template(folder),
        read_system(folder),
        tuple(notes),
        generation,
        load_preprocessor(place, raw, ignore_keys),
        load_extractor(place, raw, ignore_keys),
    )


def fit_padding(tokenizer: Tokenizer | None, model: nn.Module) -> None:
    """Let a tower that reads padding have the tokenizer's: files of SigLIP 2 do not say that it is another."""
    tower = tower_of(model)
    if tower is not None and not tower.config.causal and tokenizer is not None and tokenizer.pad is not None:
        tower.config = replace(tower.config, pad=tokenizer.pad)
        if isinstance(model, CLIP):
            model.config = replace(model.config, text=tower.config)


def stored_names(place: Path) -> list[str] | None:
    """The names of the weights of a folder, None where only reading them would tell."""
    return list(weight_names(place)) if index_file(place) or whole_file(place) else None


def unread_note(place: Path, kind: Family, names: Sequence[str], chosen: bool) -> list[str]:
    """What is said of learned weights that the model has no place for; chosen: the folder says which head is meant."""
    if not names:
        return []
    parts = dict.fromkeys(".".join(name.split(".")[:2]) for name in names)
    hint = "" if chosen else f'; {place / CONFIG} names no "architectures", which would say that they are to be read'
    what = f"{place} also holds {', '.join(parts)}, which {kind.model.__name__} does not have"
    return [f"{what}: not read, and not written when it is saved{hint}"]


def model_class(place: Path) -> type[nn.Module]:
    """The class of the model that `load_model` gives of a folder or .gguf file; no tensor is read."""
    return model_family(place).model


def model_family(place: Path) -> Family:
    """The family of a folder or .gguf file: what its config says, and the names of its weights."""
    if is_gguf_file(place):
        from formers.pretrained.gguf.load import gguf_family

        return gguf_family(place)
    if is_adapter(place):
        adapter = read_adapter(place)
        return adapted_family(place, adapter.raw, adapter.names, model_family(base_of(adapter)))
    place, plain = body_folder(place)
    raw, _ = read_config(place)
    model_type, architectures, _ = type_and_head(raw, place, plain)
    return family(model_type, architectures, stored_names(place))


def is_gguf_file(place: Path) -> bool:
    return place.suffix == ".gguf" and not place.is_dir()


def type_and_head(raw: Mapping[str, Any], place: Path, plain: bool) -> tuple[str, tuple[str, ...], list[str]]:
    """model_type and architectures of a config.json, and a note where the type is guessed from the architectures.

    plain: only the body is wanted, whatever head that names.
    """
    architectures = tuple(raw.get("architectures") or ())
    model_type, notes = raw.get("model_type") or raw.get(CLASS), []
    if model_type is None and (name := raw.get("architecture")):  # timm's files call it so
        from formers.pretrained.families.timm import type_of

        return type_of(name, str(place / CONFIG)), (), []
    if model_type is None:
        model_type = guess_type(architectures)
        if model_type is None:
            example, known = '"model_type": "bert"', ", ".join(name for name in FAMILIES if "formers-" not in name)
            what = f"{place / CONFIG} has no model_type; add the line {example} with the type that it is"
            raise CheckpointError(f"{what}; known: {known}")
        notes = [f"{place / CONFIG} has no model_type; read as {model_type}, as its architectures say"]
    return model_type, () if plain else architectures, notes


def save_model(
    folder: str | Path,
    model: nn.Module,
    *,
    tokenizer: Tokenizer | None = None,
    preprocessor: Preprocessor | FeatureExtractor | None = None,
    generation: Mapping[str, Any] | None = None,
    family: str | None = None,
    extra: Mapping[str, Content] | None = None,
    settings: Mapping[str, Any] | None = None,
    system: str | None = None,
    shard_bytes: int = SHARD,
) -> Path:
    """Write a folder that other libraries open too, all or nothing; gives its path.

    The layout is the first family that expresses the model exactly (`family` demands one), else our own.
    `preprocessor`: how media are read. `generation`: token ids and decoding defaults; missing ids come from the
    tokenizer. `extra`: more files, bytes or writers. `settings`: more keys of config.json. `system`: the name of the
    system that the model is for. Weights over `shard_bytes` become several files and an index.
    Raises CheckpointError when no layout fits or the folder cannot be written.
    """
    check_vocabulary(tokenizer, model, Path(folder))
    files = network_files(model, tokenizer, generation, family, settings, shard_bytes=shard_bytes)
    files.update(system_file(system))
    if tokenizer is not None:
        files.update(tokenizer_files(tokenizer, model))
    if preprocessor is not None:
        files.update(preprocessor.files())
    return write_folder(folder, {**files, **(extra or {})})


def network_files(
    model: nn.Module,
    tokenizer: Tokenizer | None = None,
    generation: Mapping[str, Any] | None = None,
    family: str | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    shard_bytes: int = SHARD,
    fp16: bool = False,
) -> dict[str, Content]:
    """Config and weights of a model by the names of their files; fp16: so many bits, which the name says.

    Raises CheckpointError as `save_model`.
    """
    kind, raw, tensors = express(model, family, tokenizer, generation)
    generation, before = settings_of(model, kind, tokenizer, generation), provenance_of(model)
    if before is not None:
        raw = before.config_of(kind, raw)
    raw.update(settings or {})
    name = DIFFUSION if kind.diffusers else WEIGHTS
    if fp16:
        tensors, name = {key: x.half() if x.is_floating_point() else x for key, x in tensors.items()}, half(name)
    weights = weight_files(tensors, shard_bytes, name)
    if kind.diffusers:
        return {CONFIG: as_json(raw), **weights}
    raw["dtype"] = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    return {CONFIG: as_json(raw), GENERATION: as_json(generation), **weights}


def tokenizer_files(tokenizer: Tokenizer, model: nn.Module) -> dict[str, bytes]:
    """The files of a tokenizer; beside an encoder or a tower they also say its length and what it takes."""
    files, encoder = tokenizer.files(), body(model) or tower_of(model)
    if encoder is None or TOKENIZER_CONFIG not in files:
        return files
    settings = json.loads(files[TOKENIZER_CONFIG])
    length = settings.get("model_max_length", encoder.config.length)
    segments = isinstance(encoder, Encoder) and encoder.config.segments > 1
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    settings |= {
        "model_max_length": min(length, encoder.config.length),
        "model_input_names": inputs if segments else inputs[::2],
    }
    return {**files, TOKENIZER_CONFIG: as_json(settings)}


def tower_of(model: nn.Module) -> TextTower | None:
    """The tower that reads texts; None for another model."""
    tower = model.text if isinstance(model, CLIP) else model
    return tower if isinstance(tower, TextTower) else None
