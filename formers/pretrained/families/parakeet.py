"""Parakeet's Conformer with CTC (Rekesh et al. 2023): `nvidia/parakeet-ctc-0.6b`, `nvidia/parakeet-ctc-1.1b`.

What is particular: the blank is the last id, and stands in config.json as the padding; `attention_bias` is also that
of the feed-forward.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from formers.models.conformer import Conformer, ConformerConfig, ConformerEncoder, ConformerEncoderConfig
from formers.pretrained.config_map import ACTIVATIONS, ConfigMap, Inner, Raw, pairs, words
from formers.pretrained.family import Family
from formers.pretrained.layouts import sound
from formers.pretrained.layouts.encoder import moved
from formers.pretrained.mapping import Rows

LAYER = """
    feed_forward1.linear1=feed_forward_first.up feed_forward1.linear2=feed_forward_first.down
    feed_forward2.linear1=feed_forward_last.up feed_forward2.linear2=feed_forward_last.down
    self_attn.q_proj=attention.q self_attn.k_proj=attention.k self_attn.v_proj=attention.v self_attn.o_proj=attention.o
    self_attn.relative_k_proj=attention.place
    conv.pointwise_conv1=convolution.gate conv.depthwise_conv=convolution.depthwise conv.pointwise_conv2=convolution.out
    norm_feed_forward1=norm_first norm_self_att=norm_attention norm_conv=norm_convolution norm_feed_forward2=norm_last
    norm_out=norm
"""
TRAINING = words("""
    dropout_positions layerdrop activation_dropout attention_dropout initializer_range max_position_embeddings
    ctc_loss_reduction ctc_zero_infinity
""")


def rows(config: ConformerEncoderConfig) -> Rows:
    front = [("subsampling.layers.0.{p}", "front.first.{p}"), ("subsampling.linear.{p}", "front.project.{p}")]
    for later in range(config.halvings - 1):
        front.append((f"subsampling.layers.{2 + 3 * later}.{{p}}", f"front.depthwise.{later}.{{p}}"))
        front.append((f"subsampling.layers.{3 + 3 * later}.{{p}}", f"front.pointwise.{later}.{{p}}"))
    attention = "stack.blocks.{i}.attention"
    return [
        *front,
        *sound.block_rows("layers.{i}", LAYER, "conv.norm"),
        ("layers.{i}.self_attn.bias_u", f"{attention}.content_bias"),
        ("layers.{i}.self_attn.bias_v", f"{attention}.place_bias"),
    ]


def derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    factor, heads = raw["subsampling_factor"], raw["num_attention_heads"]
    if factor < 2 or factor & (factor - 1):
        raise ValueError(f"subsampling_factor = {factor} is not computed here, expected 2, 4, 8, 16 ...")
    if raw.get("num_key_value_heads", heads) != heads:
        raise ValueError(f"num_key_value_heads = {raw['num_key_value_heads']}, expected num_attention_heads ({heads})")
    return {
        "halvings": int(math.log2(factor)),
        "stack.bias": "qkvo" if raw["attention_bias"] else "",
        "stack.feed_forward_bias": raw["attention_bias"],
    }


def written(config: ConformerEncoderConfig) -> dict[str, Any]:
    return {
        "model_type": "parakeet_encoder",
        "subsampling_factor": 2**config.halvings,
        "attention_bias": config.stack.feed_forward_bias,
        "num_key_value_heads": config.stack.heads,
        "subsampling_conv_kernel_size": 3,
        "subsampling_conv_stride": 2,
    }


ENCODER = ConfigMap(
    config=ConformerEncoderConfig,
    names={
        **pairs("""
            hidden_size=stack.dim num_hidden_layers=stack.layers num_attention_heads=stack.heads
            intermediate_size=stack.hidden dropout=stack.dropout num_mel_bins=mels subsampling_conv_channels=channels
            conv_kernel_size=kernel convolution_bias=convolution_bias scale_input=scale_input
        """),
        "hidden_act": ("stack.activation", ACTIVATIONS),
    },
    defaults={
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 8,
        "intermediate_size": 4096,
        "hidden_act": "silu",
        "attention_bias": True,
        "convolution_bias": True,
        "conv_kernel_size": 9,
        "subsampling_factor": 8,
        "subsampling_conv_channels": 256,
        "num_mel_bins": 80,
        "dropout": 0.1,
        "scale_input": True,
    },
    checked={"subsampling_conv_kernel_size": 3, "subsampling_conv_stride": 2},
    reads=("num_key_value_heads",),
    derived=derived,
    written=written,
    ignored=TRAINING,
    canonical=sound.canonical,
)
FAMILY = Family(
    model_type="parakeet_ctc",
    model=Conformer,
    config=ConfigMap(
        config=ConformerConfig,
        names=pairs("vocab_size=vocab pad_token_id=blank"),
        within={"encoder_config": Inner("encoder", ENCODER)},
        defaults={"vocab_size": 1025, "pad_token_id": 1024},
        ignored=TRAINING,
        canonical=lambda config: replace(config, encoder=sound.canonical(config.encoder)),
    ),
    weights=lambda config: [
        moved(rows(config.encoder), "encoder.", "encoder."),
        ("ctc_head.{p}", "out.{p}", sound.POINTWISE),
    ],
    architectures=("ParakeetForCTC",),
)
BODY = Family(
    model_type="parakeet_encoder",
    model=ConformerEncoder,
    config=ENCODER,
    weights=rows,
    architectures=("ParakeetEncoder",),
)
