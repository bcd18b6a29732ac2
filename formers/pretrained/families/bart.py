"""BART (Lewis et al. 2019): `facebook/bart-large`, `-large-cnn`, distilbart.

What is particular: positions are learned and counted from 2, and the embeddings are normalised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from formers.models.transformer import Transformer, TransformerConfig
from formers.pretrained import config_map
from formers.pretrained.config_map import ConfigMap, pairs, words
from formers.pretrained.family import Family
from formers.pretrained.layouts import causal
from formers.pretrained.layouts.classifier import classifier
from formers.pretrained.mapping import ROW, Row, Rule, close, dropped, tied

ACTIVATIONS = {"gelu": "gelu", "swish": "silu", **config_map.ACTIVATIONS}  # the first name of each is written
SIZES: dict[str, Any] = {
    "d_model": "encoder.dim decoder.dim",
    "encoder_layers": "encoder.layers",
    "decoder_layers": "decoder.layers",
    "encoder_attention_heads": "encoder.heads",
    "decoder_attention_heads": "decoder.heads",
    "encoder_ffn_dim": "encoder.hidden",
    "decoder_ffn_dim": "decoder.hidden",
    "dropout": "encoder.dropout decoder.dropout",
    "activation_function": ("encoder.activation decoder.activation", ACTIVATIONS),
    "vocab_size": "vocab",
    "max_position_embeddings": "length",
    "scale_embedding": "scale_embedding",
}
DEFAULTS = {"dropout": 0.1, "activation_function": "gelu", "scale_embedding": False, "tie_word_embeddings": True}
ALIASES = pairs("num_hidden_layers=encoder_layers hidden_size=d_model num_attention_heads=encoder_attention_heads")
CHECKED = {
    "is_encoder_decoder": True,
    "add_bias_logits": False,
    "add_final_layer_norm": False,
    "do_blenderbot_90_layernorm": False,
    "normalize_before": False,
}
POST_NORM = {"encoder.norm_first": False, "decoder.norm_first": False, "logit_bias": True}
# training only, or left over from fairseq
IGNORED = words("""
    activation_dropout attention_dropout classif_dropout classifier_dropout decoder_layerdrop
    encoder_layerdrop init_std extra_pos_embeddings replacing_rate save_step
    student_decoder_layers student_encoder_layers
""")

LAYERS: list[Row] = [
    ("model.{side}.layers.{i}.self_attn.q_proj.{p}", "{side}.blocks.{i}.attention.q.{p}"),
    ("model.{side}.layers.{i}.self_attn.k_proj.{p}", "{side}.blocks.{i}.attention.k.{p}"),
    ("model.{side}.layers.{i}.self_attn.v_proj.{p}", "{side}.blocks.{i}.attention.v.{p}"),
    ("model.{side}.layers.{i}.self_attn.out_proj.{p}", "{side}.blocks.{i}.attention.o.{p}"),
    ("model.{side}.layers.{i}.self_attn_layer_norm.{p}", "{side}.blocks.{i}.norm_attention.{p}"),
    ("model.decoder.layers.{i}.encoder_attn.q_proj.{p}", "decoder.blocks.{i}.cross_attention.q.{p}"),
    ("model.decoder.layers.{i}.encoder_attn.k_proj.{p}", "decoder.blocks.{i}.cross_attention.k.{p}"),
    ("model.decoder.layers.{i}.encoder_attn.v_proj.{p}", "decoder.blocks.{i}.cross_attention.v.{p}"),
    ("model.decoder.layers.{i}.encoder_attn.out_proj.{p}", "decoder.blocks.{i}.cross_attention.o.{p}"),
    ("model.decoder.layers.{i}.encoder_attn_layer_norm.{p}", "decoder.blocks.{i}.norm_cross.{p}"),
    ("model.{side}.layers.{i}.fc1.{p}", "{side}.blocks.{i}.feed_forward.up.{p}"),
    ("model.{side}.layers.{i}.fc2.{p}", "{side}.blocks.{i}.feed_forward.down.{p}"),
    ("model.{side}.layers.{i}.final_layer_norm.{p}", "{side}.blocks.{i}.norm_feed_forward.{p}"),
]
BIAS = Rule(("final_logits_bias",), "logit_bias", ROW, zeros=True)
is_tied = partial(causal.is_tied, same=close)
SHARED = ("model.shared.weight", "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")


def heads(config: TransformerConfig, embedding: str, names: Sequence[str]) -> list[Row]:
    """Rows of an embedding and of the output head, which is the same tensor when tied."""
    if config.tied:
        return [tied(embedding, *names, "lm_head.weight")]
    # transformers 5 ties nothing at all when the config says that the head is untied
    return [tied(embedding, *names, every=True), ("lm_head.weight", "head.weight")]


def derived(raw: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"tied": is_tied(raw, tensors, *SHARED)}


def written(config: TransformerConfig) -> dict[str, Any]:
    return {
        "tie_word_embeddings": config.tied,
        "is_encoder_decoder": True,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
    }


def weights(config: TransformerConfig) -> list[Row]:
    return [
        *heads(config, "embedding.weight", SHARED),
        ("model.encoder.embed_positions.weight", "source_positions.weight"),
        ("model.decoder.embed_positions.weight", "target_positions.weight"),
        ("model.encoder.layernorm_embedding.{p}", "source_norm.{p}"),
        ("model.decoder.layernorm_embedding.{p}", "target_norm.{p}"),
        *LAYERS,
        *([BIAS] if config.logit_bias else dropped("final_logits_bias")),
        *dropped("model.encoder.version", "model.decoder.version"),
    ]


FAMILY = Family(
    model_type="bart",
    model=Transformer,
    config=ConfigMap(
        config=TransformerConfig,
        names=SIZES,
        fixed={**POST_NORM, "positions": "learned", "position_offset": 2, "embedding_norm": True},
        defaults=DEFAULTS,
        aliases=ALIASES,
        checked={**CHECKED, "normalize_embedding": True, "static_position_embeddings": False},
        derived=derived,
        written=written,
        ignored=IGNORED,
    ),
    weights=weights,
    prefixes=("+model.",),  # facebook/bart-large is stored without the outer module
    architectures=("BartForConditionalGeneration",),
    also=("BartModel",),
)
LABEL: list[Row] = [("classification_head.dense.{p}", "dense.{p}"), ("classification_head.out_proj.{p}", "out.{p}")]
# read after the last token of the text, which is </s>; the decoder reads the text behind its start token
FAMILIES = [
    FAMILY,
    classifier(
        FAMILY,
        "BartForSequenceClassification",
        LABEL,
        fixed={"encoder.logit_bias": False, "dense": "tanh"},
        derived=lambda raw: {"start": raw["decoder_start_token_id"]},
        written=lambda config: {"decoder_start_token_id": config.start},
        defaults={"decoder_start_token_id": 2},
    ),
]
