"""Gemma 3, text only (Gemma Team 2025): `google/gemma-3-270m`, `google/gemma-3-1b-it`.

What is particular: norms on both sides of every sublayer whose stored weight w means 1 + w, embeddings times sqrt(dim),
five layers with a window (and a rotary base of their own) for each one that sees everything.
Published weights are bf16, where transformers also rounds the sqrt(dim) to bf16; in fp32 nobody does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from formers.models.causal import CausalConfig
from formers.pretrained.config_map import ACTIVATIONS, Raw, pairs
from formers.pretrained.families import llama
from formers.pretrained.layouts import causal
from formers.pretrained.layouts.classifier import with_classifier
from formers.pretrained.mapping import Op, Row

# in fp32: 1 + w has fewer digits than w, and the models add it so
AROUND_ZERO = Op("around zero", lambda x: x.float() + 1, lambda x: (x.float() - 1).to(x.dtype), wide=True)
NORMS = pairs("""
    input_layernorm=norm_attention post_attention_layernorm=after_attention
    pre_feedforward_layernorm=norm_feed_forward post_feedforward_layernorm=after_feed_forward
    self_attn.q_norm=attention.q_norm self_attn.k_norm=attention.k_norm
""")
FULL, SLIDING = "full_attention", "sliding_attention"


def weights(config: CausalConfig) -> list[Row]:
    return [
        *causal.head(config, "model.embed_tokens.weight"),
        *llama.BLOCK,
        *[
            (f"model.layers.{{i}}.{theirs}.weight", f"stack.blocks.{{i}}.{ours}.weight", AROUND_ZERO)
            for theirs, ours in NORMS.items()
        ],
        ("model.norm.weight", "stack.norm.weight", AROUND_ZERO),
        *llama.STORED,
    ]


def derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    layers, pattern, length = raw["num_hidden_layers"], raw["sliding_window_pattern"], raw["max_position_embeddings"]
    if pattern < 1:
        raise ValueError(f"sliding_window_pattern is {pattern}, expected at least 1")
    kinds = raw.get("layer_types", [SLIDING if (i + 1) % pattern else FULL for i in range(layers)])
    rope = raw.get("rope_parameters", {})
    if set(rope) - {FULL, SLIDING}:
        raise ValueError(f"rope_parameters has {', '.join(sorted(rope))}; this family has {FULL} and {SLIDING}")
    base, stretch = causal.rotary(
        rope.get(FULL) or {},
        raw.get("rope_scaling", {}),
        {"rope_theta": raw.get("rope_theta")},
        base=1e6,
        length=length,
    )
    local, no_stretch = causal.rotary(
        rope.get(SLIDING) or {}, {"rope_theta": raw.get("rope_local_base_freq")}, base=1e4, length=length
    )
    if no_stretch is not None:
        raise ValueError(f"scaled rotary positions in {SLIDING} layers are not computed here")
    return {
        **causal.sizes(raw, tensors, stretch, kv_heads=raw["num_key_value_heads"], head_dim=raw["head_dim"]),
        "stack.scale": raw["query_pre_attn_scalar"] ** -0.5,
        "stack.bias": "qkvo" if raw["attention_bias"] else "",
        "windows": causal.windows(kinds, SLIDING, FULL, raw["sliding_window"], layers),
        "rotary_base": base,
        "local_rotary_base": local,
    }


def written(config: CausalConfig) -> dict[str, Any]:
    s, full = config.stack, causal.written_rotary(config.rotary_base, config.rotary_stretch)
    local = config.local_rotary_base
    if local is None:  # as the others, or in no layer
        local = config.rotary_base if config.windows else 1e4
    return {
        **causal.written_sizes(config),
        "query_pre_attn_scalar": (s.head_dim or s.dim // s.heads) if s.scale is None else round(s.scale**-2),
        "attention_bias": s.bias != "",
        "layer_types": causal.layer_types(config),
        "sliding_window": causal.window(config) or 4096,
        "rope_parameters": {FULL: full, SLIDING: causal.written_rotary(local, None)},
        **causal.spelled_before(full),
        "rope_local_base_freq": local,
    }


LANGUAGE_MODEL = causal.language_model(
    "gemma3_text",
    "Gemma3ForCausalLM",
    weights,
    also=("Gemma3TextModel",),
    names={**llama.SIZES, "hidden_activation": ("stack.activation", {"gelu_pytorch_tanh": "gelu_tanh", **ACTIVATIONS})},
    fixed={
        "stack.norm": "rms",
        "stack.gated": True,
        "stack.qk_norm": True,
        "stack.feed_forward_bias": False,
        "block": "sandwich",
        "scale_embedding": True,
    },
    defaults={
        "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "max_position_embeddings": 131072,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "attention_bias": False,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
    },
    aliases={"_sliding_window_pattern": "sliding_window_pattern"},
    checked={
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "use_bidirectional_attention": False,
        "partial_rotary_factor": 1.0,
    },
    derived=derived,
    reads=(*llama.READS, "layer_types", "rope_local_base_freq"),
    written=written,
)
FAMILIES = with_classifier(LANGUAGE_MODEL, "Gemma3TextForSequenceClassification")
