"""GPT-1 and 2 (Radford et al. 2018, 2019), GPT-Neo (Black et al. 2021).

What is particular:
  * GPT-1 and 2 store every linear map transposed, and q, k, v as one; published files lack the outer module and
    carry the causal mask.
  * GPT-1 normalises after the addition and says "gelu" for the tanh approximation.
  * GPT-Neo has its own linear maps, no factor on the scores, and a window in every second layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from formers.models.causal import CausalConfig
from formers.pretrained.config_map import ACTIVATIONS, Raw, pairs, words
from formers.pretrained.layouts import causal
from formers.pretrained.layouts.classifier import with_classifier
from formers.pretrained.mapping import TRANSPOSED, Row, dropped

NAMES = pairs("""
    n_embd=stack.dim n_layer=stack.layers n_head=stack.heads layer_norm_epsilon=stack.norm_eps
    resid_pdrop=stack.dropout n_positions=length vocab_size=vocab
""")
ALIASES = pairs("""
    hidden_size=n_embd num_hidden_layers=n_layer num_attention_heads=n_head max_position_embeddings=n_positions
""")
DEFAULTS = {"layer_norm_epsilon": 1e-5, "resid_pdrop": 0.1, "tie_word_embeddings": True}
# other dropouts, the size of the stored mask, heads that are no language model's
IGNORED = causal.IGNORED | words("""
    attn_pdrop classifier_dropout embd_pdrop embed_dropout n_ctx n_special predict_special_tokens
    reorder_and_upcast_attn summary_activation summary_first_dropout summary_proj_to_labels summary_type
    summary_use_proj
