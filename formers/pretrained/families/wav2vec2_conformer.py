"""Wav2Vec2-Conformer (Wang et al. 2020; Baevski et al. 2020): `facebook/wav2vec2-conformer-rel-pos-large-960h-ft`.

What is particular: a convolution of positions and a vector of masking lie in every file, and nothing computes with
them; they are carried along. Rotary positions turn what queries and keys are made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from formers.blocks.position import Rotary
from formers.models.conformer import Conformer, ConformerConfig, ConformerEncoder, ConformerEncoderConfig
from formers.pretrained.config_map import ACTIVATIONS, ConfigMap, Raw, pairs, words
from formers.pretrained.family import Family
from formers.pretrained.layouts import sound
from formers.pretrained.layouts.encoder import moved, names_within, values_within
from formers.pretrained.mapping import Row, Rows, Rule, dropped, tied

PREFIX, WITHIN = "wav2vec2_conformer.", "encoder."
LAYER = """
    ffn1.intermediate_dense=feed_forward_first.up ffn1.output_dense=feed_forward_first.down
    ffn2.intermediate_dense=feed_forward_last.up ffn2.output_dense=feed_forward_last.down
    self_attn.linear_q=attention.q self_attn.linear_k=attention.k self_attn.linear_v=attention.v
    self_attn.linear_out=attention.o
    conv_module.pointwise_conv1=convolution.gate conv_module.depthwise_conv=convolution.depthwise
    conv_module.pointwise_conv2=convolution.out
    ffn1_layer_norm=norm_first self_attn_layer_norm=norm_attention conv_module.layer_norm=norm_convolution
    ffn2_layer_norm=norm_last final_layer_norm=norm
"""
RELATIVE = "self_attn.linear_pos=attention.place"
TRAINING = words("""
    activation_dropout attention_dropout feat_proj_dropout feat_quantizer_dropout final_dropout layerdrop
    initializer_range apply_spec_augment mask_time_prob mask_time_length mask_time_min_masks mask_feature_prob
    mask_feature_length mask_feature_min_masks num_codevectors_per_group num_codevector_groups
    contrastive_logits_temperature num_negatives codevector_dim proj_codevector_dim diversity_loss_weight
    ctc_loss_reduction ctc_zero_infinity use_weighted_layer_sum classifier_proj_size tdnn_dim tdnn_kernel tdnn_dilation
    xvector_output_dim adapter_kernel_size adapter_stride num_adapter_layers output_hidden_size max_source_positions
    conformer_conv_dropout num_feat_extract_layers activation_function hidden_dropout_prob
