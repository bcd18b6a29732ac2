"""mBART (Liu et al. 2020; 50 languages: Tang et al. 2020), M2M-100 (Fan et al. 2020) and NLLB (NLLB Team 2022).

What is particular: BART with the norm before each sublayer and one behind each stack. M2M-100 and NLLB have neither
normalised embeddings nor a bias on the logits, and fairseq's sines for positions, counted from behind the padding's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from formers.blocks.position import sinusoids
from formers.models.transformer import Transformer, TransformerConfig
from formers.pretrained.config_map import ConfigMap
from formers.pretrained.families import bart
from formers.pretrained.family import Family
from formers.pretrained.mapping import Row, constant, dropped

PRE_NORM = {"encoder.norm_first": True, "decoder.norm_first": True, "final_norm": True}
CHECKED = {**bart.CHECKED, "add_final_layer_norm": True, "normalize_before": True, "static_position_embeddings": False}
NORMS: list[Row] = [("model.{side}.layer_norm.{p}", "{side}.norm.{p}")]


def weights(config: TransformerConfig) -> list[Row]:
    return [*bart.weights(config), *NORMS]


FAMILY = Family(
    model_type="mbart",
    model=Transformer,
    config=ConfigMap(
        config=TransformerConfig,
        names=bart.SIZES,
        fixed={**PRE_NORM, "positions": "learned", "position_offset": 2, "embedding_norm": True, "logit_bias": True},
        defaults={**bart.DEFAULTS, "max_position_embeddings": 1024},
        aliases=bart.ALIASES,
        checked={**CHECKED, "normalize_embedding": True},
        derived=bart.derived,
        written=bart.written,
        ignored=bart.IGNORED,
    ),
    weights=weights,
    prefixes=("+model.",),
    architectures=("MBartForConditionalGeneration",),
    also=("MBartModel",),
    generation={"pad_token_id": 1},
)


def table(stored: Tensor, padding: int) -> Tensor:
    """What a stored table of positions must hold, since ours are computed: nothing at the padding's id."""
    sines = sinusoids(stored.shape[0], stored.shape[-1], split=True, inclusive=True)
    sines[padding : padding + 1] = 0
    return sines


def many_derived(raw: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    padding, vocab = raw["pad_token_id"], raw["vocab_size"]
    if not 0 <= padding < vocab:
        raise ValueError(f"pad_token_id is {padding}, expected one of the {vocab:,} tokens")
    return {**bart.derived(raw, tensors), "position_offset": padding + 1}


def many_written(config: TransformerConfig) -> dict[str, Any]:
    return {**bart.written(config), "pad_token_id": config.position_offset - 1}


def many_weights(config: TransformerConfig) -> list[Row]:
    expected = partial(table, padding=config.position_offset - 1)
    return [
        *bart.heads(config, "embedding.weight", bart.SHARED),
        *bart.LAYERS,
        *NORMS,
        *[constant(f"model.{side}.embed_positions.weights", expected) for side in ("encoder", "decoder")],
        *dropped("model.{side}.version", "model.{side}.embed_positions._float_tensor"),
    ]


M2M_100 = Family(
    model_type="m2m_100",
    model=Transformer,
    config=ConfigMap(
        config=TransformerConfig,
        names=bart.SIZES,
        fixed={**PRE_NORM, "positions": "fairseq_sinusoidal"},
        defaults={
            **bart.DEFAULTS,
            "activation_function": "relu",
            "scale_embedding": True,
            "max_position_embeddings": 1024,
            "pad_token_id": 1,
        },
        aliases=bart.ALIASES,
        checked={**CHECKED, "normalize_embedding": False, "static_position_embeddings": True},
        derived=many_derived,
        written=many_written,
        ignored=bart.IGNORED,
    ),
    weights=many_weights,
    prefixes=("+model.",),
    architectures=("M2M100ForConditionalGeneration",),
    also=("M2M100Model",),
    generation={"decoder_start_token_id": 2, "pad_token_id": 1, "eos_token_id": 2},
)
