"""T5 and FLAN-T5 (Raffel et al. 2020; v1.1: Shazeer 2020), mT5 (Xue et al. 2021), and their encoders alone.

What is particular: a relative bias per stack, RMS norms, no biases, unscaled scores.
v1 has relu and a tied head on a decoder output scaled by dim ** -0.5; v1.1, FLAN and mT5 have gated tanh-GELU and
an unscaled head of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from formers.blocks.stack import StackConfig
from formers.models.encoder import Encoder, EncoderConfig
from formers.models.transformer import Transformer, TransformerConfig
from formers.pretrained.config_map import ConfigMap, pairs
from formers.pretrained.families import bart
from formers.pretrained.family import Family
from formers.pretrained.layouts.encoder import canonical
from formers.pretrained.mapping import Row, dropped, tied

ACTIVATIONS = bart.ACTIVATIONS
STACK = {"norm": "rms", "norm_first": True, "bias": "", "feed_forward_bias": False, "scale": 1.0}
SHARED = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")


def activation(raw: Mapping[str, Any]) -> str:
    """Their name of the non-linearity: "gated-gelu" has always meant the tanh approximation."""
    name = raw["feed_forward_proj"]
    return "gelu_new" if name == "gated-gelu" else name.split("-")[-1]


def activation_of(raw: Mapping[str, Any]) -> str:
    name = ACTIVATIONS.get(activation(raw))
    if name is None:
        raise ValueError(f"feed_forward_proj = {raw['feed_forward_proj']!r} is not computed here")
    return name


def derived(raw: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    name = activation_of(raw)
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


def unscaled(raw: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Of mT5, whose files say that the head is its own, and whose readers never scale."""
    return {**derived(raw, tensors), "head_scale": None}


def is_gated(raw: Mapping[str, Any]) -> bool:
    return raw["feed_forward_proj"].startswith("gated-")


def written_activation(stack: StackConfig) -> dict[str, Any]:
    name = next(theirs for theirs, ours in ACTIVATIONS.items() if ours == stack.activation)
    plain = "gelu" if stack.gated and name == "gelu_new" else name  # "gated-gelu" has always meant the tanh one
    return {
        "feed_forward_proj": f"gated-{plain}" if stack.gated else plain,
        "is_gated_act": stack.gated,
        "dense_act_fn": name,
    }


def written(config: TransformerConfig) -> dict[str, Any]:
    return {
        **written_activation(config.encoder),
        "num_decoder_layers": config.decoder.layers,
        "scale_decoder_outputs": config.head_scale is not None,
        "tie_word_embeddings": config.tied,
        "is_encoder_decoder": True,
    }


