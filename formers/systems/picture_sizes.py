"""The section [model] of a recipe of pictures: the sizes of a new body, or the checkpoint that it starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from formers.blocks.patches import grid_of
from formers.blocks.stack import StackConfig
from formers.errors import ConfigError
from formers.fields import Between, check
from formers.models.resnet import ResNetConfig
from formers.models.vit import ViTConfig
from formers.systems.sizes import Layers, Share, Width

SIDE = 32  # of the pictures of a new model that names no size


@dataclass(frozen=True, kw_only=True)
class PictureSizes:
    """The sizes of a new model of pictures."""

    start: str = ""
    """A run, folder or hub id whose weights to start from; the sizes below but height, width and the shares that are
    left out are then its own."""
    ignore_keys: tuple[str, ...] = ()
    """Keys of its config.json to take for absent, which are not computed here and are known to change nothing."""
    kind: Literal["vit", "resnet"] = "vit"
    """vit (patches and attention) or resnet (residual convolutions)."""
    height: Annotated[int, Between(0, 2**14)] = 0
    """Of the pictures that it reads, in pixels (0: the checkpoint's; of a new model 32)."""
    width: Annotated[int, Between(0, 2**14)] = 0
    """Of the pictures (0: the height)."""
    patch: Width = 4
    """Side of a patch, in pixels (vit)."""
    dim: Width = 192
    """Width of the residual stream (vit)."""
    layers: Layers = 6
    """Blocks (vit)."""
    heads: Width = 3
    """Attention heads (vit)."""
    hidden: Width = 768
    """Width inside the feed-forward (vit)."""
    stem: Annotated[int, Between(0, 5)] = 0
    """Convolutions of stride 2 in front of the patches, which are so many times halved (vit)."""
    class_token: bool = True
    """A picture is read from a class token in front; else from the mean of its patches (vit)."""
    layer_scale: Annotated[float, Between(0)] = 0.0
    """What a learned factor for each channel of each branch starts at, such as 1e-5 (vit; 0: there is none)."""
    dropout: Share = 0.0
    """Share of each residual branch and of the embeddings set to zero while training (vit)."""
    drop_path: Share = 0.0
    """Stochastic depth: how often the last block is left out while training, those before it less."""
    widths: tuple[Width, ...] = (64, 128, 256)
    """Channels that come out of each stage (resnet)."""
    depths: tuple[Annotated[int, Between(0, 1000)], ...] = (2, 2, 2)
    """Blocks of each stage (resnet; 0: the stage only hands on what it gets)."""
    bottleneck: bool = False
    """Blocks of three convolutions, 1, 3 and 1 wide, instead of two (resnet)."""
    halving: Literal["stride", "maximum"] = "stride"
    """How stages halve their input: each but the first by a stride, or every one by a convolution and a maximum in
    front, which is better for small pictures (resnet)."""
    small_stem: bool = True
    """One 3 x 3 convolution in front, for small pictures; else 7 x 7 with stride 2, and a maximum (resnet)."""

    def __post_init__(self) -> None:
        check(self, "model")
        if self.start:
            return
        if self.kind == "vit":
            if self.dim % self.heads:
                raise ConfigError(f"model.dim ({self.dim}) must be a multiple of model.heads ({self.heads})")
            if self.patch % 2**self.stem:
                raise ConfigError(
                    f"model.patch ({self.patch}) must be a multiple of {2**self.stem}, 2 to the power of "
                    f"model.stem ({self.stem})"
                )
            check_filled(self.side, self.patch)
        elif len(self.widths) != len(self.depths) or not self.widths:
            raise ConfigError(
                f"model.widths ({len(self.widths)}) and model.depths ({len(self.depths)}) must be equally many"
            )
        elif self.halving == "maximum":
            least = 2 ** (len(self.widths) + (0 if self.small_stem else 2))
            if min(self.side) < least:
                got = f"model.height and model.width ({self.side[0]} x {self.side[1]})"
                raise ConfigError(f"{got} must be at least {least}, which {len(self.widths)} stages halve to one place")

    @property
    def side(self) -> tuple[int, int]:
        """(height, width) of the pictures of a new model."""
        return self.height or SIDE, self.width or self.height or SIDE

    def config(self) -> ViTConfig | ResNetConfig:
        """The whole config of a new body."""
        if self.kind == "resnet":
            return ResNetConfig(
                stem_width=max(1, self.widths[0] // (4 if self.bottleneck else 1)),
                widths=self.widths,
                depths=self.depths,
                bottleneck=self.bottleneck,
                halving=self.halving,
                small_stem=self.small_stem,
                drop_path=self.drop_path,
            )
        stack = StackConfig(
            dim=self.dim, layers=self.layers, heads=self.heads, hidden=self.hidden, norm_eps=1e-6, dropout=self.dropout
        )
        return ViTConfig(
            stack=stack,
            height=self.side[0],
            width=self.side[1],
            patch=self.patch,
            class_tokens=int(self.class_token),
            layer_scale=self.layer_scale,
            stem=self.stem,
            drop_path=self.drop_path,
        )


def check_filled(side: tuple[int, int], patch: int) -> None:
    """Refuse a size that patches do not fill, with one that they do."""
    try:
        grid_of(side, (patch, patch))
    except ValueError:
        near = [max(1, round(length / patch)) * patch for length in side]
        raise ConfigError(
            f"model.height and model.width ({side[0]} x {side[1]}) must be multiples of the patch ({patch}); for "
            f"example --set model.height={near[0]} --set model.width={near[1]}"
        ) from None
