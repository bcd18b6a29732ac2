"""The vision transformer: ViT, DeiT, DINOv2 and 3, the towers of CLIP and SigLIP, and AST are sizes and parts of it.

    pictures -> patches -> [class tokens; patches] + positions -> [class; registers; patches] -> Stack -> hidden states

Papers: Dosovitskiy et al. 2021 (ViT); Touvron et al. 2021 (DeiT); Oquab et al. 2024 (DINOv2); Darcet et al. 2024
(registers). What is particular:
  * Any size that patches fill is read: learned positions are interpolated where the grid is another one.
  * DINOv3 turns queries and keys by the place of a patch, from -1 to 1 in each direction, and learns no positions.
  * DeiT has a second class token, DINOv2 a learned factor on each branch, registers have no positions.
  * CLIP normalises before the first block, and its patches have no bias; SigLIP has no class token.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from formers.blocks.block import Block, make_attention, make_feed_forward
from formers.blocks.convolution import ConvolutionNorm
from formers.blocks.dropout import DropPath, dropout, rising
from formers.blocks.norm import Scale, make_norm
from formers.blocks.patches import GridPositions, GridRotary, Patches, grid_of
from formers.blocks.pooling import AttentionPool
from formers.blocks.stack import Stack, StackConfig
from formers.errors import ConfigError, nearest


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    stack: StackConfig
    height: int = 224
    """Of the pictures whose positions are learned, in pixels; others are read too."""
    width: int = 224
    patch: int = 16
    """Side of a patch, in pixels."""
    stride: tuple[int, int] | None = None
    """Pixels down and across from one patch to the next, where they overlap (AST)."""
    channels: int = 3
    class_tokens: int = 1
    """Learned tokens in front that have positions (DeiT: 2, SigLIP: 0)."""
    registers: int = 0
    """Learned tokens after these that have none."""
    patch_bias: bool = True
    norm_input: bool = False
    """Normalise what goes into the first block (CLIP)."""
    layer_scale: float = 0.0
    """What a learned factor for each channel of each branch starts at (DINOv2: 1); 0: there is none."""
    drop_path: float = 0.0
    """Stochastic depth: how often the last block is left out while training, those before it less."""
    positions: Literal["learned", "centred", "rotary"] = "learned"
    """Added to what goes in, read in other grids as `GridPositions` says; or turning queries and keys of the patches
    (DINOv3)."""
    rotary_base: float = 100.0
    antialias: bool = False
    """Smooth the learned positions where a grid is coarser."""
    pooler: Literal["", "tanh", "attention", "norm", "classes"] = ""
    """What makes one vector of a picture: a dense layer and tanh of its class token, attention (SigLIP), the last norm,
    which then stands behind the mean of the patches (MAE), or the mean of the class tokens (AST)."""
    stem: int = 0
    """Convolutions of stride 2 in front of patches that are so many times halved (Xiao et al. 2021)."""

    def __post_init__(self) -> None:
        if self.patch % 2**self.stem:
            raise ValueError(f"patch ({self.patch}) must be a multiple of 2 ** stem ({2**self.stem})")
        if self.stride and (self.stem or not 0 < min(self.stride) <= max(self.stride) <= self.patch):
            raise ValueError(f"stride ({self.stride}) must be from 1 to patch ({self.patch}), and without a stem")


class ViT(nn.Module):
    def __init__(self, config: ViTConfig) -> None:
        """Raises ValueError for sizes that do not go together."""
        super().__init__()
        c, s = config, config.stack
        self.config = config
        self.sides = (c.patch, c.patch)
        widths = [c.channels, *(s.dim >> (c.stem - 1 - i) for i in range(c.stem))]
        layers = (ConvolutionNorm(before, after, 3, stride=2) for before, after in itertools.pairwise(widths))
        self.stem = nn.Sequential(*layers)
        side = c.patch >> c.stem
        self.patches = Patches(widths[-1], s.dim, (side, side), stride=c.stride, bias=c.patch_bias)
        self.class_tokens = nn.ParameterList(nn.Parameter(torch.empty(s.dim)) for _ in range(c.class_tokens))
        self.registers = nn.Parameter(torch.empty(c.registers, s.dim)) if c.registers else None
        self.positions, self.rotary = None, None
        if c.positions == "rotary":
            self.rotary = GridRotary(s.head_dim or s.dim // s.heads, base=c.rotary_base)
        else:
            grid, centred = self.grid((c.height, c.width)), c.positions == "centred"
            self.positions = GridPositions(grid, s.dim, extra=c.class_tokens, antialias=c.antialias, centred=centred)
        self.norm_input = make_norm(s.norm, s.dim, s.norm_eps) if c.norm_input else None
        shares = iter(rising(c.drop_path, s.layers))
        self.stack = Stack(
            s, block=lambda stack, **more: self.make_block(stack, next(shares), **more), final_norm=c.pooler != "norm"
        )
        self.pooler = self.make_pooler()
        self.apply(initialise)
        for token in self.front():
            nn.init.trunc_normal_(token, std=0.02)

    def make_block(self, stack: StackConfig, drop_path: float, *, memory_dim: int | None = None) -> Block:
        value = self.config.layer_scale
        after: Callable[[StackConfig], nn.Module] | None = None
        if value:
            after = lambda s: Scale(s.dim, value, drop_path=drop_path)  # noqa: E731
        elif drop_path:
            after = lambda s: DropPath(drop_path)  # noqa: E731
        return Block(stack, memory_dim=memory_dim, after=after)

    def make_pooler(self) -> nn.Module | None:
        s = self.config.stack
        if self.config.pooler == "norm":
            return make_norm(s.norm, s.dim, s.norm_eps)
        if self.config.pooler == "attention":
            return AttentionPool(make_attention(s), make_norm(s.norm, s.dim, s.norm_eps), make_feed_forward(s))
        return nn.Linear(s.dim, s.dim) if self.config.pooler == "tanh" else None

    def grid(self, size: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of patches in a picture (height, width), which they fill: but of the model's own size they
        may leave out an edge (SigLIP: 384 by 14), as may those that overlap. Raises ValueError for a size that they do
        not fill.
        """
        c = self.config
        if c.stride is not None and min(size) >= c.patch:
            return (size[0] - c.patch) // c.stride[0] + 1, (size[1] - c.patch) // c.stride[1] + 1
        if tuple(size) == (c.height, c.width) and min(size) >= c.patch:
            return c.height // c.patch, c.width // c.patch
        return grid_of(size, self.sides)

    def front(self) -> list[nn.Parameter]:
        """The tokens before the patches: class tokens (dim,), then registers (registers, dim) if any."""
        return [*self.class_tokens, *([] if self.registers is None else [self.registers])]

    @property
    def leading(self) -> int:
        """How many tokens stand before those of the patches."""
        return self.config.class_tokens + self.config.registers

    def embed(self, pictures: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch tokens dim"]:
        """What goes into the first block."""
        c = self.config
        if pictures.shape[1] != c.channels:
            raise ValueError(f"pictures have {pictures.shape[1]} channels, but this model reads {c.channels}")
        rows, columns = self.grid(pictures.shape[-2:])
        if c.stride is None:
            pictures = pictures[..., : rows * c.patch, : columns * c.patch]
        x = self.patches(self.stem(pictures))
        classes = [token.expand(x.shape[0], 1, -1) for token in self.class_tokens]
        x = torch.cat([*classes, x], 1)
        x = x if self.positions is None else x + self.positions((rows, columns)).to(x.dtype)
        x = dropout(x, c.stack.dropout, self.training)
        if self.registers is not None:
            first, patches = x.split([c.class_tokens, x.shape[1] - c.class_tokens], 1)
            x = torch.cat([first, self.registers.expand(x.shape[0], -1, -1), patches], 1)
        return x if self.norm_input is None else self.norm_input(x)

    def forward(
        self, pictures: Float[Tensor, "batch channels height width"], *, seen: list[Tensor] | None = None
    ) -> Float[Tensor, "batch tokens dim"]:
        """Hidden states: class tokens, registers, patches row by row; seen: as in `Stack`.

        Raises ValueError for another number of channels, or a size that patches do not fill.
        """
        x = self.embed(pictures)
        if self.rotary is None:
            return self.stack(x, seen=seen)
        turn = self.rotary(self.grid(pictures.shape[-2:]), x, leading=self.leading)
        return self.stack(x, seen=seen, shared={"rotary": turn})

    def pool(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch dim"]:
        """One vector of each picture: what the pooler makes; without one the class token, else the mean of patches."""
        kind = self.config.pooler
        if self.pooler is not None and kind == "attention":
            return self.pooler(x)
        if kind == "classes":
            return x[:, : self.config.class_tokens].mean(1)
        if kind == "norm" or not self.config.class_tokens:
            x = x[:, self.leading :].mean(1)
            return x if self.pooler is None else self.pooler(x)
        return x[:, 0] if self.pooler is None else torch.tanh(self.pooler(x[:, 0]))


def initialise(module: nn.Module) -> None:
    """Normal with deviation 0.02 (cut at two of them), zero biases."""
    if isinstance(module, nn.Linear | Patches):
        layer = module.project if isinstance(module, Patches) else module
        nn.init.trunc_normal_(layer.weight, std=0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


_VIT = StackConfig(dim=768, layers=12, heads=12, hidden=3072, norm_eps=1e-12)
# Published sizes by name: (layers, dim, heads, hidden).
SIZES = {
    "tiny": (12, 192, 3, 768),
    "small": (12, 384, 6, 1536),
    "base": (12, 768, 12, 3072),
    "large": (24, 1024, 16, 4096),
    "huge": (32, 1280, 16, 5120),
}


def preset(name: str) -> ViTConfig:
    """The config of a published size with its patch, such as "vit-base/16"."""
    form, _, patch = name.partition("/")
    size = form.removeprefix("vit-")
    if size not in SIZES or not patch.isdecimal():
        known = [f"vit-{size}/16" for size in SIZES]
        raise ConfigError(f'there is no size "{name}"{nearest(name, known)}')
    layers, dim, heads, hidden = SIZES[size]
    return ViTConfig(stack=replace(_VIT, layers=layers, dim=dim, heads=heads, hidden=hidden), patch=int(patch))
