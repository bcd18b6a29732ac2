"""ResNet (He et al. 2016): `microsoft/resnet-50`.

What is particular: batch norms keep the mean and variance that they have seen, and how often.
"""

from __future__ import annotations

from typing import Any

from formers.models.resnet import ResNet, ResNetConfig
from formers.pretrained.config_map import ACTIVATIONS, Raw, pairs
from formers.pretrained.layouts import vision
from formers.pretrained.layouts.vision import PictureHead, PictureLayout
from formers.pretrained.mapping import Row, Rows, Rule


def layer(theirs: str, ours: str, convolution: str = "convolution", norm: str = "normalization") -> list[Row]:
    """A convolution and its norm; old files lack the number of batches that this has seen."""
    return [
        (f"{theirs}{convolution}.weight", f"{ours}.convolution.weight"),
        Rule((f"{theirs}{norm}.num_batches_tracked",), f"{ours}.norm.num_batches_tracked", zeros=True),
        *((f"{theirs}{norm}.{name}", f"{ours}.norm.{name}") for name in NORM),
    ]


NORM = "weight bias running_mean running_var".split()


def rows(config: ResNetConfig) -> Rows:
    block = "encoder.stages.{s}.layers.{i}"
    return [
        *layer("embedder.embedder.", "stem"),
        *layer(f"{block}.layer.{{k}}.", "stages.{s}.{i}.layers.{k}"),
        *layer(f"{block}.shortcut.", "stages.{s}.{i}.shortcut"),
    ]


def derived(raw: Raw, tensors: Any) -> dict[str, Any]:
    if raw["layer_type"] not in ("basic", "bottleneck"):
        raise ValueError(f"layer_type = {raw['layer_type']!r:.80} is not computed here; known: basic, bottleneck")
    return {"bottleneck": raw["layer_type"] == "bottleneck"}


LAYOUT = PictureLayout(
    model_type="resnet",
    model=ResNet,
    config=ResNetConfig,
    prefix="resnet.",
    architecture="ResNetModel",
    rows=rows,
    heads=(PictureHead(architecture="ResNetForImageClassification", rows=[("classifier.1.{p}", "out.0.{p}")]),),
    names={
        **pairs("""
            num_channels=channels embedding_size=stem_width hidden_sizes=widths depths=depths
            downsample_in_first_stage=small_first downsample_in_bottleneck=stride_first
        """),
        "hidden_act": ("activation", ACTIVATIONS),
    },
    defaults={
        "num_channels": 3,
        "embedding_size": 64,
        "hidden_sizes": [256, 512, 1024, 2048],
        "depths": [3, 4, 6, 3],
        "layer_type": "bottleneck",
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
    },
    reads=("layer_type",),
    fixed={"small_stem": False, "halving": "stride"},
    derived=derived,
    written=lambda config: {"layer_type": "bottleneck" if config.bottleneck else "basic"},
)
FAMILIES = vision.families_of(LAYOUT)
