"""What the families of vision share: one table of the body, and a head that gives its pictures labels.

A body is named without a prefix, in files of heads with one ("vit."). Tokens and positions have dimensions of one row
in their files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from formers.models.picture_classifier import PictureClassifier, PictureHeadConfig
from formers.models.vit import ViTConfig
from formers.pretrained.config_map import ConfigMap, Raw, pairs, words
from formers.pretrained.family import Family
from formers.pretrained.layouts import encoder
from formers.pretrained.layouts.causal import canonical_stack
from formers.pretrained.mapping import Op, Rows, dropped

OWN_NAMES = ("vocab_size", "intermediate_size")  # of texts, or told otherwise by some of these families
NAMES: dict[str, Any] = {
    **{key: ours for key, ours in encoder.NAMES.items() if key not in OWN_NAMES},
    "num_channels": "channels",
}
DEFAULTS: Raw = {
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "layer_norm_eps": 1e-12,
    "num_channels": 3,
    "qkv_bias": True,
}
# training only, or about features that nobody here asks for
IGNORED = words("""
    attention_probs_dropout_prob attention_dropout initializer_range initializer_factor encoder_stride
    pooler_output_size drop_path_rate out_features out_indices stage_names reshape_hidden_states apply_layernorm
    use_mask_token
""")
BODY = "body."  # where it stands in the config of a head
LAYER = """
    attention.attention.query=attention.q attention.attention.key=attention.k attention.attention.value=attention.v
    attention.output.dense=attention.o
"""


def _rows_of_one(name: str, dims: int) -> Op:
    """A tensor with leading dimensions of size 1 in their file."""
    return Op(name, lambda x: x.reshape(x.shape[dims:]), lambda x: x.reshape(*(1,) * dims, *x.shape))


TOKEN, TABLE = _rows_of_one("token", 2), _rows_of_one("table", 1)


@dataclass(frozen=True, kw_only=True)
class PictureHead:
    """A classifier as a family files it."""

    architecture: str
    rows: Rows
    pooling: str = "pool"


@dataclass(frozen=True, kw_only=True)
class PictureLayout:
    """How a family files a body: the map of its config, relative to the body, and the names of its weights."""

    model_type: str
    model: type[nn.Module]
    config: type
    prefix: str
    """Of the body's names in files of heads: "vit."."""
    architecture: str
    """Of the body."""
    rows: Callable[[Any], Rows]
    heads: Sequence[PictureHead] = ()
    names: Mapping[str, Any] = field(default_factory=lambda: NAMES)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    defaults: Raw = field(default_factory=lambda: DEFAULTS)
    checked: Raw = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    derived: Callable[[Raw, Mapping[str, Tensor]], Mapping[str, Any]] = lambda raw, tensors: {}
    written: Callable[[Any], Mapping[str, Any]] = lambda config: {}
    ignored: frozenset[str] = frozenset()
    pooler: str = ""
    """The body's pooler, without the prefix; a head reads the class token itself."""
    strays: tuple[str, ...] = ()
    """Names of weights of bodies that nothing computes with."""


def picture_size(raw: Raw) -> dict[str, int]:
    """height, width and patch, a number or a pair in their file. Raises ValueError for a patch that is not square."""
    height, width = pair(raw["image_size"])
    tall, wide = pair(raw["patch_size"])
    if tall != wide:
        raise ValueError(f"patch_size = {raw['patch_size']!r} is not computed here, expected a square")
    return {"height": height, "width": width, "patch": tall}


def pair(value: Any) -> tuple[int, int]:
    numbers = value if isinstance(value, list | tuple) else (value, value)
    if len(numbers) != 2 or not all(type(number) is int and number > 0 for number in numbers):
        raise ValueError(f"a size is {value!r:.80}, expected a whole number or two")
    return numbers[0], numbers[1]


def written_size(config: Any) -> dict[str, Any]:
    size = config.height if config.height == config.width else [config.height, config.width]
    return {"image_size": size, "patch_size": config.patch}


def tokens(config: Any, names: Sequence[str] = ("cls_token", "distillation_token")) -> Rows:
    """Class tokens and positions under the names of ViT."""
    return [
        *((f"embeddings.{name}", f"class_tokens.{i}", TOKEN) for i, name in enumerate(names[: config.class_tokens])),
        ("embeddings.position_embeddings", "positions.weight", TABLE),
        ("embeddings.patch_embeddings.projection.{p}", "patches.project.{p}"),
    ]


