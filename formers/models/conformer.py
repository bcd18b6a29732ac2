"""The Conformer: speech to letters without a decoder, of log-mel frames (FastConformer) or of a waveform (wav2vec 2.0).

    frames -> convolutions that halve them -> Stack of ConformerBlocks -> letters and blanks, one for each frame

Papers: Gulati et al. 2020; Graves et al. 2006 (CTC); Rekesh et al. 2023 (FastConformer); Baevski et al. 2020. What is
particular:
  * Parakeet never sees padding: a clip among longer ones gives what it gives alone. Wav2Vec2-Conformer hides padded
    frames once, before the first block, and its convolutions then see what blocks make of them.
  * Read in chunks, a frame sees its own and some before, in attention and in convolutions: for streaming.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from formers.blocks.conformer import ConformerBlock, RelativeSinusoids, seen_in_chunks
from formers.blocks.dropout import dropout
from formers.blocks.feed_forward import ACTIVATIONS
from formers.blocks.position import Rotary
from formers.blocks.stack import Stack, StackConfig

Lengths = Int[Tensor, " batch"]


@dataclass(frozen=True, kw_only=True)
class ConformerEncoderConfig:
    stack: StackConfig
    mels: int = 80
    """Features of a frame."""
    halvings: int = 3
    """How often the convolutions in front halve time and mels."""
    channels: int = 256
    """Of these convolutions."""
    scale_input: bool = True
    """What goes into the first block is multiplied by the square root of its width."""
    kernel: int = 9
    """Frames that a block's convolution sees."""
    convolution_bias: bool = True
    positions: Literal["relative", "rotary", "none"] = "relative"
    rotary_base: float = 10000.0
    waves: tuple[tuple[int, int, int], ...] = ()
    """(channels, kernel, stride) of each convolution over a waveform, which is then read instead of mels."""
    wave_norm: Literal["first", "each"] = "first"
    """The first of these has a norm of each channel over time, or each one of all channels."""
    wave_bias: bool = False
    wave_activation: str = "gelu"
    carried: tuple[int, int] = (0, 0)
    """Kernel and groups of a convolution in files of Wav2Vec2-Conformer that nothing computes with."""
    chunk: int = 0
    """Frames (of the blocks) that are read together, for streaming; 0: all of them."""
    left: int = 0
    """Chunks before its own that a frame looks back to."""

    def __post_init__(self) -> None:
        if not self.waves and (self.mels % 2**self.halvings or not self.halvings):
            raise ValueError(f"mels ({self.mels}) must be a multiple of 2 ** halvings ({2**self.halvings}), 2 or more")
        if self.wave_activation not in ACTIVATIONS:
            raise ValueError(f"wave_activation ({self.wave_activation}) is none of {', '.join(ACTIVATIONS)}")


@dataclass(frozen=True, kw_only=True)
class ConformerConfig:
    encoder: ConformerEncoderConfig
    vocab: int
    """Letters or pieces, with the blank."""
    blank: int
    """The one that says nothing."""


