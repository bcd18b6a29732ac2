"""Convolutions of pictures: the layer of residual networks, and the block that they are made of (He et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from formers.blocks.dropout import DropPath
from formers.blocks.feed_forward import ACTIVATIONS
from formers.kernels.convolution import convolved
from formers.kernels.weight import ACTIVATED


def through(layers: nn.Sequential, x: Tensor) -> Tensor:
    """layers(x), for reading by faster convolutions where there are such: see `kernels.convolution`."""
    for layer in layers:
        x = convolved(layer, x)
    return x


class FixedConvolution:
    """activation(convolution(x) + added) of numbers that do not change: on a CPU in one pass over memory."""

    def __init__(self, layer: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
        self.layer, self.weight, self.bias = layer, weight, bias
        self.places = (layer.padding, layer.stride, layer.dilation)
        self.packed = (
            weight.dtype == torch.float32 and weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
        )
        if self.packed:  # in the order that oneDNN reads, which hardly depends on the size of the pictures (measured)
            size = [1, layer.in_channels, 64, 64]
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.places, layer.groups, size)

    def __call__(self, x: Tensor, added: Tensor | None, activation: str) -> Tensor:
        rest = activation
        if not self.packed:
            x = self.layer._conv_forward(x, self.weight, self.bias)
            x = x if added is None else x + added
        else:
            name, kind, rest = (*ACTIVATED[activation], "") if activation in ACTIVATED else ("none", "", activation)
            numbers = (self.weight, self.bias, *self.places, self.layer.groups)
            if added is None:
                x = torch.ops.mkldnn._convolution_pointwise(x, *numbers, name, [], kind)
            else:
                sum_of = torch.ops.mkldnn._convolution_pointwise.binary
                x = sum_of(x, added, *numbers, "add", 1.0, name, [], kind)
        return ACTIVATIONS[rest](x) if rest else x


class ConvolutionNorm(nn.Module):
    """activation(norm(convolution(x))): no bias, batch norm, and no activation where its name is ""."""

    def __init__(
        self, channels: int, width: int, size: int, *, stride: int = 1, activation: str = "relu", groups: int = 1
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, size, stride=stride, padding=size // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.activation = activation
        self.folded: FixedConvolution | None = None  # both as one, while `folded` says so
        self.last: tuple[tuple[int, ...], FixedConvolution] | None = None  # that of the last time
        nn.init.kaiming_normal_(self.convolution.weight, mode="fan_out", nonlinearity="relu")

    def forward(
        self,
        x: Float[Tensor, "batch channels height width"],
        added: Tensor | None = None,
        activation: str | None = None,
    ) -> Float[Tensor, "batch filters rows columns"]:
        """added: what is added before the activation; activation: another one than the layer's own."""
        activation = self.activation if activation is None else activation
        if self.folded is not None:
            return self.folded(x, added, activation)
        x = self.norm(self.convolution(x))
        x = x if added is None else x.add_(added)  # whose gradient does not need what the norm gave
        if activation == "relu":
            return F.relu_(x)
        return ACTIVATIONS[activation](x) if activation else x

    def fold(self) -> FixedConvolution:
        """Both as one convolution; that of the last time if nothing has changed since."""
        norm, weight = self.norm, self.convolution.weight
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None and variance is not None
        parts = (weight, norm.weight, norm.bias, mean, variance)
        state = tuple(number for part in parts for number in (part._version, part.data_ptr()))
        if self.last is None or self.last[0] != state:
            scale = norm.weight * torch.rsqrt(variance + norm.eps)
            whole = (weight * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)
            self.last = state, FixedConvolution(self.convolution, whole, norm.bias - mean * scale)
        return self.last[1]


class PooledConvolution(nn.Module):
    """activation(norm(maximum(convolution(x)))): half as high and wide; the norm sees a quarter of the places."""

    def __init__(self, channels: int, width: int, *, activation: str = "relu") -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.activation = activation
        nn.init.kaiming_normal_(self.convolution.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch filters rows columns"]:
        """Raises ValueError for a picture of a single row or column."""
        if min(x.shape[2:]) < 2:
            raise ValueError(f"features of {x.shape[2]} x {x.shape[3]} cannot be halved; read larger pictures")
        return ACTIVATIONS[self.activation](self.norm(F.max_pool2d(self.convolution(x), 2)))


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
        self.activation = activation
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
        *first, last = self.layers
        for layer in first:
            x = layer(x)
        if self.training and self.drop_path.share:
            return ACTIVATIONS[self.activation](kept + self.drop_path(last(x)))
        return last(x, kept, self.activation)


@contextmanager
def folded(model: nn.Module) -> Iterator[None]:
    """Inside, convolutions multiply by what their batch norms would, which do nothing; for reading only.

    norm(convolution(x)) = convolution(x) with weight * scale, and a bias (Jacob et al. 2018, section 3.2).
    """
    layers = [module for module in model.modules() if isinstance(module, ConvolutionNorm)]
    if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or any(layer.training for layer in layers):
        yield
        return
    try:
        for layer in layers:
            layer.folded = layer.fold()
        yield
    finally:
        for layer in layers:
            layer.folded = None
