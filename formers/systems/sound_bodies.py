"""The body that a recipe of sounds trains: new, or of a checkpoint of sounds or pictures at the size of the recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from formers.errors import ConfigError
from formers.models.picture_classifier import PictureClassifier
from formers.models.spectrogram import SpectrogramTransformer, begun_from, spectrogram_body
from formers.models.vit import ViT
from formers.pretrained.loaded import Loaded
from formers.systems.memory import new_model
from formers.systems.sound_sizes import SoundSizes

HEADED = (SpectrogramTransformer, PictureClassifier)


def begun_body(sizes: SoundSizes, loaded: Loaded | None) -> tuple[ViT, str]:
    """The body to train, and what it is in words. loaded: the checkpoint to start from."""
    if loaded is None:
        config, what = sizes.config(), "a new spectrogram transformer"
        body = new_model(ViT, config)
    else:
        inner: Any = loaded.model.body if isinstance(loaded.model, HEADED) else loaded.model
        if not isinstance(inner, ViT):
            kind = f"{type(loaded.model).__name__} (model_type {loaded.family})"
            raise ConfigError(
                f"{sizes.start} is a {kind}, expected a model of sounds, or of pictures such as vit, deit"
            )
        old, what = inner.config, f"the {type(loaded.model).__name__} of {sizes.start}"
        config = replace(old, stack=replace(old.stack, dropout=sizes.dropout), drop_path=sizes.drop_path)
        if isinstance(loaded.model, SpectrogramTransformer):
            config = replace(config, width=sizes.frames or old.width)
        else:
            stride = (min(sizes.stride, old.patch),) * 2
            config = spectrogram_body(config, mels=sizes.mels, frames=sizes.frames or 100, stride=stride)
        try:
            body = begun_from(inner, config)
        except ValueError as fault:
            raise ConfigError(f"model.start: {fault}") from fault
    (rows, columns), c = body.grid((config.height, config.width)), config
    seconds = f"{c.width / 100:g} s ({c.width} frames, {c.height} mels, {rows} x {columns} patches)"
    return body, f"model reads {seconds}: {what}"
