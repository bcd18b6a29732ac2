"""Keys of a config.json that its family does not read: refused where they change what some family computes, else noted.

Readers of a file would compute something else than its makers did if a key were skipped that says what is computed.
Anything else - a licence, a language, what a tool left behind - is kept, and named once.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from formers.errors import MOST, CheckpointError, shown
from formers.pretrained.config_map import ConfigMap, Native
from formers.pretrained.families import families
from formers.pretrained.family import Family
from formers.pretrained.keys import Raw, words

MOST_NAMED = 12  # keys that one line names
CLOSE = 0.9  # how alike a misspelt key is to the one that is meant
# Keys that say what other published families compute, none of which is built here.
ELSEWHERE = words("""
    alibi altup_num_inputs apply_residual_connection_post_layernorm attention_chunk_size attention_multiplier
    attention_out_bias attention_window attn_config attn_scale attn_temperature_tuning block_types clip_qkv
    decoder_sparse_step dim_model_base do_layer_norm_before dual_chunk_attention_config embedding_multiplier
    embedding_scale enable_moe_block ffn_config first_k_dense_replace global_attn_every_n_layers
    hidden_size_per_layer_input interleaved_sliding_window key_multiplier kv_lora_rank laurel_rank
    layers_block_type learned_pos_emb lm_head_bias lm_head_multiplier local_attention logit_scale logits_scaling
    logits_soft_cap mamba_d_state mlp_only_layers moe_intermediate_size moe_layers multi_query mup_enabled n_group
    n_routed_experts n_shared_experts new_decoder_architecture no_rope_layer_interval no_rope_layers num_experts
    num_experts_per_tok num_kv_shared_layers num_local_experts parallel_attn q_lora_rank qk_layernorm qk_norm
    qk_nope_head_dim qk_rope_head_dim qkv_bias residual_multiplier rope_ratio rotary_dim rotary_emb_base
    rotary_embedding_base rotary_pct scale_depth scale_emb shared_expert_intermediate_size sliding_window_size
    ssm_multipliers swiglu_limit topk_group use_bias use_dynamic_ntk use_logn_attn use_mrope use_parallel_residual
    use_post_norm use_qk_norm use_sandwich_norm v_head_dim word_embed_proj_dim
""")
# Read by some family, and nothing to what a trained model computes.
TRAINING = words("dropout dropout_rate hidden_dropout_prob resid_dropout resid_pdrop tie_word_embeddings")
NOTHING: tuple[Any, ...] = (None, False, 0, "", "none", [], {})
# Values beside those that change nothing.
NEUTRAL: dict[str, Any] = {
    **dict.fromkeys(
        words("""
            conv_groups down_scale_factor embedding_multiplier inner_group_num key_multiplier lm_head_multiplier
            logits_scaling n_group partial_rotary_factor residual_multiplier rope_ratio rotary_pct scale_emb topk_group
        """),
        1,
    ),
    "do_layer_norm_before": True,
    "max_relative_positions": -1,
    "position_buckets": -1,
    "position_embedding_type": "absolute",
    "scale_attn_weights": True,
}


def no_stretch(value: Any, raw: Raw) -> bool:
    return isinstance(value, Mapping) and value.get("rope_type", value.get("type")) == "default"


def no_window(value: Any, raw: Raw) -> bool:
    return raw.get("use_sliding_window") is False


# Keys whose value changes nothing beside what other keys say.
BESIDE: dict[str, Callable[[Any, Raw], bool]] = {
    "embedding_size": lambda value, raw: value == raw.get("hidden_size"),
    "num_key_value_heads": lambda value, raw: value == raw.get("num_attention_heads"),
    "layer_types": lambda value, raw: isinstance(value, list) and all(kind == "full_attention" for kind in value),
    "rope_parameters": no_stretch,
    "rope_scaling": no_stretch,
    "sliding_window": no_window,
    "max_window_layers": no_window,
}


def settle(raw: Raw, kind: Family, ignore: Iterable[str], what: str) -> tuple[dict[str, Any], list[str]]:
    """The keys of a config.json that are read, and what is to be noted of the others.

    ignore: keys to take for absent. Raises one CheckpointError for all keys that say what is not computed here.
    """
    raw, strange, unknown = sift(raw, kind.config, {*ignore})
    if texts := strange + kind.config.not_computed(raw):
        cure = "a key that you know to change nothing is passed with --ignore-key NAME (in Python: ignore_keys)"
        raise CheckpointError(f"{what} says what a {kind.model_type} does not compute here: {'; '.join(texts)}; {cure}")
    if not unknown:
        return raw, []
    more = f" and {len(unknown) - MOST_NAMED} more" if len(unknown) > MOST_NAMED else ""
    names = ", ".join(shown(key)[1:-1] for key in unknown[:MOST_NAMED])
    return raw, [f"{what}: nothing here reads {names}{more}; kept when the model is saved"]


def sift(
    raw: Raw, config: ConfigMap | Native, ignore: set[str], outer: str = ""
) -> tuple[dict[str, Any], list[str], list[str]]:
    """The keys that are read, a text for each that is not though it should be, and the names of the others.

    outer: what stands before the names of a config within another: "text_config.".
    """
    raw = {key: value for key, value in raw.items() if key not in ignore and outer + key not in ignore}
    unknown = config.unknown(raw)
    strange = [key for key in unknown if changes(key, raw) or misspelt(key, config)]
    texts = [f"unknown key {shown(outer + key)} ({shown(raw[key])}){misspelt(key, config)}" for key in strange]
    names = [outer + key for key in unknown]
    for key in unknown:
        del raw[key]
    for key, part in config.within.items():
        inner, more_texts, more_names = sift(part.of(raw, key), part.map, ignore, f"{outer}{key}.")
        raw = {name: value for name, value in raw.items() if name != part.instead} | {key: inner}
        texts, names = texts + more_texts, names + more_names
    return raw, texts, names


def changes(key: str, raw: Raw) -> bool:
    """Whether a key that the family does not read would change what some family computes."""
    value = raw[key]
    if key not in computing() or value in NOTHING:
        return False
    return not (key in NEUTRAL and NEUTRAL[key] == value) and not (key in BESIDE and BESIDE[key](value, raw))


def misspelt(key: str, config: ConfigMap | Native) -> str:
    """`; did you mean "layer_norm_eps"?` of a key that is hardly other than one which the family reads."""
    close = difflib.get_close_matches(key[:MOST], sorted(config.read), n=1, cutoff=CLOSE)
    return f'; did you mean "{close[0]}"?' if close else ""


@cache
def computing() -> frozenset[str]:
    """Every key that says what some family computes. Reads all families, so only an unknown key asks for it."""
    return ELSEWHERE.union(*(kind.config.read for kind in families())) - TRAINING
