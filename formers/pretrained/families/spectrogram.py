"""The Audio Spectrogram Transformer (Gong et al. 2021): `MIT/ast-finetuned-audioset-10-10-0.4593`.

What is particular: a ViT's names under a long prefix; patches overlap; the head has a norm of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from formers.models.spectrogram import SpectrogramConfig, SpectrogramTransformer
from formers.pretrained.config_map import ConfigMap, Raw
from formers.pretrained.families import vit
from formers.pretrained.family import Family
from formers.pretrained.layouts import encoder, vision
from formers.pretrained.layouts.encoder import moved, names_within, values_within
from formers.pretrained.mapping import Rows

PREFIX = "audio_spectrogram_transformer."
HEAD: Rows = [("classifier.layernorm.{p}", "norm.{p}"), ("classifier.dense.{p}", "out.{p}")]


def derived(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    size = {"image_size": (raw["num_mel_bins"], raw["max_length"]), "patch_size": raw["patch_size"]}
    stride = (raw["frequency_stride"], raw["time_stride"])
    ours = {**vision.picture_size(size), "stride": stride, "stack.bias": "qkvo" if raw["qkv_bias"] else "o"}
    return values_within(ours, vision.BODY)


def labelled(raw: Raw, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {**derived(raw, tensors), **vision.about_picture_labels(raw, tensors, HEAD)}


def written(config: SpectrogramConfig) -> dict[str, Any]:
    c = config.body
    down, across = c.stride or (c.patch, c.patch)
    return {
        "num_mel_bins": c.height,
        "max_length": c.width,
        "patch_size": c.patch,
        "frequency_stride": down,
        "time_stride": across,
        "qkv_bias": "q" in c.stack.bias,
        **(encoder.label_keys(config.labels, config.kind) if config.labels else {}),
    }


BODY = ConfigMap(
    config=SpectrogramConfig,
    names=names_within(
        {key: ours for key, ours in vit.VIT.names.items() if key not in ("num_channels", vision.ANTIALIAS)}, vision.BODY
    ),
    fixed={
        "labels": (),
        **values_within({"class_tokens": 2, "channels": 1, "positions": "centred", "pooler": "classes"}, vision.BODY),
    },
    defaults={
        **{key: value for key, value in vision.DEFAULTS.items() if key != "num_channels"},
        "patch_size": 16,
        "frequency_stride": 10,
        "time_stride": 10,
        "max_length": 1024,
        "num_mel_bins": 128,
    },
    reads=("problem_type",),
    derived=derived,
    written=written,
    ignored=vision.IGNORED,
    canonical=lambda config: replace(config, body=vision.canonical(config.body)),
)


def rows(config: SpectrogramConfig) -> Rows:
    return [moved(vit.rows(config.body), "", vision.BODY)]


FAMILIES = [
    Family(
        model_type="audio-spectrogram-transformer",
        model=SpectrogramTransformer,
        config=replace(
            BODY, derived=labelled, fixed={key: value for key, value in BODY.fixed.items() if key != "labels"}
        ),
        weights=lambda config: [moved(vit.rows(config.body), PREFIX, vision.BODY), *HEAD],
        architectures=("ASTForAudioClassification",),
        head=("classifier.",),
    ),
    Family(
        model_type="audio-spectrogram-transformer",
        model=SpectrogramTransformer,
        config=BODY,
        weights=rows,
        prefixes=(f"-{PREFIX}",),
        architectures=("ASTModel",),
    ),
]
