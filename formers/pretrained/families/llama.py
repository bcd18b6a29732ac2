"""Llama 1 to 3 (Touvron et al. 2023), Mistral (Jiang et al. 2023), Qwen 2 and 3 (Yang et al. 2024, 2025).

One table: RMS norms before each sublayer, rotary positions, a gated feed-forward. What is particular:
  * Mistral: every layer may have a window.
  * Qwen 2: biases on q, k and v; the layers from `max_window_layers` on may have a window.
  * Qwen 3: no biases, but queries and keys are normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from formers.models.causal import CausalConfig
from formers.pretrained.config_map import ACTIVATIONS, Raw, pairs
from formers.pretrained.family import Family
from formers.pretrained.layouts import causal
from formers.pretrained.layouts.classifier import with_classifier
from formers.pretrained.mapping import Row, dropped

SIZES = pairs("""
    hidden_size=stack.dim num_hidden_layers=stack.layers num_attention_heads=stack.heads
    intermediate_size=stack.hidden rms_norm_eps=stack.norm_eps vocab_size=vocab max_position_embeddings=length
""")
FIXED = {"stack.norm": "rms", "stack.gated": True, "stack.bias": "", "stack.feed_forward_bias": False}
DEFAULTS = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": False}
READS = ("num_key_value_heads", "head_dim", "rope_theta", "rope_scaling", "rope_parameters", "resid_pdrop")

BLOCK: list[Row] = [
    *[(f"model.layers.{{i}}.self_attn.{x}_proj.{{p}}", f"stack.blocks.{{i}}.attention.{x}.{{p}}") for x in "qkvo"],
    *[
        (f"model.layers.{{i}}.mlp.{x}_proj.{{p}}", f"stack.blocks.{{i}}.feed_forward.{x}.{{p}}")
        for x in ("gate", "up", "down")
    ],
]
# the frequencies of the rotary positions, in files of 2023
STORED = dropped("model.layers.{i}.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq")


def weights(config: CausalConfig) -> list[Row]:
    normalised: list[Row] = [
        (f"model.layers.{{i}}.self_attn.{x}_norm.weight", f"stack.blocks.{{i}}.attention.{x}_norm.weight") for x in "qk"
    ]
    return [
        *causal.head(config, "model.embed_tokens.weight"),
        *BLOCK,
        *(normalised if config.stack.qk_norm else []),
        ("model.layers.{i}.input_layernorm.weight", "stack.blocks.{i}.norm_attention.weight"),
        ("model.layers.{i}.post_attention_layernorm.weight", "stack.blocks.{i}.norm_feed_forward.weight"),
        ("model.norm.weight", "stack.norm.weight"),
        *STORED,
    ]


def shared(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What all four derive."""
    base, stretch = causal.rotary(
        raw.get("rope_parameters", {}),
        raw.get("rope_scaling", {}),
        {"rope_theta": raw.get("rope_theta")},
        base=10000.0,
        length=raw["max_position_embeddings"],
    )
    heads = raw.get("num_key_value_heads", raw["num_attention_heads"])
    sizes = causal.sizes(raw, tensors, stretch, kv_heads=heads, head_dim=raw.get("head_dim"))
    return {**sizes, "rotary_base": base}


def written(config: CausalConfig) -> dict[str, Any]:
    parameters = causal.written_rotary(config.rotary_base, config.rotary_stretch)
    return {**causal.written_sizes(config), "rope_parameters": parameters, **causal.spelled_before(parameters)}


def llama(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        **shared(raw, tensors),
        "stack.bias": "qkvo" if raw["attention_bias"] else "",
        "stack.feed_forward_bias": raw["mlp_bias"],
    }


def llama_written(config: CausalConfig) -> dict[str, Any]:
    return {**written(config), "attention_bias": config.stack.bias != "", "mlp_bias": config.stack.feed_forward_bias}


def mistral(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    size, layers = raw["sliding_window"], raw["num_hidden_layers"]
    kinds = ["full_attention" if size is None else "sliding_attention"] * layers
    if raw.get("layer_types", kinds) != kinds:  # which the readers of this model_type have always skipped
        raise ValueError("layer_types differs from sliding_window, which says the kind of all layers in this family")
    windows = causal.windows(kinds, "sliding_attention", "full_attention", size, layers)
    return {**shared(raw, tensors), "windows": windows}


def mistral_written(config: CausalConfig) -> dict[str, Any]:
    return {**written(config), "sliding_window": causal.window(config)}


def qwen2(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    size, layers = raw["sliding_window"] if raw["use_sliding_window"] else None, raw["num_hidden_layers"]
    first = layers if size is None else raw["max_window_layers"]
    kinds = raw.get("layer_types", ["full_attention" if i < first else "sliding_attention" for i in range(layers)])
    windows = causal.windows(kinds, "sliding_attention", "full_attention", size, layers)
    return {**shared(raw, tensors), "windows": windows}


def qwen2_written(config: CausalConfig) -> dict[str, Any]:
    kinds = causal.layer_types(config)
    return {
        **written(config),
        "layer_types": kinds,
        "use_sliding_window": bool(config.windows),
        "max_window_layers": kinds.index("sliding_attention") if config.windows else len(kinds),
        "sliding_window": causal.window(config),
    }


def qwen3(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        **qwen2(raw, tensors),
        "stack.bias": "qkvo" if raw["attention_bias"] else "",
        "stack.head_dim": raw.get("head_dim", 128),
    }


def qwen3_written(config: CausalConfig) -> dict[str, Any]:
    return {**qwen2_written(config), "attention_bias": config.stack.bias != ""}


def family(
    model_type: str,
    architecture: str,
    derived: Callable[[Raw, Mapping[str, Tensor]], Mapping[str, Any]],
    written: Callable[[CausalConfig], Mapping[str, Any]],
    defaults: Mapping[str, Any],
    also: tuple[str, ...] = (),
    **fixed: Any,
) -> Family:
    """One of the four: its own keys have defaults here."""
    return causal.language_model(
        model_type,
        architecture,
        weights,
        also=also,
        names={**SIZES, "hidden_act": ("stack.activation", ACTIVATIONS)},
        fixed={**FIXED, **{f"stack.{name}": value for name, value in fixed.items()}},
        defaults={**DEFAULTS, **defaults},
        checked={"rope_interleaved": False, "partial_rotary_factor": 1.0},
        derived=derived,
        reads=(*READS, "layer_types"),
        nullable=frozenset({"sliding_window"}),
        written=written,
    )


LLAMA_KEYS = {"max_position_embeddings": 2048, "attention_bias": False, "mlp_bias": False}
MISTRAL_KEYS = {"max_position_embeddings": 131072, "sliding_window": 4096}
QWEN = {"max_position_embeddings": 32768, "use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 28}
LLAMA = with_classifier(
    family("llama", "LlamaForCausalLM", llama, llama_written, LLAMA_KEYS, also=("LLaMAForCausalLM",))
)
MISTRAL = with_classifier(family("mistral", "MistralForCausalLM", mistral, mistral_written, MISTRAL_KEYS))
QWEN2 = with_classifier(family("qwen2", "Qwen2ForCausalLM", qwen2, qwen2_written, QWEN, bias="qkv"))
QWEN3 = with_classifier(
    family("qwen3", "Qwen3ForCausalLM", qwen3, qwen3_written, {**QWEN, "attention_bias": False}, qk_norm=True)
)