""")
POSITIONS = {"relative": "relative", "rotary": "rotary"}


def rows(config: ConformerEncoderConfig) -> Rows:
    front = "feature_extractor.conv_layers.{i}"
    position = "encoder.pos_conv_embed.conv"
    table: list[Row] = [
        (f"{front}.conv.{{p}}", "front.layers.{i}.convolution.{p}"),
        (f"{front}.layer_norm.{{p}}", "front.layers.{i}.norm.{p}"),
        ("feature_projection.layer_norm.{p}", "front.norm.{p}"),
        ("feature_projection.projection.{p}", "front.project.{p}"),
        ("encoder.layer_norm.{p}", "stack.norm.{p}"),
        Rule(("masked_spec_embed",), "carried.mask", zeros=True),
        (f"{position}.bias", "carried.bias"),
        tied("carried.gain", f"{position}.parametrizations.weight.original0", f"{position}.weight_g"),
        tied("carried.weight", f"{position}.parametrizations.weight.original1", f"{position}.weight_v"),
    ]
    relative = config.positions == "relative"
    attention = "encoder.layers.{i}.self_attn"
    table += sound.block_rows("encoder.layers.{i}", LAYER + (RELATIVE if relative else ""), "conv_module.batch_norm")
    if relative:
        table.append((f"{attention}.pos_bias_u", "stack.blocks.{i}.attention.content_bias"))
        table.append((f"{attention}.pos_bias_v", "stack.blocks.{i}.attention.place_bias"))
    if config.positions == "rotary":

        def turns(stored: Tensor | None = None) -> Tensor:
            head_dim = config.stack.dim // config.stack.heads
            return Rotary(head_dim, base=config.rotary_base).frequencies(torch.device("cpu"))

        table.append(Rule(("encoder.embed_positions.inv_freq",), None, expected=turns, computed=turns))
    return table


def derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    kind, norm = raw.get("position_embeddings_type"), raw["feat_extract_norm"]
    if kind not in (None, *POSITIONS):
        raise ValueError(f"position_embeddings_type = {kind!r:.80} is not computed here; known: {', '.join(POSITIONS)}")
    if norm not in ("group", "layer"):
        raise ValueError(f"feat_extract_norm = {norm!r:.80} is not computed here; known: group, layer")
    sizes = [raw[key] for key in ("conv_dim", "conv_kernel", "conv_stride")]
    if len({len(part) for part in sizes}) != 1:
        raise ValueError("conv_dim, conv_kernel and conv_stride must be equally many")
    return {
        "positions": kind or "none",
        "rotary_base": float(raw["rotary_embedding_base"]),
        "waves": tuple(zip(*sizes, strict=True)),
        "wave_norm": "each" if norm == "layer" else "first",
        "carried": (raw["num_conv_pos_embeddings"], raw["num_conv_pos_embedding_groups"]),
    }


def written(config: ConformerEncoderConfig) -> dict[str, Any]:
    sizes = list(zip(*config.waves, strict=True)) or [(), (), ()]
    return {
        "position_embeddings_type": None if config.positions == "none" else config.positions,
        "rotary_embedding_base": int(config.rotary_base),
        "feat_extract_norm": "layer" if config.wave_norm == "each" else "group",
        **{key: list(part) for key, part in zip(("conv_dim", "conv_kernel", "conv_stride"), sizes, strict=True)},
        "num_conv_pos_embeddings": config.carried[0],
        "num_conv_pos_embedding_groups": config.carried[1],
    }


ENCODER = ConfigMap(
    config=ConformerEncoderConfig,
    names={
        **pairs("""
            hidden_size=stack.dim num_hidden_layers=stack.layers num_attention_heads=stack.heads
            intermediate_size=stack.hidden hidden_dropout=stack.dropout layer_norm_eps=stack.norm_eps
            conv_depthwise_kernel_size=kernel conv_bias=wave_bias
        """),
        "hidden_act": ("stack.activation", ACTIVATIONS),
        "feat_extract_activation": ("wave_activation", ACTIVATIONS),
    },
    fixed={"mels": 1, "halvings": 0, "channels": 0, "scale_input": False, "convolution_bias": False},
    defaults={
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout": 0.1,
        "layer_norm_eps": 1e-5,
        "feat_extract_norm": "group",
        "feat_extract_activation": "gelu",
        "conv_dim": [512] * 7,
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_bias": False,
        "num_conv_pos_embeddings": 128,
        "num_conv_pos_embedding_groups": 16,
        "position_embeddings_type": "relative",
        "rotary_embedding_base": 10000,
        "conv_depthwise_kernel_size": 31,
    },
    nullable=frozenset({"position_embeddings_type"}),
    checked={"add_adapter": False},
    derived=derived,
    written=written,
    ignored=TRAINING | {"vocab_size", "pad_token_id"},
    canonical=sound.canonical,
)
WHOLE = replace(
    ENCODER,
    config=ConformerConfig,
    names={**names_within(ENCODER.names, WITHIN), **pairs("vocab_size=vocab pad_token_id=blank")},
    fixed=values_within(ENCODER.fixed, WITHIN),
    defaults={**ENCODER.defaults, "pad_token_id": 0},
    derived=lambda raw, tensors: values_within(derived(raw, tensors), WITHIN),
    written=lambda config: written(config.encoder),
    canonical=lambda config: replace(config, encoder=sound.canonical(config.encoder)),
)
FAMILIES = [
    Family(
        model_type="wav2vec2-conformer",
        model=Conformer,
        config=WHOLE,
        weights=lambda config: [moved(rows(config.encoder), PREFIX, WITHIN), ("lm_head.{p}", "out.{p}")],
        architectures=("Wav2Vec2ConformerForCTC",),
        head=("lm_head.",),
    ),
    Family(
        model_type="wav2vec2-conformer",
        model=ConformerEncoder,
        config=ENCODER,
        weights=lambda config: [*rows(config), dropped("lm_head.{p}")],
        prefixes=(f"-{PREFIX}",),
        architectures=("Wav2Vec2ConformerModel",),
    ),
]