def layer_rows(side: str, ours: str, gated: bool) -> list[Row]:
    """The blocks of a stack and its norm: `side` is encoder or decoder, which has a memory between its two parts."""
    dense = "layer.1" if side == "encoder" else "layer.2"
    inner = [("wi_0", "gate"), ("wi_1", "up")] if gated else [("wi", "up")]
    blocks, own = f"{side}.block.{{i}}", f"{ours}.blocks.{{i}}"
    return [
        *[(f"{blocks}.layer.0.SelfAttention.{x}.weight", f"{own}.attention.{x}.weight") for x in "qkvo"],
        (f"{blocks}.layer.0.layer_norm.weight", f"{own}.norm_attention.weight"),
        (f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight", f"{ours}.relative.weight"),
        *[
            (f"{blocks}.{dense}.DenseReluDense.{theirs}.weight", f"{own}.feed_forward.{part}.weight")
            for theirs, part in [*inner, ("wo", "down")]
        ],
        (f"{blocks}.{dense}.layer_norm.weight", f"{own}.norm_feed_forward.weight"),
        (f"{side}.final_layer_norm.weight", f"{ours}.norm.weight"),
    ]


def weights(config: TransformerConfig) -> list[Row]:
    head: list[Row] = [tied("embedding.weight", *SHARED), ("lm_head.weight", "head.weight")]
    if config.tied:
        head = [tied("embedding.weight", *SHARED, "lm_head.weight")]
    cross = "decoder.block.{i}.layer.1"
    return [
        *head,
        *(row for side in ("encoder", "decoder") for row in layer_rows(side, side, config.encoder.gated)),
        *[(f"{cross}.EncDecAttention.{x}.weight", f"decoder.blocks.{{i}}.cross_attention.{x}.weight") for x in "qkvo"],
        (f"{cross}.layer_norm.weight", "decoder.blocks.{i}.norm_cross.weight"),
        # the first published files carry it, and no implementation has ever read it
        *dropped("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"),
    ]


def encoder_weights(config: EncoderConfig) -> list[Row]:
    return [
        tied("embedding.weight", *SHARED[:2]),
        *layer_rows("encoder", "stack", config.stack.gated),
        *dropped("decoder.{name*}", "lm_head.weight"),  # of a whole model whose encoder is asked for
    ]


def encoder_derived(raw: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"stack.activation": activation_of(raw), "stack.gated": is_gated(raw)}


def encoder_written(config: EncoderConfig) -> dict[str, Any]:
    return {**written_activation(config.stack), "is_encoder_decoder": False}


def of_encoder(paths: str) -> str:
    """Of the fields of an encoder-decoder the one of an encoder alone."""
    return paths.split()[0].replace("encoder.", "stack.")


NAMES = {
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
}
DEFAULTS = {
    "n_positions": 512,
    "dropout_rate": 0.1,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "relu",
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
}
ALIASES = pairs("hidden_size=d_model num_attention_heads=num_heads num_hidden_layers=num_layers head_dim=d_kv")
ACTIVATED = {"dense_act_fn": activation, "is_gated_act": is_gated}
IGNORED = frozenset({"initializer_factor", "classifier_dropout"})
READS = ("num_decoder_layers", "tie_word_embeddings", "scale_decoder_outputs")


def kinds_of(
    model_type: str,
    name: str,
    also: tuple[str, ...] = (),
    read: Callable[[Mapping[str, Any], Mapping[str, Tensor]], Mapping[str, Any]] = derived,
    **defaults: Any,
) -> list[Family]:
    """The encoder-decoder, and its encoder alone, which is also what a file without a decoder holds."""
    whole = ConfigMap(
        config=TransformerConfig,
        names=NAMES,
        fixed={
            **{f"{side}.{key}": value for side in ("encoder", "decoder") for key, value in STACK.items()},
            "positions": "relative",
            "final_norm": True,
        },
        defaults={**DEFAULTS, **defaults},
        aliases=ALIASES,
        checked={"is_encoder_decoder": True, **ACTIVATED},
        derived=read,
        reads=READS,
        written=written,
        ignored=IGNORED,
    )
    alone = ConfigMap(
        config=EncoderConfig,
        names={key: of_encoder(paths) for key, paths in NAMES.items()},
        fixed={
            **{f"stack.{key}": value for key, value in STACK.items()},
            "positions": "none",
            "segments": 0,
            "embedding_norm": False,
            "pooler": "",
        },
        defaults={**DEFAULTS, **defaults},
        aliases=ALIASES,
        checked=ACTIVATED,
        derived=encoder_derived,
        written=encoder_written,
        ignored=IGNORED | {*READS, "is_encoder_decoder"},
        canonical=canonical,
    )
    return [
        Family(
            model_type=model_type,
            model=Transformer,
            config=whole,
            weights=weights,
            architectures=(f"{name}ForConditionalGeneration",),
            also=(f"{name}Model", *also),
            head=("decoder.",),
            generation={"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1},
        ),
        Family(
            model_type=model_type,
            model=Encoder,
            config=alone,
            weights=encoder_weights,
            architectures=(f"{name}EncoderModel",),
        ),
    ]


FAMILIES = kinds_of("t5", "T5", ("T5WithLMHeadModel",))
MULTILINGUAL = kinds_of("mt5", "MT5", read=unscaled, feed_forward_proj="gated-gelu")
