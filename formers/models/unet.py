"""The UNet of latent diffusion: predicts the noise in latents, and reads a text by cross-attention.

    latents -> levels of residual convolutions (+ time) and transformers (+ text), halved -> middle
            -> the same levels upwards, beside what went down -> prediction

Papers: Ronneberger et al. 2015; Ho et al. 2020; Rombach et al. 2022. What is particular:
  * What each step gives on the way down is put beside what a step on the way up reads, the last one first.
  * An upper level has one block more than a lower one, and the one that reads the finest latents attends as well.
  * Stable Diffusion 1.x has 8 heads at each level, 2.x heads of 64 numbers.
  * Inpainting reads nine channels: latents, the mask, latents of the picture that is kept.
  * A text may be pooled into one vector too, which is added to the time and so reaches every convolution (IF).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from formers.blocks.attention import Attention
from formers.blocks.block import Block, StackConfig
from formers.blocks.levels import Downsample, Level, PreactivatedConvolutions, Upsample, as_picture, as_vectors, silu
from formers.models.vae import check_widths


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    channels: int = 4
    """What it reads (inpainting: 9)."""
    out_channels: int = 4
    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    """Channels of each level, from the size of the latents down; between two of them the sides are halved."""
    depth: int = 2
    """Residual blocks of each level on the way down; on the way up there is one more."""
    attention: tuple[bool, ...] = (True, True, True, False)
    """Which levels attend; the middle always does."""
    heads: tuple[int, ...] = (8, 8, 8, 8)
    """Attention heads of each level; the middle has those of the last."""
    memory_dim: int | None = 768
    """Width of the vectors of a text; None: it reads none."""
    groups: int = 32
    """Groups of channels in the norms."""
    classes: int = 0
    """How many classes of pictures there are a learned vector for, which is added to the time."""
    guidance_dim: int = 0
    """Width of the numbers that say how strong guidance is (LCM); 0: it reads none."""
    pooled_heads: int = 0
    """Heads of the attention that makes one vector of a text, which is added to the time; 0: none is made."""
    size: int | None = None
    """Rows and columns of the latents that it was trained on, where that is known; others are read too."""
    linear: bool = False
    """How files hold the maps into and out of a transformer: as matrices (2.x) or convolutions of size 1."""

    def __post_init__(self) -> None:
        check_widths(self.widths, self.groups)
        counts = len(self.widths), len(self.attention), len(self.heads)
        if len(set(counts)) > 1:
            raise ValueError("widths ({}), attention ({}) and heads ({}) must be equally many".format(*counts))
        for width, heads in zip(self.widths, self.heads, strict=True):
            if width % heads:
                raise ValueError(f"widths ({width}) must be multiples of heads ({heads})")
        if self.pooled_heads and (not self.memory_dim or self.memory_dim % self.pooled_heads):
            what = f"memory_dim ({self.memory_dim}), the width of a text's vectors"
            raise ValueError(f"{what}, must be a multiple of pooled_heads ({self.pooled_heads})")

    @property
    def time_dim(self) -> int:
        return 4 * self.widths[0]


class UNet(nn.Module):
    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        c, first, last = config, config.widths[0], len(config.widths) - 1
        self.config = config
        self.time = nn.Sequential(nn.Linear(first, c.time_dim), nn.SiLU(), nn.Linear(c.time_dim, c.time_dim))
        self.classes = nn.Embedding(c.classes, c.time_dim) if c.classes else None
        self.guidance = nn.Linear(c.guidance_dim, first, bias=False) if c.guidance_dim else None
        self.pooled = PooledText(c.memory_dim, c.pooled_heads, c.time_dim) if c.memory_dim and c.pooled_heads else None
        self.convolution_in = nn.Conv2d(c.channels, first, 3, padding=1)
        kept = [first]  # channels of all that is put beside the way up
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for i, width in enumerate(c.widths):
            steps = itertools.pairwise((kept[-1], *(width,) * c.depth))
            down = None if i == last else Downsample(width, padded=True)
            self.down.append(Level([self.residual(*pair) for pair in steps], self.attend(i, c.depth), down))
            kept += [width] * (c.depth + (i < last))
        width = c.widths[last]
        middle = [self.residual(width, width) for _ in range(2)]
        self.middle = Level(middle, [SpatialTransformer(width, c.heads[last], c)])
        for i in range(last, -1, -1):
            residuals = []
            for _ in range(c.depth + 1):
                residuals.append(self.residual(width + kept.pop(), c.widths[i]))
                width = c.widths[i]
            self.up.append(Level(residuals, self.attend(i, c.depth + 1), Upsample(width) if i else None))
        self.norm_out = nn.GroupNorm(c.groups, first, 1e-5)
        self.convolution_out = nn.Conv2d(first, c.out_channels, 3, padding=1)
        self.apply(begin_still)

    def residual(self, channels: int, width: int) -> PreactivatedConvolutions:
        c = self.config
        return PreactivatedConvolutions(channels, width, time_dim=c.time_dim, groups=c.groups, eps=1e-5)

    def attend(self, level: int, depth: int) -> list[SpatialTransformer]:
        c = self.config
        count = depth if c.attention[level] else 0
        return [SpatialTransformer(c.widths[level], c.heads[level], c) for _ in range(count)]

    def forward(
        self,
        noisy: Float[Tensor, "batch channels height width"],
        time: Tensor | int | float,
        memory: Float[Tensor, "texts keys memory_dim"] | None = None,
        *,
        classes: Int[Tensor, "batch"] | None = None,
        guidance: Float[Tensor, "#batch guidance_dim"] | None = None,
    ) -> Float[Tensor, "batch filters height width"]:
        """The prediction for latents at a step of the noise, one number of all or one of each, fractions too.

        memory: the vectors of each text, or of one that all read. Raises ValueError for what this model does not read,
        or lacks.
        """
        c = self.config
        if noisy.shape[1] != c.channels:
            raise ValueError(f"latents have {noisy.shape[1]} channels, but this model reads {c.channels}")
        reads = (("memory", memory, c.memory_dim), ("classes", classes, c.classes))
        for name, given, read in (*reads, ("guidance", guidance, guidance is not None and c.guidance_dim)):
            if (given is not None) != bool(read):
                raise ValueError(f"this model reads {'' if read else 'no '}{name}")
        if memory is not None and memory.shape[-1] != c.memory_dim:
            raise ValueError(f"memory has vectors of {memory.shape[-1]} numbers, expected {c.memory_dim}")
        shared = silu(self.embed(noisy, time, memory, classes, guidance))
        x = self.convolution_in(noisy.contiguous(memory_format=torch.channels_last))
        kept = [x]
        for level in self.down:
            x = level(x, shared, memory, kept=kept)
        x = self.middle(x, shared, memory)
        for level in self.up:
            x = level(x, shared, memory, skips=kept)
        return self.convolution_out(silu(self.norm_out(x)))

    def embed(
        self,
        noisy: Tensor,
        time: Tensor | int | float,
        memory: Tensor | None,
        classes: Tensor | None,
        guidance: Tensor | None,
    ) -> Float[Tensor, "#batch time_dim"]:
        """What every residual block adds: of the time, the text, the class, and the strength of guidance."""
        time = torch.as_tensor(time, device=noisy.device).reshape(-1)
        waves = time_waves(time, self.config.widths[0]).to(noisy.dtype)
        if self.guidance is not None and guidance is not None:
            waves = waves + self.guidance(guidance)
        vector = self.time(waves)
        if self.pooled is not None:
            vector = vector + self.pooled(memory)
        return vector if self.classes is None else vector + self.classes(classes)


class PooledText(nn.Module):
    """A text as one vector: what a query from the mean of its vectors finds among them and itself (DeepFloyd's IF)."""

    def __init__(self, dim: int, heads: int, width: int) -> None:
        super().__init__()
        self.norm, self.norm_out = nn.LayerNorm(dim), nn.LayerNorm(width)
        self.query = nn.Parameter(torch.randn(dim) / dim**0.5)
        self.attention = Attention(dim, heads, out_dim=width)

    def forward(self, memory: Float[Tensor, "texts keys dim"]) -> Float[Tensor, "texts width"]:
        x = self.norm(memory)
        query = x.mean(1, keepdim=True) + self.query
        return self.norm_out(self.attention(query, torch.cat([query, x], 1))[:, 0])


class SpatialTransformer(nn.Module):
    """x + map(block(map(norm(x)))) over all places of a picture, which also read the text."""

    def __init__(self, width: int, heads: int, config: UNetConfig) -> None:
        super().__init__()
        stack = StackConfig(dim=width, layers=1, heads=heads, hidden=4 * width, gated=True, bias="o")
        self.norm = nn.GroupNorm(config.groups, width, 1e-6)
        self.project_in = nn.Linear(width, width)
        self.block = Block(stack, memory_dim=config.memory_dim)
        self.project_out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch channels height width"], memory: Float[Tensor, "texts keys dim"] | None = None
    ) -> Float[Tensor, "batch channels height width"]:
        vectors = self.block(self.project_in(as_vectors(self.norm(x))), memory=memory)
        return as_picture(self.project_out(vectors), x).add_(x)


def time_waves(time: Float[Tensor, "times"] | Int[Tensor, "times"], dim: int) -> Float[Tensor, "times dim"]:
    """Cosines, then sines, of times at frequencies from 1 to nearly 1 / 10000, in fp32."""
    half = dim // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32, device=time.device) * (-math.log(10000) / half))
    angles = time[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)


def begin_still(module: nn.Module) -> None:
    """Each branch begins as nothing, so that training begins at the identity (as the published ones did)."""
    if isinstance(module, UNet | PreactivatedConvolutions | SpatialTransformer):
        last = module.project_out if isinstance(module, SpatialTransformer) else module.convolution_out
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
