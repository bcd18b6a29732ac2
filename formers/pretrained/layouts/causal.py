"""What the families of language models share: how their files spell heads, rotary positions and windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from formers.blocks.position import AnyStretch, Dynamic, Stretch, Yarn
from formers.blocks.stack import StackConfig
from formers.models.causal import CausalConfig, CausalLM
from formers.pretrained.config_map import ConfigMap, Raw, words
from formers.pretrained.family import Family
from formers.pretrained.mapping import Row, Rule, tied

# training only, notes of tools, and parts of classifiers that a language model does not have
IGNORED = words("""
    attention_dropout initializer_range is_llama_config max_sequence_length neftune_noise_alpha pretraining_tp
    transformers.js_config unsloth_fixed unsloth_version
""")
STRETCHES: dict[str, set[str]] = {
    "default": set(),
    "linear": {"factor"},
    "dynamic": {"factor"},
    "llama3": {"factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"},
    "yarn": {
        *("factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow"),
        *("mscale", "mscale_all_dim", "truncate"),
    },
}


def canonical_stack(stack: StackConfig) -> StackConfig:
    """The sizes of a stack without those that are the usual ones."""
    size = stack.head_dim or stack.dim // stack.heads
    return replace(
        stack,
        kv_heads=None if stack.kv_heads == stack.heads else stack.kv_heads,
        head_dim=None if size * stack.heads == stack.dim else size,
        scale=None if stack.scale == size**-0.5 else stack.scale,
    )


def canonical(config: CausalConfig) -> CausalConfig:
    """The config without what changes nothing: a head_dim of dim / heads, windows of 0, a base of no layer."""
    c, stack = config, canonical_stack(config.stack)
    windows = tuple(c.windows) if any(c.windows) else ()
    if c.positions != "rotary":
        return replace(
            c, stack=stack, windows=windows, rotary_base=10000.0, rotary_stretch=None, local_rotary_base=None
        )
    stretch, local = c.rotary_stretch, c.local_rotary_base
    if isinstance(stretch, Stretch) and stretch.original is None:
        stretch = Stretch(stretch.factor) if stretch.factor != 1 else None
    if not windows or (local == c.rotary_base and stretch is None):
        local = None
    return replace(c, stack=stack, windows=windows, rotary_stretch=stretch, local_rotary_base=local)


def head(config: CausalConfig, embedding: str) -> list[Row]:
    """Rows of the token embedding and of the output head, which is the same tensor when tied."""
    if config.tied:
        return [tied("embedding.weight", embedding, "lm_head.weight")]
    return [(embedding, "embedding.weight"), Rule(("lm_head.weight",), "head.weight")]


def is_tied(
    raw: Raw, tensors: Mapping[str, Tensor], *names: str, same: Callable[[Tensor, Tensor], bool] = torch.equal
) -> bool:
    """Whether the head is the embedding: as the config says, unless the file holds a head of its own.

    Source: transformers 5 keeps both tensors when both are stored and differ, whatever the config says.
    """
    own = tensors.get("lm_head.weight")
    embedding = next((tensors[name] for name in names if name in tensors), None)
    apart = own is not None and embedding is not None and not same(own, embedding)
    return raw["tie_word_embeddings"] and not apart


def language_model(
    model_type: str,
    architecture: str,
    weights: Callable[[CausalConfig], Sequence[Row]],
    *,
    prefix: str = "+model.",
    also: tuple[str, ...] = (),
    **own: Any,
) -> Family:
    """A family of language models; also: other names of its class; own: what its config map does not share."""
    config = ConfigMap(config=CausalConfig, canonical=canonical, **{"ignored": IGNORED, **own})
    return Family(
        model_type=model_type,
        model=CausalLM,
        config=config,
        weights=weights,
        prefixes=(prefix,),
        architectures=(architecture,),
        also=(architecture.replace("ForCausalLM", "Model").replace("LMHeadModel", "Model"), *also),
    )


def rotary(*spellings: Any, base: float, length: int) -> tuple[float, AnyStretch | None]:
    """Base and stretch from all spellings of a file, which must agree: `rope_parameters` of transformers 5,
    `rope_theta` beside `rope_scaling` before. Raises ValueError for a kind of scaling that is not computed here.
    """
    parameters: dict[str, Any] = {}
    for spelling in spellings:
        if not isinstance(spelling, Mapping):
            raise ValueError(f"rotary parameters are an object, got {spelling!r}")
        for key, value in spelling.items():
            name = "rope_type" if key == "type" else key
            if value is not None and parameters.setdefault(name, value) != value:
                raise ValueError(f"{name} is {parameters[name]!r} in one place and {value!r} in another")
    if parameters.pop("partial_rotary_factor", 1) != 1:
        raise ValueError("partial_rotary_factor other than 1 is not computed here")
    kind, theta = parameters.pop("rope_type", "default"), float(parameters.pop("rope_theta", base))
    if kind not in STRETCHES:
        raise ValueError(f"rope_type {kind!r} is not computed here; known: {', '.join(STRETCHES)}")
    if strange := sorted(parameters.keys() - STRETCHES[kind]):
        raise ValueError(f"rope_type {kind!r} with {strange[0]} = {parameters[strange[0]]!r} is not computed here")
    return theta, stretch_of(kind, parameters, theta, length)


def stretch_of(kind: str, parameters: Raw, base: float, length: int) -> AnyStretch | None:
    """The stretch of a kind of `STRETCHES`; length: what `max_position_embeddings` says."""
    if kind == "default":
        return None
    original = parameters.get("original_max_position_embeddings", length)
    if original < 1:
        raise ValueError(f"original_max_position_embeddings is {original}, expected at least 1")
    if kind == "yarn" and "factor" not in parameters and original != length:
        factor = length / original
    else:
        factor = float(parameters["factor"])
    if factor <= 0 or (kind == "yarn" and base <= 1):
        raise ValueError(f"rope_type {kind!r} with factor {factor} and rope_theta {base} is not computed here")
    if kind == "linear":
        return Stretch(factor)
    if kind == "dynamic":
        return Dynamic(factor, length)
    if kind == "llama3":
        low, high = float(parameters["low_freq_factor"]), float(parameters["high_freq_factor"])
        if low >= high:
            raise ValueError(f"low_freq_factor ({low}) must be below high_freq_factor ({high})")
        return Stretch(factor, original, low, high)
    slow, fast = float(parameters.get("beta_slow") or 1), float(parameters.get("beta_fast") or 32)
    if min(slow, fast) <= 0:
        raise ValueError(f"beta_slow ({slow}) and beta_fast ({fast}) must be above 0")
    loudness = parameters.get("attention_factor", usual_loudness(factor, parameters))
    return Yarn(factor, original, slow, fast, float(loudness), bool(parameters.get("truncate", True)))


def usual_loudness(factor: float, parameters: Raw) -> float:
    """What YaRN multiplies cosines and sines with, where a file does not say it; DeepSeek's `mscale` says how to."""

    def growth(times: float) -> float:
        return 0.1 * times * math.log(factor) + 1.0 if factor > 1 else 1.0

    above, below = parameters.get("mscale"), parameters.get("mscale_all_dim")
    return growth(above) / growth(below) if above and below else growth(1.0)


