"""The section [model] of a recipe of CLIP: the sizes of both towers, or the checkpoint that they start from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from formers.blocks.stack import StackConfig
from formers.errors import ConfigError
from formers.fields import Part, check
from formers.models.clip import CLIPConfig, PictureTowerConfig, TextTowerConfig
from formers.models.resnet import ResNetConfig
from formers.models.vit import ViTConfig
from formers.systems.picture_sizes import PictureSizes
from formers.systems.sizes import Layers, Width

PICTURES = PictureSizes()


@dataclass(frozen=True, kw_only=True)
class ClipSizes:
    """The sizes of two new towers. A start that is a model of pictures gives the tower of pictures alone."""

    picture: Annotated[PictureSizes, Part()] = PICTURES
    """The tower of pictures, and where to start."""
    text_dim: Width = 128
    """Width of the residual stream of the tower of texts."""
    text_layers: Layers = 4
    """Its blocks."""
    text_heads: Width = 2
    """Its attention heads."""
    text_hidden: Width = 512
    """Width inside its feed-forward."""
    length: Width = 32
    """Most tokens of a text, its end included."""
    projection: Width = 128
    """Numbers of a vector."""

    def __post_init__(self) -> None:
        check(self, "model")
        if self.text_dim % self.text_heads:
            what = f"model.text_dim ({self.text_dim}) must be a multiple of model.text_heads ({self.text_heads})"
            raise ConfigError(what)

    @property
    def start(self) -> str:
        return self.picture.start

    @property
    def ignore_keys(self) -> tuple[str, ...]:
        return self.picture.ignore_keys

    def text(self, vocab: int, end: int | None) -> TextTowerConfig:
        """The whole config of a new tower of texts."""
        stack = StackConfig(
            dim=self.text_dim, layers=self.text_layers, heads=self.text_heads, hidden=self.text_hidden, norm_eps=1e-5
        )
        return TextTowerConfig(stack=stack, vocab=vocab, length=self.length, end=end, projection=self.projection)

    def config(self, text: TextTowerConfig, body: ViTConfig | ResNetConfig, *, bias: bool) -> CLIPConfig:
        """Of both towers; bias: of the similarities."""
        return CLIPConfig(picture=PictureTowerConfig(body=body, projection=text.projection), text=text, bias=bias)

    def body(self) -> ViTConfig | ResNetConfig:
        """Of a new tower of pictures, in the form of CLIP's where it can be."""
        body = self.picture.config()
        return replace(body, patch_bias=False, norm_input=True) if isinstance(body, ViTConfig) else body
