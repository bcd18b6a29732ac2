"""SigLIP and SigLIP 2 at a fixed size (Zhai et al. 2023; Tschannen et al. 2025): `google/siglip-base-patch16-224`.

What is particular: attention pools a picture, the last vector of a padded text is the text's; a classifier reads the
mean of the patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from formers.models.clip import CLIP, CLIPConfig, TextTower, TextTowerConfig
from formers.models.vit import ViT
from formers.pretrained.config_map import ConfigMap, Inner, Raw
from formers.pretrained.family import Family
from formers.pretrained.layouts import encoder, towers
from formers.pretrained.mapping import Rows

DEFAULTS: Raw = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
TEXT_ROWS = [*towers.text_rows(), ("text_model.head.{p}", "project.{p}")]


def text_derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"pad": raw["pad_token_id"], "projection": raw.get("projection_size") or raw["hidden_size"]}


def text_written(config: TextTowerConfig) -> dict[str, Any]:
    return {"pad_token_id": config.pad, "projection_size": config.projection, "model_type": "siglip_text_model"}


TEXT = ConfigMap(
    config=TextTowerConfig,
    names=towers.TEXT_NAMES,
    fixed={"causal": False, "projection_bias": True},
    defaults={**DEFAULTS, "vocab_size": 32000, "max_position_embeddings": 64, "pad_token_id": 1},
    reads=("projection_size",),
    derived=text_derived,
    written=text_written,
    ignored=towers.IGNORED,
    canonical=towers.canonical_text,
)
PICTURE = towers.picture_map(
    "siglip_vision_model", {**DEFAULTS, "patch_size": 16}, {"class_tokens": 0}, pooled="vision_use_head"
)
WHOLE = ConfigMap(
    config=CLIPConfig,
    names={},
    within={"text_config": Inner("text", TEXT), "vision_config": Inner("picture.body", PICTURE)},
    fixed={"bias": True, "picture.projection": 0},
    ignored=towers.IGNORED,
    canonical=towers.canonical,
)


def rows(config: CLIPConfig) -> Rows:
    body: Any = config.picture.body
    return [
        encoder.moved(TEXT_ROWS, "", "text."),
        encoder.moved(towers.picture_rows(body), "", "picture.body."),
        ("logit_scale", "logit_scale", towers.NUMBER),
        ("logit_bias", "logit_bias", towers.NUMBER),
    ]


FAMILIES = [
    Family(model_type="siglip", model=CLIP, config=WHOLE, weights=rows, architectures=("SiglipModel",)),
    towers.classifier("Siglip", WHOLE.within["vision_config"]),
]
TEXTS = Family(
    model_type="siglip_text_model",
    model=TextTower,
    config=TEXT,
    weights=TEXT_ROWS,
    prefixes=("+text_model.",),
    architectures=("SiglipTextModel",),
)
PICTURES = Family(
    model_type="siglip_vision_model",
    model=ViT,
    config=PICTURE,
    weights=towers.picture_rows,
    prefixes=("+vision_model.",),
    architectures=("SiglipVisionModel",),
)
