"""DINOv3 (Simeoni et al. 2025): `facebook/dinov3-vits16-pretrain-lvd1689m`.

What is particular: positions turn queries and keys of the patches, keys have no bias, the largest size has a gated
feed-forward; how positions were moved in training is nothing to what is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from formers.models.vit import ViT, ViTConfig
from formers.pretrained.config_map import Raw, words
from formers.pretrained.layouts import vision
from formers.pretrained.layouts.vision import TABLE, TOKEN, PictureLayout
from formers.pretrained.mapping import Rows, Rule

PREFIX, BLOCK = "layer.{i}", "stack.blocks.{i}"
BIASES = {"q": "query_bias", "k": "key_bias", "v": "value_bias", "o": "proj_bias"}


def rows(config: ViTConfig) -> Rows:
    none = Rule(("embeddings.register_tokens",), None, computed=lambda: torch.empty(1, 0, config.stack.dim))
    return [
        ("embeddings.cls_token", "class_tokens.0", TOKEN),
        ("embeddings.patch_embeddings.{p}", "patches.project.{p}"),
        ("embeddings.register_tokens", "registers", TABLE) if config.registers else none,
        *((f"{PREFIX}.attention.{x}_proj.{{p}}", f"{BLOCK}.attention.{x}.{{p}}") for x in "qkvo"),
        *((f"{PREFIX}.mlp.{x}_proj.{{p}}", f"{BLOCK}.feed_forward.{x}.{{p}}") for x in ("gate", "up", "down")),
        (f"{PREFIX}.layer_scale1.lambda1", f"{BLOCK}.after_attention.weight"),
        (f"{PREFIX}.layer_scale2.lambda1", f"{BLOCK}.after_feed_forward.weight"),
        (f"{PREFIX}.norm1.{{p}}", f"{BLOCK}.norm_attention.{{p}}"),
        (f"{PREFIX}.norm2.{{p}}", f"{BLOCK}.norm_feed_forward.{{p}}"),
        ("norm.{p}", "stack.norm.{p}"),
    ]


def derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    bias = "".join(ours for ours, theirs in BIASES.items() if raw[theirs])
    return {**vision.picture_size(raw), "stack.bias": bias}


def written(config: ViTConfig) -> dict[str, Any]:
    return {**vision.written_size(config), **{theirs: ours in config.stack.bias for ours, theirs in BIASES.items()}}


LAYOUT = PictureLayout(
    model_type="dinov3_vit",
    model=ViT,
    config=ViTConfig,
    prefix="",
    architecture="DINOv3ViTModel",
    rows=rows,
    names={
        **vision.NAMES,
        "intermediate_size": "stack.hidden",
        "layerscale_value": "layer_scale",
        "mlp_bias": "stack.feed_forward_bias",
        "num_register_tokens": "registers",
        "rope_theta": "rotary_base",
        "use_gated_mlp": "stack.gated",
    },
    fixed={"positions": "rotary"},
    defaults={
        **{key: value for key, value in vision.DEFAULTS.items() if key != "qkv_bias"},
        "image_size": 224,
        "key_bias": False,
        "layer_norm_eps": 1e-5,
        "layerscale_value": 1.0,
        "mlp_bias": True,
        "num_register_tokens": 0,
        "patch_size": 16,
        "proj_bias": True,
        "query_bias": True,
        "rope_theta": 100.0,
        "use_gated_mlp": False,
        "value_bias": True,
    },
    reads=("image_size", "patch_size", *BIASES.values()),
    ignored=words("pos_embed_jitter pos_embed_rescale pos_embed_shift"),
    derived=derived,
    written=written,
    strays=("embeddings.mask_token",),
)
FAMILIES = vision.families_of(LAYOUT)
