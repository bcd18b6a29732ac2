"""Convolutions of size 3 on a CPU as a compiled loop, where that is faster than PyTorch's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from formers.kernels.compiler import load_loops
from formers.kernels.weight import hooked

CHANNELS = 64  # of which channels and filters must be multiples


def convolved(layer: nn.Module, x: Tensor) -> Tensor:
    """layer(x) of pictures (batch, channels, height, width), for inference by a quarter of the products where it can.

    1.3 to 2 times as fast for convolutions of size 3, stride 1 and padding 1 whose weights are channels last; results
    differ from PyTorch's by 8e-6 of the largest (both measured). The bytes of a picture do not depend on the others.
    """
    if not takes(layer, x) or (loops := load_loops()) is None:
        return layer(x)
    assert isinstance(layer, nn.Conv2d)
    x = x.contiguous(memory_format=torch.channels_last)
    out = x.new_empty(len(x), *x.shape[2:], layer.out_channels)
    bias = x.new_zeros(layer.out_channels) if layer.bias is None else layer.bias
    read, weight = (part.detach().permute(0, 2, 3, 1).numpy() for part in (x, layer.weight))
    threads = torch.get_num_threads()
    with loops.using(threads, "convolution"):
        from formers.kernels import winograd  # compiled when first imported

        winograd.convolve(read, weight, bias.detach().numpy(), threads, out.numpy())
    return out.permute(0, 3, 1, 2)


def takes(layer: nn.Module, x: Tensor) -> bool:
    """Whether this is a convolution for the loop, and there is no gradient."""
    if type(layer) is not nn.Conv2d or hooked(layer) or torch.is_grad_enabled():
        return False
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # sizes may be symbols
        return False
    sizes = layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups, layer.padding_mode
    if sizes != ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros") or layer.in_channels % CHANNELS:
        return False
    if layer.out_channels % CHANNELS or type(layer.weight) is not nn.Parameter:
        return False
    plain = all(part.dtype == torch.float32 and part.device.type == "cpu" for part in (x, layer.weight))
    return plain and layer.weight.is_contiguous(memory_format=torch.channels_last)
