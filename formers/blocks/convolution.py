"""Convolutions of pictures: the layer of residual networks, and the block that they are made of (He et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from formers.blocks.dropout import DropPath
from formers.blocks.feed_forward import ACTIVATIONS


class ConvolutionNorm(nn.Module):
    """activation(norm(convolution(x))): no bias, batch norm, and no activation where its name is ""."""

    def __init__(
        self, channels: int, width: int, size: int, *, stride: int = 1, activation: str = "relu", groups: int = 1
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, size, stride=stride, padding=size // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.activation = ACTIVATIONS[activation] if activation else None
        self.folded: tuple[Tensor, Tensor] | None = None  # the weight and bias of both, while `folded` says so
        nn.init.kaiming_normal_(self.convolution.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch filters rows columns"]:
        if self.folded is None:
            x = self.norm(self.convolution(x))
        else:
            x = self.convolution._conv_forward(x, *self.folded)
        return x if self.activation is None else self.activation(x)


class ResidualConvolutions(nn.Module):
    """activation(x + convolutions(x)); x goes through a convolution of size 1 where width or size change.

    Two of size 3, or a `bottleneck`: 1, 3, 1, the first two a quarter as wide. The stride is that of the (first)
    convolution of size 3; `stride_first`: of the first one (He et al. 2016; the published ones moved it).
    Between the convolutions is a ReLU, whatever the activation. drop_path: stochastic depth.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        stride: int = 1,
        bottleneck: bool = False,
        stride_first: bool = False,
        activation: str = "relu",
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.drop_path = DropPath(drop_path)
        if bottleneck:
            inner, (first, second) = width // 4, (stride, 1) if stride_first else (1, stride)
            layers = [
                ConvolutionNorm(channels, inner, 1, stride=first),
                ConvolutionNorm(inner, inner, 3, stride=second),
                ConvolutionNorm(inner, width, 1, activation=""),
            ]
        else:
            layers = [
                ConvolutionNorm(channels, width, 3, stride=stride),
                ConvolutionNorm(width, width, 3, activation=""),
            ]
        self.layers = nn.Sequential(*layers)
        same = channels == width and stride == 1
        self.shortcut = None if same else ConvolutionNorm(channels, width, 1, stride=stride, activation="")

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch filters rows columns"]:
        kept = x if self.shortcut is None else self.shortcut(x)
        return self.activation(kept + self.drop_path(self.layers(x)))


@contextmanager
def folded(model: nn.Module) -> Iterator[None]:
    """Inside, convolutions multiply by what their batch norms would, which do nothing; for reading only.

    norm(convolution(x)) = convolution(x) with weight * scale, and a bias (Jacob et al. 2018, section 3.2).
    """
    layers = [module for module in model.modules() if isinstance(module, ConvolutionNorm)]
    if torch.is_grad_enabled() or any(layer.training for layer in layers):
        yield
        return
    try:
        for layer in layers:
            norm, weight = layer.norm, layer.convolution.weight
            assert norm.running_mean is not None and norm.running_var is not None
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            whole = (weight * scale[:, None, None, None]).to(memory_format=torch.channels_last)
            layer.folded = (whole, norm.bias - norm.running_mean * scale)
        yield
    finally:
        for layer in layers:
            layer.folded = None