def reach(length: int, stretch: AnyStretch | None) -> int:
    """How many positions a model sees whose file says `length`: YaRN and a growing base are for more of them."""
    if isinstance(stretch, Yarn | Dynamic):
        return max(length, round(stretch.original * stretch.factor))
    return length


def written_rotary(base: float, stretch: AnyStretch | None) -> dict[str, Any]:
    """One entry of `rope_parameters`."""
    if stretch is None:
        return {"rope_type": "default", "rope_theta": base}
    entry: dict[str, Any] = {"rope_theta": base, "factor": stretch.factor}
    if isinstance(stretch, Dynamic):
        return {"rope_type": "dynamic", **entry}
    if isinstance(stretch, Yarn):
        return {
            "rope_type": "yarn",
            **entry,
            "original_max_position_embeddings": stretch.original,
            "attention_factor": stretch.loudness,
            "beta_fast": stretch.fast,
            "beta_slow": stretch.slow,
            "truncate": stretch.whole,
        }
    if stretch.original is None:
        return {"rope_type": "linear", **entry}
    return {
        "rope_type": "llama3",
        **entry,
        "original_max_position_embeddings": stretch.original,
        "low_freq_factor": stretch.low,
        "high_freq_factor": stretch.high,
    }


def spelled_before(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The same for readers before transformers 5, beside `rope_parameters`."""
    scaling = {key: value for key, value in parameters.items() if key != "rope_theta"}
    before: dict[str, Any] = {"rope_theta": parameters["rope_theta"]}
    return before if parameters["rope_type"] == "default" else {**before, "rope_scaling": scaling}


def windows(kinds: Sequence[str], near: str, far: str, size: int | None, layers: int) -> tuple[int, ...]:
    """Our window of each layer from the names of their kinds; `size` positions for the `near` ones.

    Raises ValueError for another kind, a wrong number of them, or a size that is none.
    """
    if len(kinds) != layers:
        raise ValueError(f"{len(kinds)} kinds of layers are named, for {layers} layers")
    if strange := [kind for kind in kinds if kind not in (near, far)]:
        raise ValueError(f"layers of the kind {strange[0]!r} are not computed here; known: {far}, {near}")
    if near not in kinds:
        return ()
    if size is None or size < 1:
        raise ValueError(f"some layers are {near}, with a window of {'null' if size is None else size}")
    return tuple(size if kind == near else 0 for kind in kinds)


def layer_types(config: CausalConfig) -> list[str]:
    """The kinds of all layers, as transformers 5 names them."""
    return [
        "sliding_attention" if window else "full_attention" for window in config.windows or (0,) * config.stack.layers
    ]


def window(config: CausalConfig) -> int | None:
    """The one window of a config; where there are several, the way back shows it."""
    return max(config.windows, default=None)


def sizes(
    raw: Raw, tensors: Mapping[str, Tensor], stretch: AnyStretch | None, *, kv_heads: int, head_dim: int | None
) -> dict[str, Any]:
    """What the rotary families derive alike."""
    return {
        "stack.kv_heads": kv_heads,
        "stack.head_dim": head_dim,
        # they have no dropout in these places; the name is GPT-2's, and only a model that we train has it
        "stack.dropout": raw.get("resid_pdrop", 0.0),
        "length": reach(raw["max_position_embeddings"], stretch),
        "rotary_stretch": stretch,
        "tied": is_tied(raw, tensors, "model.embed_tokens.weight", "embed_tokens.weight"),
    }


def written_sizes(config: CausalConfig) -> dict[str, Any]:
    """The way back from `sizes`, all of it spelled out."""
    s, stretch = config.stack, config.rotary_stretch
    return {
        "num_key_value_heads": s.kv_heads or s.heads,
        "head_dim": s.head_dim or s.dim // s.heads,
        "attention_dropout": 0.0,
        "max_position_embeddings": stretch.original if isinstance(stretch, Dynamic) else config.length,
        "tie_word_embeddings": config.tied,
        **({"resid_pdrop": s.dropout} if s.dropout else {}),
    }
