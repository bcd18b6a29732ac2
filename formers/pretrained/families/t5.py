"""T5 and FLAN-T5 (Raffel et al. 2020; v1.1: Shazeer 2020).

What is particular: a relative bias per stack, RMS norms, no biases, unscaled scores.
v1 has relu and a tied head on a decoder output scaled by dim ** -0.5; v1.1 and FLAN have gated tanh-GELU and
an unscaled head of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from formers.models.transformer import Transformer, TransformerConfig
from formers.pretrained.config_map import ConfigMap, pairs
from formers.pretrained.families import bart
from formers.pretrained.family import Family
from formers.pretrained.mapping import Row, dropped, tied

ACTIVATIONS = bart.ACTIVATIONS
STACK = {"norm": "rms", "norm_first": True, "bias": "", "feed_forward_bias": False, "scale": 1.0}
SHARED = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")


def activation(raw: Mapping[str, Any]) -> str:
    """Their name of the non-linearity: "gated-gelu" has always meant the tanh approximation."""
    name = raw["feed_forward_proj"]
    return "gelu_new" if name == "gated-gelu" else name.split("-")[-1]


def derived(raw: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    name = ACTIVATIONS.get(activation(raw))
    if name is None:
        raise ValueError(f"feed_forward_proj = {raw['feed_forward_proj']!r} is not computed here")
    # published v1.1 files say "unscaled" by an untied head; transformers 5 ties all that is not stored apart,
    # and writes the scale
    ties = {"tie_word_embeddings": raw.get("tie_word_embeddings", True)}
    scaled = raw.get("scale_decoder_outputs", ties["tie_word_embeddings"])
    apart = "lm_head.weight" in tensors and not bart.is_tied(ties, tensors, *SHARED)
    return {
        "encoder.activation": name,
        "decoder.activation": name,
        "encoder.gated": is_gated(raw),
        "decoder.gated": is_gated(raw),
        "decoder.layers": raw.get("num_decoder_layers", raw["num_layers"]),
        "head_scale": raw["d_model"] ** -0.5 if scaled else None,
        "tied": not apart,
    }


def is_gated(raw: Mapping[str, Any]) -> bool:
    return raw["feed_forward_proj"].startswith("gated-")


def written(config: TransformerConfig) -> dict[str, Any]:
    name = next(theirs for theirs, ours in ACTIVATIONS.items() if ours == config.encoder.activation)
    gated = config.encoder.gated
    plain = "gelu" if gated and name == "gelu_new" else name  # "gated-gelu" has always meant the tanh one
    return {
        "num_decoder_layers": config.decoder.layers,
        "feed_forward_proj": f"gated-{plain}" if gated else plain,
        "is_gated_act": gated,
        "dense_act_fn": name,
        "scale_decoder_outputs": config.head_scale is not None,
        "tie_word_embeddings": config.tied,
        "is_encoder_decoder": True,
    }


def weights(config: TransformerConfig) -> list[Row]:
    head: list[Row] = [tied("embedding.weight", *SHARED), ("lm_head.weight", "head.weight")]
    if config.tied:
        head = [tied("embedding.weight", *SHARED, "lm_head.weight")]
    inner = [("wi_0", "gate"), ("wi_1", "up")] if config.encoder.gated else [("wi", "up")]
    own, cross = "layer.0.SelfAttention", "layer.1.EncDecAttention"
    return [
        *head,
        *[(f"{{side}}.block.{{i}}.{own}.{x}.weight", f"{{side}}.blocks.{{i}}.attention.{x}.weight") for x in "qkvo"],
        ("{side}.block.{i}.layer.0.layer_norm.weight", "{side}.blocks.{i}.norm_attention.weight"),
        ("{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight", "{side}.relative.weight"),
        *[
            (f"decoder.block.{{i}}.{cross}.{x}.weight", f"decoder.blocks.{{i}}.cross_attention.{x}.weight")
            for x in "qkvo"
        ],
        ("decoder.block.{i}.layer.1.layer_norm.weight", "decoder.blocks.{i}.norm_cross.weight"),
        *[
            (f"{side}.block.{{i}}.{dense}.{theirs}.weight", f"{side}.blocks.{{i}}.feed_forward.{ours}.weight")
            for side, dense in (("encoder", "layer.1.DenseReluDense"), ("decoder", "layer.2.DenseReluDense"))
            for theirs, ours in [*inner, ("wo", "down")]
        ],
        ("encoder.block.{i}.layer.1.layer_norm.weight", "encoder.blocks.{i}.norm_feed_forward.weight"),
        ("decoder.block.{i}.layer.2.layer_norm.weight", "decoder.blocks.{i}.norm_feed_forward.weight"),
        ("{side}.final_layer_norm.weight", "{side}.norm.weight"),
        # the first published files carry it, and no implementation has ever read it
        *dropped("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"),
    ]


FAMILY = Family(
    model_type="t5",
    model=Transformer,
    config=ConfigMap(
        config=TransformerConfig,
        names={
            "d_model": "encoder.dim decoder.dim",
            "d_kv": "encoder.head_dim decoder.head_dim",
            "d_ff": "encoder.hidden decoder.hidden",
            "num_heads": "encoder.heads decoder.heads",
            "num_layers": "encoder.layers",
            "vocab_size": "vocab",
            "n_positions": "length",  # what it was trained with; the relative bias itself has no end
            "dropout_rate": "encoder.dropout decoder.dropout",
            "layer_norm_epsilon": "encoder.norm_eps decoder.norm_eps",
            "relative_attention_num_buckets": "relative_buckets",
            "relative_attention_max_distance": "relative_distance",
        },
        fixed={
            **{f"{side}.{name}": value for side in ("encoder", "decoder") for name, value in STACK.items()},
            "positions": "relative",
            "final_norm": True,
        },
        defaults={
            "n_positions": 512,
            "dropout_rate": 0.1,
            "layer_norm_epsilon": 1e-6,
            "feed_forward_proj": "relu",
            "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 128,
        },
        aliases=pairs("hidden_size=d_model num_attention_heads=num_heads num_hidden_layers=num_layers head_dim=d_kv"),
        checked={"is_encoder_decoder": True, "dense_act_fn": activation, "is_gated_act": is_gated},
        derived=derived,
        reads=("num_decoder_layers", "tie_word_embeddings", "scale_decoder_outputs"),
        written=written,
        ignored=frozenset({"initializer_factor", "classifier_dropout"}),
    ),
    weights=weights,
    architectures=("T5ForConditionalGeneration",),
    also=("T5Model", "T5WithLMHeadModel"),
    generation={"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1},
)