def attention(prefix: str) -> Rows:
    """The attention of a block, as ViT and DINOv2 name it."""
    return [(f"{prefix}.{theirs}.{{p}}", f"stack.blocks.{{i}}.{ours}.{{p}}") for theirs, ours in pairs(LAYER).items()]


def canonical(config: Any) -> Any:
    """The config without what changes nothing in use."""
    config = replace(config, drop_path=0.0)
    return replace(config, stack=canonical_stack(config.stack)) if isinstance(config, ViTConfig) else config


def about_picture_labels(raw: Raw, tensors: Mapping[str, Tensor], rows: Rows) -> dict[str, Any]:
    """Labels and kind of a classifier of pictures; rows: of its head."""
    names = encoder.counted_labels(raw, tensors, rows)
    kind = encoder.KINDS.get(raw.get("problem_type") or "single_label_classification", "number")
    if kind == "number" or (kind == "one" and len(names) < 2):
        raise ValueError(
            f"problem_type {raw.get('problem_type')!r} with {len(names)} label(s) is not computed here: "
            "a picture has one of two or more labels, or several"
        )
    return {"labels": names, "kind": kind}


def families_of(layout: PictureLayout) -> list[Family]:
    """The body, then one family for each head."""
    return [body_family(layout), *(head_family(layout, head) for head in layout.heads)]


def body_family(layout: PictureLayout) -> Family:
    def derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        return {
            **({"pooler": f"{layout.pooler}.weight" in tensors} if layout.pooler else {}),
            **layout.derived(raw, tensors),
        }

    def weights(config: Any) -> Rows:
        pooler = [(f"{layout.pooler}.{{p}}", "pooler.{p}")] if layout.pooler and config.pooler else []
        heads = {name for head in layout.heads for name in theirs(head)}
        return [*layout.rows(config), *pooler, dropped(*sorted(heads), *layout.strays)]

    return Family(
        model_type=layout.model_type,
        model=layout.model,
        config=config_map(
            layout,
            config=layout.config,
            names=layout.names,
            fixed=layout.fixed,
            derived=derived,
            written=layout.written,
            canonical=canonical,
        ),
        weights=weights,
        prefixes=(f"-{layout.prefix}",),
        architectures=(layout.architecture,),
    )


def head_family(layout: PictureLayout, head: PictureHead) -> Family:
    def derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        inner = encoder.values_within(layout.derived(raw, tensors), BODY)
        return {**inner, **about_picture_labels(raw, tensors, head.rows), "pooling": head.pooling}

    def written(config: PictureHeadConfig) -> dict[str, Any]:
        return {**layout.written(config.body), **encoder.label_keys(config.labels, config.kind)}

    def weights(config: PictureHeadConfig) -> Rows:
        pooler = [f"{layout.prefix}{layout.pooler}.{{p}}"] if layout.pooler else []
        strays = [f"{layout.prefix}{name}" for name in layout.strays]
        return [encoder.moved(layout.rows(config.body), layout.prefix, BODY), *head.rows, dropped(*pooler, *strays)]

    return Family(
        model_type=layout.model_type,
        model=PictureClassifier,
        config=config_map(
            layout,
            config=PictureHeadConfig,
            names=encoder.names_within(layout.names, BODY),
            fixed=encoder.values_within(layout.fixed, BODY),
            derived=derived,
            written=written,
            canonical=lambda config: replace(config, body=canonical(config.body)),
        ),
        weights=weights,
        architectures=(head.architecture,),
        body=layout.config,
        head=tuple(name.partition("{")[0] for name in theirs(head)),
    )


def theirs(head: PictureHead) -> list[str]:
    return [row[0] for row in head.rows if isinstance(row, tuple)]


def config_map(layout: PictureLayout, **own: Any) -> ConfigMap:
    """The map with what body and heads of a family share."""
    return ConfigMap(
        defaults=layout.defaults,
        checked=layout.checked,
        reads=(*layout.reads, "problem_type"),
        ignored=IGNORED | layout.ignored,
        **own,
    )
