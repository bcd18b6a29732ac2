"""The residual network, ResNet: the convolutional baseline of the vision transformer, and CLIP's other eye.

    pictures -> convolution, maximum -> stages of residual convolutions, half as large and twice as wide -> features

Paper: He et al. 2016. What is particular:
  * A bottleneck's stride is that of its 3 x 3 convolution, where the published weights have it.
  * Small pictures (32 x 32) want a stem of one 3 x 3 convolution without a maximum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from formers.blocks.convolution import ConvolutionNorm, PooledConvolution, ResidualConvolutions
from formers.blocks.dropout import rising
from formers.errors import ConfigError, nearest


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    channels: int = 3
    stem_width: int = 64
    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    """Channels that come out of each stage."""
    depths: tuple[int, ...] = (3, 4, 6, 3)
    """Blocks in each stage."""
    bottleneck: bool = True
    stride_first: bool = False
    """The stride of a bottleneck is that of its first convolution."""
    small_first: bool = False
    """The first stage halves its input too."""
    halving: Literal["stride", "maximum"] = "stride"
    """How a stage halves its input: the stride of its first block, or a convolution and a maximum in front of its
    blocks, in the first stage too: better for small pictures (as in ResNet-9, Page 2018)."""
    small_stem: bool = False
    """One 3 x 3 convolution instead of 7 x 7, stride 2, and a maximum: for small pictures."""
    activation: Literal["relu", "gelu", "gelu_tanh", "gelu_quick", "silu"] = "relu"
    drop_path: float = 0.0
    """Stochastic depth: how often the last block is left out while training, those before it less."""

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.depths) or not self.widths:
            raise ValueError(f"widths ({len(self.widths)}) and depths ({len(self.depths)}) must be equally many")


class ResNet(nn.Module):
    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        size, stride = (3, 1) if c.small_stem else (7, 2)
        self.stem = ConvolutionNorm(c.channels, c.stem_width, size, stride=stride, activation=c.activation)
        self.stages = nn.ModuleList()
        before = c.stem_width
        shares = iter(rising(c.drop_path, sum(c.depths)))
        for stage, (width, depth) in enumerate(zip(c.widths, c.depths, strict=True)):
            blocks: list[nn.Module] = []
            maximum = c.halving == "maximum"
            if maximum:
                blocks.append(PooledConvolution(before, width, activation=c.activation))
                before = width
            for i in range(depth):
                stride = 2 if not maximum and i == 0 and (stage > 0 or c.small_first) else 1
                blocks.append(
                    ResidualConvolutions(
                        before,
                        width,
                        stride=stride,
                        bottleneck=c.bottleneck,
                        stride_first=c.stride_first,
                        activation=c.activation,
                        drop_path=next(shares),
                    )
                )
                before = width
            self.stages.append(nn.Sequential(*blocks))

    def forward(
        self, pictures: Float[Tensor, "batch channels height width"], *, seen: list[Tensor] | None = None
    ) -> Float[Tensor, "batch filters rows columns"]:
        """Features of the last stage; seen: gets what goes into the first stage and comes out of each.

        Raises ValueError for another number of channels.
        """
        if pictures.shape[1] != self.config.channels:
            raise ValueError(f"pictures have {pictures.shape[1]} channels, this model reads {self.config.channels}")
        x = self.stem(pictures)
        if not self.config.small_stem:
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in self.stages:
            if seen is not None:
                seen.append(x)
            x = stage(x)
        if seen is not None:
            seen.append(x)
        return x

    def pool(self, x: Float[Tensor, "batch filters rows columns"]) -> Float[Tensor, "batch filters"]:
        """One vector of each picture: the mean over its places."""
        return x.mean((2, 3))


# Published sizes: (depths, bottleneck); the widths are 64, 128, 256, 512, or four times that.
SIZES: dict[str, tuple[tuple[int, ...], bool]] = {
    "resnet-18": ((2, 2, 2, 2), False),
    "resnet-34": ((3, 4, 6, 3), False),
    "resnet-50": ((3, 4, 6, 3), True),
    "resnet-101": ((3, 4, 23, 3), True),
    "resnet-152": ((3, 8, 36, 3), True),
}


def preset(name: str) -> ResNetConfig:
    """The config of a published size, such as "resnet-50"."""
    if name not in SIZES:
        raise ConfigError(f'there is no size "{name}"{nearest(name, SIZES)}')
    depths, bottleneck = SIZES[name]
    factor = 4 if bottleneck else 1
    return ResNetConfig(widths=tuple(64 * 2**i * factor for i in range(4)), depths=depths, bottleneck=bottleneck)
