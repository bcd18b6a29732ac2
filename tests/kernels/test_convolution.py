"""Convolutions by a quarter of the products: the plain sum for every size, and who goes the plain way."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from formers.kernels.compiler import load_loops
from formers.kernels.convolution import convolved, takes

if load_loops() is None:
    pytest.skip("numba is not installed, or told to compile nothing", allow_module_level=True)


def layer_of(channels=64, filters=64, size=3, **more):
    layer = nn.Conv2d(channels, filters, size, **{"padding": 1, **more})
    return layer.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("sides", [(1, 1), (3, 9), (4, 4), (17, 6), (40, 64)])
@pytest.mark.parametrize(("channels", "filters", "bias"), [(64, 64, True), (128, 64, False), (64, 192, True)])
def test_every_size(channels, filters, bias, sides):
    layer, x = layer_of(channels, filters, bias=bias), torch.randn(2, channels, *sides)
    with torch.no_grad():
        assert takes(layer, x)
        y = convolved(layer, x)
        wanted = F.conv2d(x.double(), layer.weight.double(), None if layer.bias is None else layer.bias.double(), 1, 1)
        assert y.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(y.double(), wanted, atol=1e-5, rtol=1e-5)


def test_a_picture_has_the_same_bytes_alone_and_among_others():
    layer, x = layer_of(), torch.randn(3, 64, 70, 21)
    with torch.no_grad():
        assert torch.equal(convolved(layer, x)[2:], convolved(layer, x[2:]))


def test_numbers_that_are_none_stay_where_they_are():
    layer, x = layer_of(), torch.randn(1, 64, 16, 16)
    x[0, 3, 2, 2] = torch.nan
    with torch.no_grad():
        y = convolved(layer, x)
    assert y[0, :, 1:4, 1:4].isnan().all()
    assert y[0, :, 8:].isfinite().all()


@pytest.mark.parametrize(
    "layer",
    [
        layer_of(60),
        layer_of(stride=2),
        layer_of(size=1, padding=0),
        layer_of(dilation=2),
        layer_of(groups=2),
        layer_of(padding_mode="circular"),
        layer_of().double(),
        nn.Conv2d(64, 64, 3, padding=1),
    ],
)
def test_others_go_the_plain_way(layer):
    x = torch.randn(1, layer.in_channels, 9, 9, dtype=layer.weight.dtype)
    with torch.no_grad():
        assert not takes(layer, x)
        assert torch.equal(convolved(layer, x), layer(x))


def test_gradients_and_hooks_go_the_plain_way():
    layer, x = layer_of(), torch.randn(1, 64, 9, 9)
    assert not takes(layer, x)
    layer.register_forward_hook(lambda *parts: None)
    with torch.no_grad():
        assert not takes(layer, x)