def keep_of(lengths: Lengths, frames: int) -> Bool[Tensor, "batch frames"]:
    """True where a frame of a row is no padding."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


def hidden(x: Float[Tensor, "batch channels frames mels"], lengths: Lengths | None) -> Tensor:
    """The same with zeros where there is padding."""
    if lengths is None or int(lengths.min()) >= x.shape[2]:
        return x
    return x * keep_of(lengths, x.shape[2])[:, None, :, None]


class MelSubsampling(nn.Module):
    """Convolutions over time and mels that halve both, each but the first in two parts; padding stays zero."""

    def __init__(self, config: ConformerEncoderConfig) -> None:
        super().__init__()
        c, width = config, config.channels
        self.first = nn.Conv2d(1, width, 3, stride=2, padding=1)
        later = range(c.halvings - 1)
        self.depthwise = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width) for _ in later)
        self.pointwise = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in later)
        self.project = nn.Linear(width * (c.mels >> c.halvings), c.stack.dim)
        self.scale = c.stack.dim**0.5 if c.scale_input else 1.0
        self.least = 1

    def forward(self, x: Float[Tensor, "batch frames mels"], lengths: Lengths | None) -> tuple[Tensor, Lengths | None]:
        # channels last: 2.5 times as fast on a CPU (measured)
        x = hidden(x[:, None].to(memory_format=torch.channels_last), lengths)
        lengths = self.halved(lengths)
        x = F.relu_(hidden(self.first(x), lengths))
        for depthwise, pointwise in zip(self.depthwise, self.pointwise, strict=True):
            lengths = self.halved(lengths)
            x = hidden(depthwise(x), lengths)
            x = F.relu_(hidden(pointwise(x), lengths))
        return self.project(x.transpose(1, 2).flatten(2)) * self.scale, lengths

    def halved(self, lengths: Lengths | None) -> Lengths | None:
        return None if lengths is None else (lengths - 1).div(2, rounding_mode="floor") + 1


class WaveConvolution(nn.Module):
    def __init__(
        self, before: int, sizes: tuple[int, int, int], norm: nn.Module | None, *, bias: bool, activation: str
    ) -> None:
        super().__init__()
        width, kernel, stride = sizes
        self.convolution = nn.Conv1d(before, width, kernel, stride=stride, bias=bias)
        self.norm, self.activation = norm, ACTIVATIONS[activation]

    def forward(self, x: Float[Tensor, "batch channels length"]) -> Float[Tensor, "batch width frames"]:
        x = self.convolution(x)
        if isinstance(self.norm, nn.LayerNorm):
            x = self.norm(x.mT).mT
        elif self.norm is not None:
            x = self.norm(x)
        return self.activation(x)


class WaveSubsampling(nn.Module):
    """Convolutions over a waveform, a norm, and a linear map to what the blocks read."""

    def __init__(self, config: ConformerEncoderConfig) -> None:
        super().__init__()
        c = config
        widths = [1, *(width for width, _, _ in c.waves)]
        self.layers = nn.ModuleList(
            WaveConvolution(before, sizes, self.norm_of(c, place), bias=c.wave_bias, activation=c.wave_activation)
            for place, (before, sizes) in enumerate(zip(widths, c.waves, strict=False))
        )
        self.norm = nn.LayerNorm(widths[-1], eps=c.stack.norm_eps)
        self.project = nn.Linear(widths[-1], c.stack.dim)
        self.waves = c.waves
        self.least = 1
        for _, kernel, stride in reversed(c.waves):
            self.least = (self.least - 1) * stride + kernel

    def norm_of(self, config: ConformerEncoderConfig, place: int) -> nn.Module | None:
        width = config.waves[place][0]
        if config.wave_norm == "each":
            return nn.LayerNorm(width)
        return None if place else nn.GroupNorm(width, width)

    def forward(self, x: Float[Tensor, "batch samples 1"], lengths: Lengths | None) -> tuple[Tensor, Lengths | None]:
        x = x.mT
        for layer in self.layers:
            x = layer(x)
        if lengths is not None:
            for _, kernel, stride in self.waves:
                lengths = (lengths - kernel).div(stride, rounding_mode="floor") + 1
        x = self.project(self.norm(x.mT))
        return x if lengths is None else x * keep_of(lengths, x.shape[1])[..., None], lengths


class ConformerEncoder(nn.Module):
    def __init__(self, config: ConformerEncoderConfig) -> None:
        super().__init__()
        c, s = config, config.stack
        self.config = config
        self.front = WaveSubsampling(c) if c.waves else MelSubsampling(c)
        self.places = RelativeSinusoids(s.dim) if c.positions == "relative" else None
        block = partial(
            ConformerBlock,
            kernel=c.kernel,
            convolution_bias=c.convolution_bias,
            relative=c.positions == "relative",
            chunk=c.chunk,
        )
        self.stack = Stack(
            s,
            rotary=Rotary(s.dim // s.heads, base=c.rotary_base) if c.positions == "rotary" else None,
            final_norm=bool(c.waves),
            block=block,
        )
        self.carried = None
        if c.carried[0]:
            (kernel, groups), dim = c.carried, s.dim
            shapes = {"mask": (dim,), "gain": (1, 1, kernel), "weight": (dim, dim // groups, kernel), "bias": (dim,)}
            parts = {name: nn.Parameter(torch.empty(shape), requires_grad=False) for name, shape in shapes.items()}
            self.carried = nn.ParameterDict(parts)

    def forward(
        self,
        features: Float[Tensor, "batch frames *mels"],
        *,
        lengths: Lengths | None = None,
        seen: list[Tensor] | None = None,
    ) -> tuple[Float[Tensor, "batch fewer dim"], Lengths]:
        """Hidden states, and how many of them each row has.

        features: log-mel frames, or a waveform (batch, samples); lengths: of each row, without its padding. seen: as
        in `Stack`. Raises ValueError for features that are not this model's, or too short for a single frame.
        """
        c = self.config
        if c.waves and features.ndim == 2:
            features = features[..., None]
        width = 1 if c.waves else c.mels
        if features.ndim != 3 or features.shape[-1] != width:
            expected = "(batch, samples)" if c.waves else f"(batch, frames, {width})"
            raise ValueError(f"features are {tuple(features.shape)}, expected {expected}")
        shortest = features.shape[1] if lengths is None else int(lengths.min())
        if shortest < self.front.least:
            raise ValueError(
                f"a clip has {shortest} frames or samples, but this model reads {self.front.least} at once"
            )
        x, lengths = self.front(features, lengths)
        x = dropout(x, c.stack.dropout, self.training)
        keep = None if lengths is None else keep_of(lengths, x.shape[1])
        shared = {
            "keep": None if c.waves else keep,
            "chunks": seen_in_chunks(x.shape[1], c.chunk, c.left, x) if c.chunk else None,
            "places": None if self.places is None else self.places(x.shape[1], x),
        }
        x = self.stack(x, keep=keep, shared=shared, seen=seen)
        return x, x.new_full((len(x),), x.shape[1], dtype=torch.long) if lengths is None else lengths


class Conformer(nn.Module):
    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ConformerEncoder(config.encoder)
        self.out = nn.Linear(config.encoder.stack.dim, config.vocab)

    def forward(
        self, features: Float[Tensor, "batch frames *mels"], *, lengths: Lengths | None = None
    ) -> tuple[Float[Tensor, "batch fewer vocab"], Lengths]:
        """Logits, and how many frames of them each row has; as `ConformerEncoder`."""
        x, lengths = self.encoder(features, lengths=lengths)
        return self.out(x), lengths
