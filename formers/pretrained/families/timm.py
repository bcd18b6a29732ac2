"""The folders of timm, most of the hub's checkpoints of vision: `timm/vit_small_patch14_dinov2.lvd142m`. Read only.

What is particular: config.json names an architecture in place of sizes, which are those of the weights; what weights
do not show (heads, activation, eps) goes with the name. q, k and v are one matrix, positions are smoothed where the
grid is coarser, and the last norm may stand behind the mean of the patches.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from formers.errors import CheckpointError, shown
from formers.models.picture_classifier import PictureClassifier, PictureHeadConfig
from formers.models.resnet import ResNet, ResNetConfig
from formers.models.vit import ViT, ViTConfig
from formers.pretrained.config_map import ConfigMap, Raw, words
from formers.pretrained.families.resnet import layer
from formers.pretrained.family import Family
from formers.pretrained.layouts.encoder import moved, values_within
from formers.pretrained.layouts.vision import BODY, TABLE, TOKEN, canonical, pair
from formers.pretrained.mapping import Op, Rows

RESNET = ("resnet18", "resnet26", "resnet34", "resnet50", "resnet101", "resnet152", "resnet200")
KINDS = ("vit", "deit", "deit3", "flexivit", "eva")
SIZES = words("""
    tiny xsmall wee little small medium mediumd betwixt base large huge giant giantopt gigantic so400m
""")
# The rest of a name, word by word: what the weights show, or `about_vit` knows
REST = re.compile(r"patch\d+|reg\d+|\d+|36x1|clip|dinov2|distilled|gap|miil|plus|quickgelu|siglip|tipsv2")
READ = f"{', '.join(RESNET)}, and {', '.join(KINDS)} of plain blocks, such as vit_base_patch16_224"
# How many heads where one is not 64 wide: of these widths, and of these names
HEADS: dict[int | str, int] = {
    **dict.fromkeys((1152, 1280, 1408, 1664), 16),
    "vit_giantopt": 16,
    "vit_base_patch16_gap": 16,
}
TANH = re.compile(r"vit_(base_patch32_siglip|large_patch16_siglip.*_512|so400m_patch16_siglip|giantopt).*")
ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_tanh", "quick_gelu": "gelu_quick", "relu": "relu", "silu": "silu"}
# Of model_args: what weights or the code below show, and what only training asks for
ARGUMENTS = words("""
    act_layer attn_drop_rate class_token depth drop_path_rate drop_rate dynamic_img_size embed_dim fc_norm global_pool
    img_size in_chans init_values mlp_ratio no_embed_class num_classes num_heads patch_drop_rate patch_size
    pos_drop_rate pre_norm proj_drop_rate qkv_bias reg_tokens weight_init
""")
# Read by the functions below; other families' files may have them for whatever they like, so they are not said to be
KEYS = words("""
    architecture global_pool label_descriptions label_names labels model_args num_classes num_features pretrained_cfg
