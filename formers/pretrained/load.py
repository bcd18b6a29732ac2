"""Loading and saving a model folder: config and weights through the family's table, the tokenizer too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from formers.errors import CheckpointError
from formers.files import Content, as_json
from formers.models.heads import body
from formers.models.transformer import Transformer
from formers.pretrained.adapters import is_adapter, load_adapted
from formers.pretrained.families import families, family
from formers.pretrained.family import Family
from formers.pretrained.fields import GENERATION as GENERATION_KEYS
from formers.pretrained.files import CONFIG, GENERATION, read_config, read_weights, weight_files, write_folder
from formers.pretrained.sentence_folder import body_folder
from formers.text.chat import ChatTemplate, load_template
from formers.text.tokenizer import Tokenizer, load_tokenizer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Token ids that old readers look for in config.json and new ones in generation_config.json
IDS = (
    "pad_token_id",
    "eos_token_id",
    "bos_token_id",
    "decoder_start_token_id",
    "forced_eos_token_id",
    "forced_bos_token_id",
)
TOKENIZER_CONFIG = "tokenizer_config.json"
SHARD = 5 * 10**9  # bytes in one file of weights, as other libraries write them


@dataclass(frozen=True)
class Loaded:
    model: nn.Module
    family: str
    """Its model_type."""
    config: dict[str, Any]
    """config.json with generation_config.json over it."""
    tokenizer: Tokenizer | None
    folder: Path
    """Where it was read: a folder, or a .gguf file."""
    prefix: str = ""
    """The change of prefix that the weight names needed, as in `Family.prefixes`."""
    template: ChatTemplate | None = None
    """How conversations are written; its `files()` go into `save_model`'s `extra`."""

    @property
    def generation(self) -> dict[str, Any]:
        """Token ids and decoding defaults alone: what `save_model` takes as `generation`."""
        return {key: value for key, value in self.config.items() if key in GENERATION_KEYS}


def load_model(
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    allow_bin: bool = False,
) -> Loaded:
    """A model folder (ours, or a published one) or .gguf file as our model in evaluation mode, fp32 unless `dtype`.

    Raises CheckpointError, one line that names the file or lists every weight that does not fit.
    """
    folder = Path(folder).expanduser()
    if folder.suffix == ".gguf" and not folder.is_dir():
        from formers.pretrained.gguf import load_gguf

        return load_gguf(folder, dtype=dtype, device=device)
    if is_adapter(folder):
        loaded = load_adapted(folder, allow_bin=allow_bin)
        return replace(loaded, model=loaded.model.to(device=device, dtype=dtype or torch.float32))
    place, plain = body_folder(folder)
    raw, generation = read_config(place)
    if "model_type" not in raw:
        raise CheckpointError(f"{place / CONFIG} has no model_type")
    families(raw["model_type"])  # a type that is not known is told before the weights are read
    tensors = read_weights(place, allow_bin=allow_bin)
    kind = family(raw["model_type"], () if plain else raw.get("architectures") or (), tensors)
    model, prefix = kind.build(raw, tensors, dtype=dtype, what=str(place))
    given = {key: value for key, value in raw.items() if value is not None}
    config = {**kind.generation, **given, **generation}
    tokenizer = load_tokenizer(place, config)
    check_vocabulary(tokenizer, model, folder)
    model = model if device is None else model.to(device)
    return Loaded(model, kind.model_type, config, tokenizer, folder, prefix, load_template(folder))


def save_model(
    folder: str | Path,
    model: nn.Module,
    *,
    tokenizer: Tokenizer | None = None,
    generation: Mapping[str, Any] | None = None,
    family: str | None = None,
    extra: Mapping[str, Content] | None = None,
    settings: Mapping[str, Any] | None = None,
    shard_bytes: int = SHARD,
) -> Path:
    """Write a folder that other libraries open too, all or nothing; gives its path.

    The layout is the first family that expresses the model exactly (`family` demands one), else our own.
    `generation`: token ids and decoding defaults; missing ids come from the tokenizer. `extra`: more files,
    bytes or writers. `settings`: more keys of config.json. Weights over `shard_bytes` become several files and an
    index.
    Raises CheckpointError when no layout fits or the folder cannot be written.
    """
    check_vocabulary(tokenizer, model, Path(folder))
    kind, raw, tensors = express(model, family, tokenizer, generation)
    generation = {**generation_ids(kind, tokenizer), **(generation or {})}
    raw.update(settings or {})
    raw["dtype"] = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    files: dict[str, Content] = {CONFIG: as_json(raw), GENERATION: as_json(generation)}
    files.update(weight_files(tensors, shard_bytes))
    if tokenizer is not None:
        files.update(tokenizer_files(tokenizer, model))
    return write_folder(folder, {**files, **(extra or {})})


def tokenizer_files(tokenizer: Tokenizer, model: nn.Module) -> dict[str, bytes]:
    """The files of a tokenizer; beside an encoder they also say its length and what it takes."""
    files, encoder = tokenizer.files(), body(model)
    if encoder is None or TOKENIZER_CONFIG not in files:
        return files
    settings = json.loads(files[TOKENIZER_CONFIG])
    length = settings.get("model_max_length", encoder.config.length)
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    settings |= {
        "model_max_length": min(length, encoder.config.length),
        "model_input_names": inputs if encoder.config.segments > 1 else inputs[::2],
    }
    return {**files, TOKENIZER_CONFIG: as_json(settings)}


def express(
    model: nn.Module,
    model_type: str | None,
    tokenizer: Tokenizer | None = None,
    generation: Mapping[str, Any] | None = None,
) -> tuple[Family, dict[str, Any], dict[str, Tensor]]:
    """The family that a model is written as, with config and tensors. Raises CheckpointError if none fits."""
    for kind in families(model_type):
        ids = {**generation_ids(kind, tokenizer), **(generation or {})}
        if (found := kind.express(model, {key: ids[key] for key in IDS if key in ids})) is not None:
            return kind, *found
    name = "any known layout" if model_type is None else model_type
    what = f"this {type(model).__name__} cannot be written as {name}"
    raise CheckpointError(f"{what}, which has no word for some of its parts")


def generation_ids(kind: Family, tokenizer: Tokenizer | None) -> dict[str, Any]:
    """Token ids for generation_config.json, from the tokenizer, else from the family."""
    ids = dict(kind.generation)
    if tokenizer is not None:
        start = tokenizer.pad if tokenizer.start is None else tokenizer.start
        known = {
            "pad_token_id": tokenizer.pad,
            "eos_token_id": tokenizer.eos,
            "bos_token_id": tokenizer.bos,
            "decoder_start_token_id": start if kind.model is Transformer else None,
        }
        ids.update({key: value for key, value in known.items() if value is not None})
    return ids


def check_vocabulary(tokenizer: Tokenizer | None, model: nn.Module, folder: Path) -> None:
    """A tokenizer may have fewer ids than the model has rows (rows are often rounded up), never more."""
    if tokenizer is None:
        return
    config: Any = model.config
    rows = config.vocab
    target_rows = vars(config).get("target_vocab") or rows
    sides = (("", rows, tokenizer.vocab), ("target ", target_rows, tokenizer.target_vocab))
    for side, rows, ids in sides:
        if ids > rows:
            raise CheckpointError(
                f"the {side}vocabulary of {folder} does not match its model: "
                f"the tokenizer has {ids} ids, the model {rows}"
            )
