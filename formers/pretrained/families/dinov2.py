"""DINOv2, with registers too (Oquab et al. 2024; Darcet et al. 2024): `facebook/dinov2-small`.

What is particular: a learned factor on each branch; the largest size has a gated feed-forward, gate and up in one
matrix; the classifier reads the class token and the mean of the patches side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from formers.models.vit import ViT, ViTConfig
from formers.pretrained.config_map import Raw
from formers.pretrained.layouts import vision
from formers.pretrained.layouts.encoder import norm
from formers.pretrained.layouts.vision import TABLE, PictureHead, PictureLayout
from formers.pretrained.mapping import Rows

PREFIX, BLOCK = "encoder.layer.{i}", "stack.blocks.{i}"


def rows(config: ViTConfig) -> Rows:
    if config.stack.gated:
        feed_forward = [
            (f"{PREFIX}.mlp.weights_in.{{p}}", f"{BLOCK}.feed_forward.[gate,up].{{p}}"),
            (f"{PREFIX}.mlp.weights_out.{{p}}", f"{BLOCK}.feed_forward.down.{{p}}"),
        ]
    else:
        feed_forward = [
            (f"{PREFIX}.mlp.fc1.{{p}}", f"{BLOCK}.feed_forward.up.{{p}}"),
            (f"{PREFIX}.mlp.fc2.{{p}}", f"{BLOCK}.feed_forward.down.{{p}}"),
        ]
    registers = [("embeddings.register_tokens", "registers", TABLE)] if config.registers else []
    return [
        *vision.tokens(config),
        *registers,
        *vision.attention(PREFIX),
        *feed_forward,
        (f"{PREFIX}.layer_scale1.lambda1", f"{BLOCK}.after_attention.weight"),
        (f"{PREFIX}.layer_scale2.lambda1", f"{BLOCK}.after_feed_forward.weight"),
        norm(f"{PREFIX}.norm1", f"{BLOCK}.norm_attention"),
        norm(f"{PREFIX}.norm2", f"{BLOCK}.norm_feed_forward"),
        norm("layernorm", "stack.norm"),
    ]


def derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    gated = bool(raw["use_swiglu_ffn"])
    hidden = int(raw["hidden_size"] * raw["mlp_ratio"])
    return {
        **vision.picture_size(raw),
        "stack.bias": "qkvo" if raw["qkv_bias"] else "o",
        "stack.hidden": gated_width(hidden) if gated else hidden,
        "stack.gated": gated,
        **({"stack.activation": "silu"} if gated else {}),  # whatever hidden_act says
    }


def gated_width(hidden: int) -> int:
    """Two thirds, rounded up to a multiple of 8."""
    return (int(hidden * 2 / 3) + 7) // 8 * 8


def written(config: ViTConfig) -> dict[str, Any]:
    s = config.stack
    ratio = s.hidden / s.dim
    if s.gated:  # the first whole one that is rounded to this width
        ratio = next((n for n in range(1, 64) if gated_width(s.dim * n) == s.hidden), s.hidden * 1.5 / s.dim)
    return {
        **vision.written_size(config),
        "qkv_bias": "q" in s.bias,
        "use_swiglu_ffn": s.gated,
        "mlp_ratio": int(ratio) if ratio == int(ratio) else ratio,
    }


DINOV2 = PictureLayout(
    model_type="dinov2",
    model=ViT,
    config=ViTConfig,
    prefix="dinov2.",
    architecture="Dinov2Model",
    rows=rows,
    heads=(
        PictureHead(
            architecture="Dinov2ForImageClassification",
            rows=[("classifier.{p}", "out.0.{p}")],
            pooling="first_and_mean",
        ),
    ),
    names={**vision.NAMES, "layerscale_value": "layer_scale", vision.ANTIALIAS: "antialias"},
    defaults={
        **vision.DEFAULTS,
        vision.ANTIALIAS: False,
        "layer_norm_eps": 1e-6,
        "layerscale_value": 1.0,
        "image_size": 224,
        "patch_size": 14,
        "mlp_ratio": 4,
        "use_swiglu_ffn": False,
    },
    reads=("image_size", "patch_size", "qkv_bias", "mlp_ratio", "use_swiglu_ffn"),
    ignored=frozenset({"intermediate_size"}),
    derived=derived,
    written=written,
    strays=("embeddings.mask_token",),
)
WITH_REGISTERS = replace(
    DINOV2,
    model_type="dinov2_with_registers",
    prefix="dinov2_with_registers.",
    architecture="Dinov2WithRegistersModel",
    names={**DINOV2.names, "num_register_tokens": "registers"},
    defaults={**DINOV2.defaults, "num_register_tokens": 4, vision.ANTIALIAS: True},
    heads=(replace(DINOV2.heads[0], architecture="Dinov2WithRegistersForImageClassification"),),
)
FAMILIES = vision.families_of(DINOV2)
REGISTERS = vision.families_of(WITH_REGISTERS)
