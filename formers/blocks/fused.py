"""Decoding steps as compiled loops: which stacks and which steps can go this way, and the numbers that loops need.

The results are those of the plain way up to the order of additions; a token takes about half the time (measured). It is
there where numba is installed; whatever it does not know goes the plain way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from formers.blocks.attention import Attention, watched
from formers.blocks.block import Block
from formers.blocks.cache import Cache
from formers.blocks.feed_forward import FeedForward
from formers.blocks.position import Rotary
from formers.blocks.stack import Stack
from formers.kernels.compiler import load_loops
from formers.kernels.matrix import PackedMatrix
from formers.kernels.weight import Weight, hooked

NOTHING = np.zeros((0, 0), np.float32)  # where there is no rotation


class CompiledSteps:
    """The blocks of a stack for a few vectors at a time, with the weights that it had when this was made."""

    def __init__(self, stack: Stack, loops: ModuleType) -> None:
        if not stack.causal or stack.relative is not None or any(map(hooked, stack.modules())):
            raise NotImplementedError
        self.stack, self.loops = stack, loops
        self.few: int = 1 << 30  # the least of all matrices
        self.layers = [self.layer(stack.block(i), window) for i, window in enumerate(stack.windows)]
        self.norm = None if stack.norm is None else self.norm_of(stack.norm)
        self.reads = self.layers[0].reads

    def take(self, x: Tensor, cache: Cache) -> bool:
        """Whether a step of these vectors (rows, new, dim) can go this way; a memory is projected the plain way."""
        return (
            (not self.reads or (cache.read is not None and cache.read[0].complete))
            and x.dtype == torch.float32
            and x.device.type == "cpu"
            and x.shape[0] * x.shape[1] <= self.few
            and not (torch.is_grad_enabled() or self.stack.training or watched())
        )

    def __call__(self, x: Tensor, cache: Cache) -> Tensor:
        rows, new, past = x.shape[0], x.shape[1], cache.length
        turns = [turn(rotary, past, new, x) for rotary in (self.stack.rotary, self.stack.local_rotary)]
        out = x.reshape(rows * new, -1).clone()
        vectors = out.numpy()
        with self.loops.using(torch.get_num_threads(), f"block, {self.layers[0].up.numbers.dtype}"):
            for layer, own, read in zip(self.layers, cache.own, cache.read or cache.own, strict=True):
                keys, values = own.claim(rows, layer.attention.kv_heads, new, layer.attention.head_dim, like=x)
                cos, sin = turns[layer.attention.window > 0]
                numbers = keys.numpy(), values.numpy()
                memory = numbers
                if self.reads:
                    assert read.keys is not None and read.values is not None
                    memory = read.keys.numpy(), read.values.numpy()
                self.loops.block(vectors, layer, *numbers, past, new, cos, sin, *memory)
            if self.norm is not None:
                self.loops.normalise(vectors, self.norm, vectors)
        return out.view_as(x)

    def layer(self, block: nn.Module, window: int) -> Any:
        if type(block) is not Block or block.after_attention is not None:
            raise NotImplementedError
        forward = block.feed_forward
        if type(forward) is not FeedForward or forward.activation_name() not in self.loops.ACTIVATIONS:
            raise NotImplementedError
        up = self.matrix(forward.up)
        gate = up if forward.gate is None else self.matrix(forward.gate)
        heads, down = self.heads(block.attention, window), self.matrix(forward.down)
        norms = [self.norm_of(norm) for norm in (block.norm_attention, block.norm_feed_forward)]
        activation = self.loops.ACTIVATIONS.index(forward.activation_name())
        cross, norm_cross = heads, norms[0]
        if block.cross_attention is not None:
            if block.cross_attention.q_norm is not None:
                raise NotImplementedError
            cross, norm_cross = self.heads(block.cross_attention, 0), self.norm_of(block.norm_cross)
        return self.loops.Layer(
            heads,
            *norms,
            block.norm_first,
            gate,
            up,
            down,
            forward.gate is not None,
            activation,
            norm_cross,
            cross,
            block.cross_attention is not None,
        )

    def heads(self, attention: nn.Module, window: int) -> Any:
        if type(attention) is not Attention or attention.rotary_value:
            raise NotImplementedError
        a, size = attention, attention.head_dim
        norms = [self.norm_of(norm or nn.RMSNorm(0, eps=0.0)) for norm in (a.q_norm, a.k_norm)]
        matrices = [self.matrix(linear) for linear in (a.q, a.k, a.v, a.o)]
        count = a.k.out_features // size
        return self.loops.Heads(*matrices, *norms, a.q_norm is not None, a.scale, count, size, window)

    def matrix(self, linear: nn.Module) -> Any:
        if type(linear) is not nn.Linear:
            raise NotImplementedError
        form = linear.weight.form if type(linear.weight) is Weight else PackedMatrix(plain(linear.weight))
        self.few = min(self.few, form.few)
        numbers, scale = form.arrays()
        return self.loops.Matrix(numbers, scale, vector(linear.bias, linear.out_features))

    def norm_of(self, norm: nn.Module) -> Any:
        if type(norm) is nn.LayerNorm:
            size = norm.normalized_shape[0]
            return self.loops.Norm(vector(norm.weight, size), vector(norm.bias, size), norm.eps, True)
        if type(norm) is nn.RMSNorm:
            size = norm.normalized_shape[0]
            return self.loops.Norm(vector(norm.weight, size), vector(None, size), norm.eps, False)
        raise NotImplementedError


def vector(tensor: Tensor | None, size: int) -> NDArray[np.float32]:
    """Its numbers; zeros where there is none."""
    if tensor is None:
        return np.zeros(size, np.float32)
    return plain(tensor).detach().contiguous().numpy()


def plain(tensor: Tensor) -> Tensor:
    """The tensor itself, if the loops can read it."""
    if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
        raise NotImplementedError
    return tensor


def turn(rotary: Rotary | None, past: int, new: int, x: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(cos, sin), each (new, width of a head)."""
    if rotary is None:
        return NOTHING, NOTHING
    at = rotary.at(past, new, x)
    return at.cos.numpy(), at.sin.numpy()


@contextmanager
def fused(model: nn.Module) -> Iterator[None]:
    """Inside, decoding steps of a few vectors go through compiled loops where they can. Weights must not change."""
    loops = load_loops()
    stacks = [module for module in model.modules() if isinstance(module, Stack)]
    try:
        for stack in stacks:
            with suppress(NotImplementedError):  # a part that the loops do not know
                stack.steps = None if loops is None else CompiledSteps(stack, loops)
        yield
    finally:
        for stack in stacks:
            stack.steps = None
