"""The config of a folder in open_clip's form, as the one that the same model has in CLIP's own.

open_clip_config.json     {"model_cfg": {"embed_dim": 512, "vision_cfg": {...}, "text_cfg": {...}, "quick_gelu": true}}

Towers of other libraries (timm, transformers) and parts that CLIP does not have are refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

from formers.errors import CheckpointError, shown
from formers.files import read_json
from formers.pretrained.keys import Layers, Positive, Raw, Size, words
from formers.shapes import Sized

OPEN_CLIP_CONFIG = "open_clip_config.json"
ARCHITECTURE = "OpenCLIP"  # as which its table of weights is known
# Keys that change nothing, and those that may only say this.
NOTHING = words("""
    patch_dropout output_tokens timm_model_pretrained timm_pool timm_proj timm_proj_bias timm_drop timm_drop_path
    attn_pooler_queries attn_pooler_heads hf_tokenizer_name tokenizer_mode tokenizer_kwargs hf_model_pretrained
    hf_proj_type hf_pooler_type pad_id eos_id custom_text init_logit_scale nonscalar_logit_scale
""")
ONLY: dict[str, Any] = {"pos_embed_type": "learnable", "proj_type": "linear"}
POOLED = {"vision_cfg": "tok", "text_cfg": "argmax"}


class _Tower(TypedDict, total=False):
    layers: Layers | list[Layers]
    width: Size
    mlp_ratio: Positive


class VisionShape(_Tower, total=False):
    head_width: Size
    patch_size: Size
    image_size: Size | Annotated[list[Size], Sized(2, 2)]


class TextShape(_Tower, total=False):
    context_length: Size
    vocab_size: Size
    heads: Size


class _TowersShape(TypedDict):
    embed_dim: Size
    vision_cfg: VisionShape
    text_cfg: TextShape


class TowersShape(_TowersShape, total=False):
    quick_gelu: bool


class OpenClipShape(TypedDict):
    """open_clip_config.json."""

    model_cfg: TowersShape


def open_clip_config(path: Path) -> dict[str, Any]:
    """config.json of the same model. Raises CheckpointError for what CLIP does not have, by name."""
    model: Raw = read_json(path, OpenClipShape)["model_cfg"]
    vision, text = model["vision_cfg"], model["text_cfg"]
    texts = [
        *strange(model, "", words("embed_dim vision_cfg text_cfg quick_gelu")),
        *strange(vision, "vision_cfg", words("layers width head_width mlp_ratio patch_size image_size")),
        *strange(text, "text_cfg", words("layers width heads mlp_ratio context_length vocab_size")),
    ]
    if isinstance(vision.get("layers"), list):
        texts.append(f"vision_cfg.layers = {shown(vision['layers'])}, a ResNet whose features attention pools")
    if texts:
        raise CheckpointError(f"{path} says what is not computed here: {'; '.join(texts)}")
    width, text_width = vision.get("width", 768), text.get("width", 512)
    heads = width // vision.get("head_width", 64)
    activation = {"hidden_act": "quick_gelu" if model.get("quick_gelu") else "gelu"}
    return {
        "model_type": "clip",
        "architectures": [ARCHITECTURE],
        "projection_dim": model["embed_dim"],
        "vision_config": {
            "image_size": vision.get("image_size", 224),
            "patch_size": vision.get("patch_size", 16),
            **sizes(vision, width, heads),
            **activation,
        },
        "text_config": {
            "vocab_size": text.get("vocab_size", 49408),
            "max_position_embeddings": text.get("context_length", 77),
            "eos_token_id": 2,  # which means the token with the highest number
            **sizes(text, text_width, text.get("heads", 8)),
            **activation,
        },
    }


def sizes(tower: Mapping[str, Any], width: int, heads: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "num_hidden_layers": tower.get("layers", 12),
        "num_attention_heads": heads,
        "intermediate_size": int(width * tower.get("mlp_ratio", 4.0)),
    }


def strange(raw: Raw, outer: str, read: frozenset[str]) -> list[str]:
    """What a part says beyond what is read of it."""
    only = {**ONLY, "pool_type": POOLED.get(outer)}
    texts = []
    for key, value in raw.items():
        if key not in read | NOTHING and value not in (None, False, only.get(key)):
            texts.append(f"{outer}.{key} = {shown(json.dumps(value))[1:-1]}".removeprefix("."))
    return texts
