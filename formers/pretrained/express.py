"""Which published layout a model of ours is written in: the first family that expresses it exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from formers.errors import CheckpointError
from formers.models.transformer import Transformer
from formers.pretrained.families import FAMILIES, families
from formers.pretrained.family import Family
from formers.pretrained.provenance import provenance_of
from formers.text.tokenizer import Tokenizer

# Token ids that old readers look for in config.json and new ones in generation_config.json
IDS = """
    pad_token_id eos_token_id bos_token_id decoder_start_token_id forced_eos_token_id forced_bos_token_id
""".split()


def express(
    model: nn.Module,
    model_type: str | None,
    tokenizer: Tokenizer | None = None,
    generation: Mapping[str, Any] | None = None,
) -> tuple[Family, dict[str, Any], dict[str, Tensor]]:
    """The family that a model is written as, with config and tensors: the one that it was read as, if that fits.

    Raises CheckpointError if none fits.
    """
    before = provenance_of(model)
    types: Iterable[str] = FAMILIES if model_type is None else (model_type,)
    if before is not None and model_type is None:
        types = dict.fromkeys((before.family, *FAMILIES))
    for kind in (kind for name in types for kind in families(name)):  # read one after the other, none without need
        ids = settings_of(model, kind, tokenizer, generation)
        if (files := kind.express(model, {key: ids[key] for key in IDS if key in ids})) is not None:
            return kind, *files
    name = "any known layout" if model_type is None else model_type
    what = f"this {type(model).__name__} cannot be written as {name}"
    raise CheckpointError(f"{what}, which has no word for some of its parts")


def settings_of(
    model: nn.Module, kind: Family, tokenizer: Tokenizer | None, given: Mapping[str, Any] | None
) -> dict[str, Any]:
    """generation_config.json: what the model's files say, what is given over it, else token ids of the tokenizer."""
    before = provenance_of(model)
    if before is None:
        return {**generation_ids(kind, tokenizer), **(given or {})}
    return before.settings(kind, given or {})


def generation_ids(kind: Family, tokenizer: Tokenizer | None) -> dict[str, Any]:
    """Token ids for generation_config.json, from the tokenizer, else from the family."""
    ids = dict(kind.generation)
    if tokenizer is not None:
        start = tokenizer.pad if tokenizer.start is None else tokenizer.start
        given = {
            "pad_token_id": tokenizer.pad,
            "eos_token_id": tokenizer.eos,
            "bos_token_id": tokenizer.bos,
            "decoder_start_token_id": start if kind.model is Transformer else None,
        }
        ids.update({key: value for key, value in given.items() if value is not None})
    return ids
