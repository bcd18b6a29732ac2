"""Marian (Junczys-Dowmunt et al. 2018): `Helsinki-NLP/opus-mt-*`.

What is particular: the 2017 form, but the sines of a position are in the first half of its vector, the
cosines in the second, and the logits have a bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from formers.blocks.position import sinusoids
from formers.models.transformer import Transformer, TransformerConfig
from formers.pretrained.config_map import ConfigMap
from formers.pretrained.families import bart
from formers.pretrained.family import Family
from formers.pretrained.mapping import Row, constant


def positions(stored: Tensor) -> Tensor:
    """What a stored table of positions must hold, since ours are computed."""
    return sinusoids(stored.shape[0], stored.shape[-1], split=True)


def derived(raw: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    if raw["share_encoder_decoder_embeddings"]:
        return {"target_vocab": None, "tied": bart.is_tied(raw, tensors, *bart.SHARED)}
    return {
        "target_vocab": raw.get("decoder_vocab_size", raw["vocab_size"]),
        "tied": bart.is_tied(raw, tensors, "model.decoder.embed_tokens.weight"),
    }


def written(config: TransformerConfig) -> dict[str, Any]:
    return {
        **bart.written(config),
        "share_encoder_decoder_embeddings": config.target_vocab is None,
        "decoder_vocab_size": config.target_vocab or config.vocab,
    }


def weights(config: TransformerConfig) -> list[Row]:
    if config.target_vocab is None:
        embeddings = bart.heads(config, "embedding.weight", bart.SHARED)
    else:
        target = bart.heads(config, "target_embedding.weight", ["model.decoder.embed_tokens.weight"])
        embeddings = [("model.encoder.embed_tokens.weight", "embedding.weight"), *target]
    stored = [constant(f"model.{side}.embed_positions.weight", positions) for side in ("encoder", "decoder")]
    return [*embeddings, *stored, *bart.LAYERS, bart.BIAS]


FAMILY = Family(
    model_type="marian",
    model=Transformer,
    config=ConfigMap(
        config=TransformerConfig,
        names=bart.SIZES,
        fixed={**bart.POST_NORM, "positions": "split_sinusoidal"},
        defaults={**bart.DEFAULTS, "share_encoder_decoder_embeddings": True},
        aliases=bart.ALIASES,
        checked={**bart.CHECKED, "normalize_embedding": False, "static_position_embeddings": True},
        derived=derived,
        reads=("decoder_vocab_size",),
        written=written,
        ignored=bart.IGNORED,
    ),
    weights=weights,
    prefixes=("+model.",),
    architectures=("MarianMTModel",),
    also=("MarianModel",),
)