""")

NORMS: list[Row] = [
    ("transformer.h.{i}.ln_1.{p}", "stack.blocks.{i}.norm_attention.{p}"),
    ("transformer.h.{i}.ln_2.{p}", "stack.blocks.{i}.norm_feed_forward.{p}"),
]
BLOCK: list[Row] = [
    ("transformer.h.{i}.attn.c_attn.{p}", "stack.blocks.{i}.attention.[q,k,v].{p}", TRANSPOSED),
    ("transformer.h.{i}.attn.c_proj.{p}", "stack.blocks.{i}.attention.o.{p}", TRANSPOSED),
    ("transformer.h.{i}.mlp.c_fc.{p}", "stack.blocks.{i}.feed_forward.up.{p}", TRANSPOSED),
    ("transformer.h.{i}.mlp.c_proj.{p}", "stack.blocks.{i}.feed_forward.down.{p}", TRANSPOSED),
    *NORMS,
    *dropped("transformer.h.{i}.attn.bias", "transformer.h.{i}.attn.masked_bias"),
]


def weights(config: CausalConfig) -> list[Row]:
    return [
        *causal.head(config, "transformer.wte.weight"),
        ("transformer.wpe.weight", "positions.weight"),
        ("transformer.ln_f.{p}", "stack.norm.{p}"),
        *BLOCK,
    ]


def derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        "stack.hidden": raw.get("n_inner", 4 * raw["n_embd"]),
        "tied": causal.is_tied(raw, tensors, "transformer.wte.weight", "wte.weight"),
    }


def first_written(config: CausalConfig) -> dict[str, Any]:
    return {"embd_pdrop": config.stack.dropout, "attn_pdrop": 0.0, "tie_word_embeddings": config.tied}


def written(config: CausalConfig) -> dict[str, Any]:
    return {**first_written(config), "n_inner": config.stack.hidden}


GPT2 = with_classifier(
    causal.language_model(
        "gpt2",
        "GPT2LMHeadModel",
        weights,
        prefix="+transformer.",
        names={**NAMES, "activation_function": ("stack.activation", ACTIVATIONS)},
        fixed={"positions": "learned"},
        defaults={**DEFAULTS, "activation_function": "gelu_new"},
        aliases=ALIASES,
        checked={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False},
        derived=derived,
        reads=("n_inner",),
        written=written,
        ignored=IGNORED,
    )
)


def first_weights(config: CausalConfig) -> list[Row]:
    return [
        *causal.head(config, "transformer.tokens_embed.weight"),
        ("transformer.positions_embed.weight", "positions.weight"),
        *BLOCK,
    ]


def first_derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        "stack.hidden": 4 * raw["n_embd"],
        "tied": causal.is_tied(raw, tensors, "transformer.tokens_embed.weight", "tokens_embed.weight"),
    }


FIRST_ACTIVATIONS = {"gelu": "gelu_tanh", "gelu_new": "gelu_tanh", "relu": "relu", "silu": "silu", "swish": "silu"}
GPT = with_classifier(
    causal.language_model(
        "openai-gpt",
        "OpenAIGPTLMHeadModel",
        first_weights,
        prefix="+transformer.",
        names={**NAMES, "afn": ("stack.activation", FIRST_ACTIVATIONS)},
        fixed={"positions": "learned", "stack.norm_first": False, "final_norm": False},
        defaults={**DEFAULTS, "afn": "gelu"},
        aliases=ALIASES,
        derived=first_derived,
        written=first_written,
        ignored=IGNORED,
    )
)


def neo_weights(config: CausalConfig) -> list[Row]:
    own = "transformer.h.{i}.attn.attention"
    return [
        *causal.head(config, "transformer.wte.weight"),
        ("transformer.wpe.weight", "positions.weight"),
        ("transformer.ln_f.{p}", "stack.norm.{p}"),
        *[(f"{own}.{x}_proj.weight", f"stack.blocks.{{i}}.attention.{x}.weight") for x in "qkv"],
        (f"{own}.out_proj.{{p}}", "stack.blocks.{i}.attention.o.{p}"),
        ("transformer.h.{i}.mlp.c_fc.{p}", "stack.blocks.{i}.feed_forward.up.{p}"),
        ("transformer.h.{i}.mlp.c_proj.{p}", "stack.blocks.{i}.feed_forward.down.{p}"),
        *NORMS,
        *dropped(f"{own}.bias", f"{own}.masked_bias"),
    ]


def layer_kinds(raw: Raw) -> Sequence[str]:
    """The kinds of all layers: spelled out, or as [[kinds], times] pairs."""
    types = raw.get("attention_types")
    expanded = None if types is None else [kind for kinds, times in types for _ in range(times) for kind in kinds]
    kinds: Sequence[str] | None = raw.get("attention_layers", expanded)
    if kinds is None:
        kinds = [("global", "local")[i % 2] for i in range(raw["num_layers"])]
    if expanded is not None and list(kinds) != expanded:
        raise ValueError("attention_layers is not what attention_types says")
    return kinds


def neo_derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        "stack.hidden": raw.get("intermediate_size", 4 * raw["hidden_size"]),
        "windows": causal.windows(layer_kinds(raw), "local", "global", raw["window_size"], raw["num_layers"]),
        "tied": causal.is_tied(raw, tensors, "transformer.wte.weight", "wte.weight"),
    }


def neo_written(config: CausalConfig) -> dict[str, Any]:
    kinds = ["local" if window else "global" for window in config.windows or (0,) * config.stack.layers]
    return {
        "intermediate_size": config.stack.hidden,
        "embed_dropout": config.stack.dropout,
        "attention_dropout": 0.0,
        "attention_types": [[kinds, 1]],
        "attention_layers": kinds,
        "window_size": causal.window(config) or 256,
        "tie_word_embeddings": config.tied,
    }


NEO = with_classifier(
    causal.language_model(
        "gpt_neo",
        "GPTNeoForCausalLM",
        neo_weights,
        prefix="+transformer.",
        names={
            **pairs("""
            hidden_size=stack.dim num_layers=stack.layers num_heads=stack.heads layer_norm_epsilon=stack.norm_eps
            resid_dropout=stack.dropout max_position_embeddings=length vocab_size=vocab
        """),
            "activation_function": ("stack.activation", ACTIVATIONS),
        },
        fixed={"positions": "learned", "stack.bias": "o", "stack.scale": 1.0},
        defaults={
            "layer_norm_epsilon": 1e-5,
            "resid_dropout": 0.0,
            "activation_function": "gelu_new",
            "window_size": 256,
            "tie_word_embeddings": True,
        },
        aliases={"num_hidden_layers": "num_layers", "num_attention_heads": "num_heads"},
        derived=neo_derived,
        reads=("attention_types", "attention_layers", "intermediate_size"),
        written=neo_written,
        ignored=IGNORED,
    )
)
