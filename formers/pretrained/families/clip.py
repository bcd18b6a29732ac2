"""CLIP (Radford et al. 2021) and its single towers: `openai/clip-vit-base-patch32`, `laion/CLIP-ViT-H-14-laion2B-*`.

What is particular: old files say that token 2 ends a text, which means the one with the highest number; keys of the
towers' configs in "text_config_dict" and "vision_config_dict" go before those beside them. open_clip has names of its
own, queries, keys and values in one matrix, and the last maps transposed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from formers.models.clip import CLIP, CLIPConfig, PictureTower, PictureTowerConfig, TextTower, TextTowerConfig
from formers.models.vit import ViT
from formers.pretrained.config_map import ConfigMap, Inner, Raw, pairs
from formers.pretrained.family import Family
from formers.pretrained.layouts import towers
from formers.pretrained.layouts.encoder import moved, names_within, values_within
from formers.pretrained.mapping import TRANSPOSED, Rows, dropped
from formers.pretrained.open_clip import ARCHITECTURE

HIGHEST = 2  # as the token that ends a text: "the one with the highest number"
TEXT_ROW = ("text_projection.weight", "project.weight")
PICTURE_ROW = ("visual_projection.weight", "project.weight")


def ending(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    end = raw["eos_token_id"]
    if not isinstance(end, int):
        raise ValueError(f"eos_token_id = {end!r:.80} is not computed here, expected one token")
    return {"end": None if end == HIGHEST else end}


def written_text(config: TextTowerConfig) -> dict[str, Any]:
    return {"eos_token_id": HIGHEST if config.end is None else config.end, "model_type": "clip_text_model"}


TEXT = ConfigMap(
    config=TextTowerConfig,
    names=towers.TEXT_NAMES,
    fixed={"projection": 0},
    defaults={
        "vocab_size": 49408,
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "eos_token_id": 49407,
    },
    derived=ending,
    written=written_text,
    ignored=towers.IGNORED | {"projection_dim"},
    canonical=towers.canonical_text,
)
PICTURE = towers.picture_map(
    "clip_vision_model",
    {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "patch_size": 32,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    },
    {"patch_bias": False, "norm_input": True},
)
PROJECTED = {"projection_dim": 512}
WHOLE = ConfigMap(
    config=CLIPConfig,
    names={"projection_dim": "text.projection picture.projection"},
    within={
        "text_config": Inner("text", TEXT, "text_config_dict"),
        "vision_config": Inner("picture.body", PICTURE, "vision_config_dict"),
    },
    defaults=PROJECTED,
    written=lambda config: {"logit_scale_init_value": 2.6592},
    ignored=towers.IGNORED,
    canonical=towers.canonical,
)


def rows(config: CLIPConfig) -> Rows:
    body: Any = config.picture.body
    return [
        moved([*towers.text_rows(), TEXT_ROW], "", "text."),
        moved(towers.picture_rows(body), "", "picture.body."),
        moved([PICTURE_ROW], "", "picture."),
        ("logit_scale", "logit_scale"),
    ]


def open_clip_layers(theirs: str, ours: str) -> Rows:
    return [(f"{theirs}.resblocks.{{i}}.{old}", f"{ours}.blocks.{{i}}.{new}") for old, new in pairs(OPEN_LAYER).items()]


OPEN_LAYER = """
    attn.in_proj_{p}=attention.[q,k,v].{p} attn.out_proj.{p}=attention.o.{p}
    ln_1.{p}=norm_attention.{p} ln_2.{p}=norm_feed_forward.{p}
    mlp.c_fc.{p}=feed_forward.up.{p} mlp.c_proj.{p}=feed_forward.down.{p}
"""
OPEN_TEXT: Rows = [
    ("token_embedding.weight", "embedding.weight"),
    ("positional_embedding", "positions.weight"),
    *open_clip_layers("transformer", "stack"),
    ("ln_final.{p}", "stack.norm.{p}"),
]
OPEN_ROWS: Rows = [
    moved(OPEN_TEXT, "", "text."),
    ("text_projection", "text.project.weight", TRANSPOSED),
    ("visual.class_embedding", "picture.body.class_tokens.0"),
    ("visual.positional_embedding", "picture.body.positions.weight"),
    ("visual.conv1.weight", "picture.body.patches.project.weight"),
    ("visual.ln_pre.{p}", "picture.body.norm_input.{p}"),
    *open_clip_layers("visual.transformer", "picture.body.stack"),
    ("visual.ln_post.{p}", "picture.body.stack.norm.{p}"),
    ("visual.proj", "picture.project.weight", TRANSPOSED),
    ("logit_scale", "logit_scale", towers.NUMBER),
    dropped("attn_mask", "input_resolution", "context_length", "vocab_size"),
]


def with_projection(plain: ConfigMap, config: type, path: str = "", **own: Any) -> ConfigMap:
    """The map of a tower with its last map; path: where its body is."""
    names = {**(names_within(plain.names, path) if path else plain.names), "projection_dim": "projection"}
    fixed = values_within(plain.fixed, path)
    fixed.pop("projection", None)
    return replace(
        plain,
        config=config,
        names=names,
        fixed=fixed,
        defaults={**plain.defaults, **PROJECTED},
        ignored=plain.ignored - {"projection_dim"},
        **own,
    )


FAMILIES = [
    Family(model_type="clip", model=CLIP, config=WHOLE, weights=rows, architectures=("CLIPModel",)),
    Family(  # only read: it is saved in the layout above
        model_type="clip",
        model=CLIP,
        config=WHOLE,
        weights=OPEN_ROWS,
        prefixes=("-text.",),
        architectures=(ARCHITECTURE,),
    ),
    towers.classifier("CLIP", WHOLE.within["vision_config"], "norm"),
]
TEXTS = [
    Family(
        model_type="clip_text_model",
        model=TextTower,
        config=TEXT,
        weights=towers.text_rows(),
        prefixes=("+text_model.",),
        architectures=("CLIPTextModel",),
    ),
    Family(
        model_type="clip_text_model",
        model=TextTower,
        config=with_projection(TEXT, TextTowerConfig),
        weights=[*towers.text_rows(), TEXT_ROW],
        prefixes=("+text_model.",),
        architectures=("CLIPTextModelWithProjection",),
        head=("text_projection.",),
    ),
]
PICTURES = [
    Family(
        model_type="clip_vision_model",
        model=ViT,
        config=PICTURE,
        weights=towers.picture_rows,
        prefixes=("+vision_model.",),
        architectures=("CLIPVisionModel",),
    ),
    Family(
        model_type="clip_vision_model",
        model=PictureTower,
        config=with_projection(
            PICTURE,
            PictureTowerConfig,
            "body.",
            derived=lambda raw, tensors: values_within(PICTURE.derived(raw, tensors), "body."),
            written=lambda config: PICTURE.written(config.body),
            canonical=towers.canonical_picture,
        ),
        weights=lambda config: [moved(towers.picture_rows(config.body), "", "body."), PICTURE_ROW],
        prefixes=("+vision_model.",),
        architectures=("CLIPVisionModelWithProjection",),
        head=("visual_projection.",),
    ),
]