""")
POOLS = ("token", "avg", "map")
LAYER_SCALE = 1e-5  # where new ones would start


def type_of(name: str, where: str) -> str:
    """The model_type for an architecture. Raises CheckpointError for one that is not read here."""
    if name in RESNET:
        return "timm-resnet"
    kind, *rest = name.split("_")
    if kind in KINDS and rest and all(word in SIZES or REST.fullmatch(word) for word in rest):
        return "timm-vit"
    raise CheckpointError(f"{where}: timm's architecture {shown(name)} is not read here; known: {READ}")


def shape(tensors: Mapping[str, Tensor], name: str, dimensions: int) -> Sequence[int]:
    """Raises ValueError where there is no such weight."""
    if name not in tensors or tensors[name].ndim != dimensions:
        raise ValueError(f"it names timm's architecture, but there is no weight {name} of {dimensions} dimensions")
    return tensors[name].shape


def arguments(raw: Raw, pools: Sequence[str]) -> dict[str, Any]:
    """What a model was made with beside its name. Raises ValueError for what is not computed here."""
    given = dict(raw.get("model_args") or {})
    if strange := [f"{key} = {value!r:.60}" for key, value in given.items() if key not in ARGUMENTS]:
        raise ValueError(f"model_args say {', '.join(strange[:8])}, which is not computed here")
    given["global_pool"] = pool = raw.get("global_pool") or given.get("global_pool") or ""
    if pool and pool not in pools:
        raise ValueError(f"global_pool = {shown(pool)} is not computed here; known: {', '.join(pools)}")
    return given


def about_vit(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    name, given = raw["architecture"], arguments(raw, POOLS)
    (dim, channels, patch, wide) = shape(tensors, "patch_embed.proj.weight", 4)
    if patch != wide:
        raise ValueError(f"patches of {patch} x {wide} are not computed here, expected squares")
    hidden = shape(tensors, "blocks.0.mlp.fc2.weight", 2)[1]
    gated = shape(tensors, "blocks.0.mlp.fc1.weight", 2)[0] == 2 * hidden
    classes = ("cls_token" in tensors) + ("dist_token" in tensors)
    pooler = "norm" if "fc_norm.weight" in tensors else "attention" if "attn_pool.latent" in tensors else ""
    if pooler == "norm" and given["global_pool"] == "token":
        raise ValueError("a norm behind the class token (fc_norm) is not computed here")
    if pooler == "attention" and (classes or "reg_token" in tensors):
        raise ValueError("attention that pools beside class tokens or registers is not computed here")
    height, width = size_of(raw, given, shape(tensors, "pos_embed", 3)[1], patch, classes)
    usual = next((heads for key, heads in HEADS.items() if dim == key or name.startswith(str(key))), dim // 64)
    tanh = TANH.fullmatch(name)
    activation = "silu" if gated else "quick_gelu" if "quickgelu" in name else "gelu_tanh" if tanh else "gelu"
    activation = given.get("act_layer") or activation
    if activation not in ACTIVATIONS:
        raise ValueError(f"act_layer = {activation!r:.60} is not computed here; known: {', '.join(ACTIVATIONS)}")
    return {
        "stack.dim": dim,
        "stack.layers": sum(re.fullmatch(r"blocks\.\d+\.norm1\.weight", name) is not None for name in tensors),
        "stack.heads": given.get("num_heads") or usual,
        "stack.hidden": hidden,
        "stack.gated": gated,
        "stack.activation": ACTIVATIONS[activation],
        "stack.bias": "qkvo" if "blocks.0.attn.qkv.bias" in tensors else "o",
        "stack.norm_eps": 1e-5 if "clip" in name.split("_") else 1e-6,
        "height": height,
        "width": width,
        "patch": patch,
        "channels": channels,
        "class_tokens": classes,
        "registers": shape(tensors, "reg_token", 3)[1] if "reg_token" in tensors else 0,
        "patch_bias": "patch_embed.proj.bias" in tensors,
        "norm_input": "norm_pre.weight" in tensors,
        "layer_scale": LAYER_SCALE if "blocks.0.ls1.gamma" in tensors else 0.0,
        "antialias": True,
        "pooler": pooler,
    }


def size_of(raw: Raw, given: Raw, places: int, patch: int, classes: int) -> tuple[int, int]:
    """Height and width that so many patches fill as there are places, or less by the class tokens.

    Raises ValueError where they do neither.
    """
    size = (raw.get("pretrained_cfg") or {}).get("input_size") or (0, patch, patch)
    height, width = pair(given.get("img_size") or size[1:])
    sides = (math.isqrt(places - classes) * patch, math.isqrt(places) * patch)
    for size in ((height, width), *zip(sides, sides, strict=True)):
        if places - size[0] // patch * (size[1] // patch) in (0, classes):
            return size
    what = f"pos_embed holds {places} positions, but patches of {patch} in {height} x {width} are"
    count = f"{height // patch * (width // patch)}, with {classes} tokens in front"
    raise ValueError(f"{what} {count}; positions of registers are not computed here")


def vit_rows(config: ViTConfig) -> Rows:
    block, classes = "stack.blocks.{i}", config.class_tokens
    patches = config.height // config.patch * (config.width // config.patch)

    def with_classes(x: Tensor) -> Tensor:
        """Positions of patches alone: those of class tokens are zeros."""
        x = x.flatten(0, -2)
        return torch.cat([x.new_zeros(classes, x.shape[1]), x]) if len(x) == patches else x

    up = "[gate,up]" if config.stack.gated else "up"
    return [
        ("patch_embed.proj.{p}", "patches.project.{p}"),
        *((name, f"class_tokens.{i}", TOKEN) for i, name in enumerate(("cls_token", "dist_token")[:classes])),
        ("reg_token", "registers", TABLE),
        ("pos_embed", "positions.weight", Op("positions", with_classes, lambda x: x[None])),
        ("norm_pre.{p}", "norm_input.{p}"),
        ("blocks.{i}.norm1.{p}", f"{block}.norm_attention.{{p}}"),
        ("blocks.{i}.attn.qkv.{p}", f"{block}.attention.[q,k,v].{{p}}"),
        ("blocks.{i}.attn.proj.{p}", f"{block}.attention.o.{{p}}"),
        ("blocks.{i}.ls1.gamma", f"{block}.after_attention.weight"),
        ("blocks.{i}.norm2.{p}", f"{block}.norm_feed_forward.{{p}}"),
        ("blocks.{i}.mlp.fc1.{p}", f"{block}.feed_forward.{up}.{{p}}"),
        ("blocks.{i}.mlp.fc2.{p}", f"{block}.feed_forward.down.{{p}}"),
        ("blocks.{i}.ls2.gamma", f"{block}.after_feed_forward.weight"),
        ("norm.{p}", "stack.norm.{p}"),
        ("fc_norm.{p}", "pooler.{p}"),
        ("attn_pool.latent", "pooler.probe", TOKEN),
        ("attn_pool.q.{p}", "pooler.attention.q.{p}"),
        ("attn_pool.kv.{p}", "pooler.attention.[k,v].{p}"),
        ("attn_pool.proj.{p}", "pooler.attention.o.{p}"),
        ("attn_pool.norm.{p}", "pooler.norm.{p}"),
        ("attn_pool.mlp.fc1.{p}", "pooler.feed_forward.up.{p}"),
        ("attn_pool.mlp.fc2.{p}", "pooler.feed_forward.down.{p}"),
    ]


def about_resnet(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    arguments(raw, ("avg",))
    width, channels, *_ = shape(tensors, "conv1.weight", 4)
    bottleneck = "layer1.0.conv3.weight" in tensors
    last = f"bn{3 if bottleneck else 2}.weight"
    return {
        "channels": channels,
        "stem_width": width,
        "widths": [shape(tensors, f"layer{stage}.0.{last}", 1)[0] for stage in range(1, 5)],
        "depths": [
            sum(re.fullmatch(rf"layer{stage}\.\d+\.conv1\.weight", name) is not None for name in tensors)
            for stage in range(1, 5)
        ],
        "bottleneck": bottleneck,
    }


def resnet_rows(config: ResNetConfig) -> Rows:
    rows = layer("", "stem", "conv1", "bn1")
    for stage in range(len(config.widths)):
        theirs, ours = f"layer{stage + 1}.{{i}}.", f"stages.{stage}.{{i}}"
        for i in range(3 if config.bottleneck else 2):
            rows += layer(theirs, f"{ours}.layers.{i}", f"conv{i + 1}", f"bn{i + 1}")
        rows += layer(theirs, f"{ours}.shortcut", "downsample.0", "downsample.1")
    return rows


def labels(raw: Raw, count: int) -> tuple[str, ...]:
    """Names of so many classes, in words where the file has some; those that it does not name are numbered."""
    inner = raw.get("pretrained_cfg") or {}
    names = raw.get("label_names") or raw.get("labels") or inner.get("label_names") or {}
    names = names if isinstance(names, dict) else {str(i): name for i, name in enumerate(names)}
    described = raw.get("label_descriptions") or inner.get("label_descriptions") or {}
    texts = [str(names.get(str(i), f"LABEL_{i}")) for i in range(count)]
    in_words = [str(described.get(text, text)) for text in texts]
    return tuple(in_words if len({*in_words}) == count else texts)


def about_head(raw: Raw, tensors: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    """Labels and pooling; name: of the map to the labels."""
    count = shape(tensors, f"{name}.weight", 2)[0]
    if raw.get("num_classes") not in (None, count) or count < 2:
        raise ValueError(f"{name}.weight holds {count} labels, but num_classes is {raw.get('num_classes')}, at least 2")
    mean = arguments(raw, POOLS)["global_pool"] == "avg" and "fc_norm.weight" not in tensors
    teacher = "dist_token" in tensors
    pooling = "teacher" if teacher else "mean" if mean and name == "head" else "pool"
    return {"labels": labels(raw, count), "pooling": pooling}


def head_rows(config: PictureHeadConfig) -> Rows:
    if isinstance(config.body, ResNetConfig):
        return [*moved(resnet_rows(config.body), "", BODY), ("fc.{p}", "out.0.{p}")]
    rows = moved(vit_rows(config.body), "", BODY)
    return [*rows, ("head.{p}", "out.0.{p}"), ("head_dist.{p}", "out.1.{p}")]


def families_of(model: Any, config: type, about: Any, rows: Any, head: str) -> list[Family]:
    """A classifier, and a body alone where a file has no head."""
    model_type = "timm-vit" if model is ViT else "timm-resnet"

    def about_whole(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        return {**values_within(about(raw, tensors), BODY), **about_head(raw, tensors, head)}

    return [
        Family(
            model_type=model_type,
            model=PictureClassifier,
            config=ConfigMap(config=PictureHeadConfig, names={}, derived=about_whole, ignored=KEYS),
            weights=head_rows,
            head=(f"{head}.",),
            body=config,
            written=False,
        ),
        Family(
            model_type=model_type,
            model=model,
            config=ConfigMap(config=config, names={}, derived=about, canonical=canonical, ignored=KEYS),
            weights=rows,
            written=False,
        ),
    ]


VITS = families_of(ViT, ViTConfig, about_vit, vit_rows, "head")
RESNETS = families_of(ResNet, ResNetConfig, about_resnet, resnet_rows, "fc")
