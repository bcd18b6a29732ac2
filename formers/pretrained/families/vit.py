"""ViT and DeiT (Dosovitskiy et al. 2021; Touvron et al. 2021): `google/vit-base-patch16-224`, `facebook/deit-*`.

What is particular: DeiT has a second class token, which its teacher taught; with the teacher's head, the logits of
both are averaged.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from formers.models.vit import ViT, ViTConfig
from formers.pretrained.config_map import Raw
from formers.pretrained.layouts import vision
from formers.pretrained.layouts.encoder import norm
from formers.pretrained.layouts.vision import PictureHead, PictureLayout
from formers.pretrained.mapping import Rows

PREFIX = "encoder.layer.{i}"


def rows(config: ViTConfig) -> Rows:
    return [
        *vision.tokens(config),
        *vision.attention(PREFIX),
        (f"{PREFIX}.intermediate.dense.{{p}}", "stack.blocks.{i}.feed_forward.up.{p}"),
        (f"{PREFIX}.output.dense.{{p}}", "stack.blocks.{i}.feed_forward.down.{p}"),
        norm(f"{PREFIX}.layernorm_before", "stack.blocks.{i}.norm_attention"),
        norm(f"{PREFIX}.layernorm_after", "stack.blocks.{i}.norm_feed_forward"),
        norm("layernorm", "stack.norm"),
    ]


def derived(raw: Raw, tensors: Any = None) -> dict[str, Any]:
    return {**vision.picture_size(raw), "stack.bias": "qkvo" if raw["qkv_bias"] else "o"}


def written(config: ViTConfig) -> dict[str, Any]:
    return {**vision.written_size(config), "qkv_bias": "q" in config.stack.bias}


VIT = PictureLayout(
    model_type="vit",
    model=ViT,
    config=ViTConfig,
    prefix="vit.",
    architecture="ViTModel",
    rows=rows,
    heads=(PictureHead(architecture="ViTForImageClassification", rows=[("classifier.{p}", "out.0.{p}")]),),
    names={**vision.NAMES, "intermediate_size": "stack.hidden", vision.ANTIALIAS: "antialias"},
    defaults={**vision.DEFAULTS, vision.ANTIALIAS: False, "image_size": 224, "patch_size": 16},
    checked={"pooler_act": "tanh"},
    reads=("image_size", "patch_size", "qkv_bias"),
    derived=derived,
    written=written,
    pooler="pooler.dense",
    strays=("embeddings.mask_token",),
)
DEIT = replace(
    VIT,
    model_type="deit",
    prefix="deit.",
    architecture="DeiTModel",
    fixed={"class_tokens": 2},
    heads=(
        PictureHead(architecture="DeiTForImageClassification", rows=[("classifier.{p}", "out.0.{p}")]),
        PictureHead(
            architecture="DeiTForImageClassificationWithTeacher",
            rows=[("cls_classifier.{p}", "out.0.{p}"), ("distillation_classifier.{p}", "out.1.{p}")],
            pooling="teacher",
        ),
    ),
)
FAMILIES = vision.families_of(VIT)
DEITS = vision.families_of(DEIT)
