"""What CLIP and SigLIP share: the maps and tables of a tower for texts and of one for pictures.

Towers are named "text_model." and "vision_model.", in some files of a single one without. The configs of both lie
within that of the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from formers.models.clip import CLIPConfig, PictureTowerConfig, TextTowerConfig
from formers.models.picture_classifier import PictureClassifier, PictureHeadConfig
from formers.models.vit import ViTConfig
from formers.pretrained.config_map import ACTIVATIONS, ConfigMap, Inner, Raw, pairs, words
from formers.pretrained.family import Family
from formers.pretrained.layouts import vision
from formers.pretrained.layouts.causal import canonical_stack
from formers.pretrained.layouts.encoder import label_keys, moved
from formers.pretrained.mapping import Op, Row, Rows, dropped

SIZES: dict[str, Any] = {
    **pairs("""
        hidden_size=stack.dim num_hidden_layers=stack.layers num_attention_heads=stack.heads
        intermediate_size=stack.hidden layer_norm_eps=stack.norm_eps
    """),
    "hidden_act": ("stack.activation", ACTIVATIONS),
}
TEXT_NAMES = {**SIZES, "vocab_size": "vocab", "max_position_embeddings": "length"}
PICTURE_NAMES = {**SIZES, "num_channels": "channels"}
# training only
IGNORED = words("""
    attention_dropout dropout initializer_factor initializer_range logit_scale_init_value
    tie_word_embeddings
""")
LAYER = """
    self_attn.q_proj=attention.q self_attn.k_proj=attention.k self_attn.v_proj=attention.v
    self_attn.out_proj=attention.o mlp.fc1=feed_forward.up mlp.fc2=feed_forward.down
    layer_norm1=norm_attention layer_norm2=norm_feed_forward
"""
HEAD_ROWS: Rows = [("classifier.{p}", "out.0.{p}")]
NUMBER = Op("number", lambda x: x.reshape(()), lambda x: x.reshape(1))  # (1,) <-> ()


def layers(prefix: str) -> list[Row]:
    """The blocks of a tower."""
    names = pairs(LAYER).items()
    return [
        (f"{prefix}.encoder.layers.{{i}}.{theirs}.{{p}}", f"stack.blocks.{{i}}.{ours}.{{p}}") for theirs, ours in names
    ]


def text_rows() -> Rows:
    """The tower of texts, but for its last map."""
    return [
        ("text_model.embeddings.token_embedding.weight", "embedding.weight"),
        ("text_model.embeddings.position_embedding.weight", "positions.weight"),
        *layers("text_model"),
        ("text_model.final_layer_norm.{p}", "stack.norm.{p}"),
        dropped("text_model.embeddings.position_ids"),
    ]


def picture_rows(config: ViTConfig) -> Rows:
    """The tower of pictures, but for its last map."""
    own: list[Row] = []
    if config.class_tokens:
        own.append(("vision_model.embeddings.class_embedding", "class_tokens.0"))
    if config.norm_input:
        own.append(("vision_model.pre_layrnorm.{p}", "norm_input.{p}"))
    if config.pooler == "attention":
        own += [
            ("vision_model.head.probe", "pooler.probe", vision.TOKEN),
            ("vision_model.head.attention.in_proj_{p}", "pooler.attention.[q,k,v].{p}"),
            ("vision_model.head.attention.out_proj.{p}", "pooler.attention.o.{p}"),
            ("vision_model.head.layernorm.{p}", "pooler.norm.{p}"),
            ("vision_model.head.mlp.fc1.{p}", "pooler.feed_forward.up.{p}"),
            ("vision_model.head.mlp.fc2.{p}", "pooler.feed_forward.down.{p}"),
        ]
    return [
        *own,
        ("vision_model.embeddings.patch_embedding.{p}", "patches.project.{p}"),
        ("vision_model.embeddings.position_embedding.weight", "positions.weight"),
        *layers("vision_model"),
        ("vision_model.post_layernorm.{p}", "pooler.{p}" if config.pooler == "norm" else "stack.norm.{p}"),
        dropped("vision_model.embeddings.position_ids"),
    ]


def picture_map(model_type: str, defaults: Raw, fixed: Mapping[str, Any], *, pooled: str = "") -> ConfigMap:
    """The config of a tower of pictures; pooled: the key that says whether attention pools them."""

    def derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        return {**vision.picture_size(raw), "pooler": "attention" if pooled and raw[pooled] else ""}

    def written(config: ViTConfig) -> dict[str, Any]:
        own = {pooled: config.pooler == "attention"} if pooled else {}
        return {**vision.written_size(config), **own, "model_type": model_type}

    return ConfigMap(
        config=ViTConfig,
        names=PICTURE_NAMES,
        fixed=fixed,
        defaults={"num_channels": 3, "image_size": 224, **({pooled: True} if pooled else {}), **defaults},
        reads=("image_size", "patch_size"),
        derived=derived,
        written=written,
        ignored=IGNORED | {"projection_dim"},
        canonical=canonical_body,
    )


def classifier(name: str, picture: Inner, pooler: str = "") -> Family:
    """A head that reads the mean of the patches.

    name: of its class, without what ends all such names; pooler: of the body, "norm" where the patches are read as they
    are before it.
    """

    def derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        return {**picture.map.derived(raw, tensors), "pooler": pooler}

    def rows(config: PictureHeadConfig) -> Rows:
        body: Any = config.body
        return [moved(picture_rows(body), "", "body."), *HEAD_ROWS, dropped("vision_model.head.{name*}")]

    return Family(
        model_type=name.lower(),
        model=PictureClassifier,
        config=ConfigMap(
            config=PictureHeadConfig,
            names={},
            within={"vision_config": picture._replace(path="body", map=replace(picture.map, derived=derived))},
            derived=lambda raw, tensors: {**vision.about_picture_labels(raw, tensors, HEAD_ROWS), "pooling": "mean"},
            written=lambda config: label_keys(config.labels, config.kind),
            reads=("problem_type",),
            ignored=IGNORED | {"text_config", "text_config_dict", "projection_dim"},
            canonical=lambda config: replace(config, body=canonical_body(config.body)),
        ),
        weights=rows,
        architectures=(f"{name}ForImageClassification",),
        body=ViTConfig,
        head=("classifier.",),
    )


def canonical_body(config: Any) -> Any:
    """The config of a body of vision without what changes nothing: these files have no word for dropout."""
    stack = {"stack": replace(config.stack, dropout=0.0)} if isinstance(config, ViTConfig) else {}
    return vision.canonical(replace(config, **stack))


def canonical_text(config: TextTowerConfig) -> TextTowerConfig:
    return replace(
        config,
        stack=canonical_stack(replace(config.stack, dropout=0.0)),
        pad=0 if config.causal else config.pad,
        end=config.end if config.causal else None,
        projection_bias=bool(config.projection) and config.projection_bias,
    )


def canonical_picture(config: PictureTowerConfig) -> PictureTowerConfig:
    return replace(config, body=canonical_body(config.body))


def canonical(config: CLIPConfig) -> CLIPConfig:
    return replace(config, text=canonical_text(config.text), picture=canonical_picture(config.picture))
