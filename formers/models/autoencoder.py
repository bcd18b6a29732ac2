"""An autoencoder: a picture, or the word counts of a document, through a narrow code and back.

    x -> layers down -> code (linear) -> the same layers mirrored, up -> logits or values

Papers: Hinton & Salakhutdinov 2006; Kingma & Welling 2014 (variational). What is particular:
  * One list of sizes says all: those of the layers down, the last of which is the code; those up mirror them.
  * Dense layers, or convolutions, of which each but the first halves the picture, with one dense code or a map.
  * Skips add what went into each layer where the way up is as wide: for repair, not for compression.
  * A model that is all convolutions reads pictures of any size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from formers.blocks.feed_forward import ACTIVATIONS

Repair = Literal["reconstruct", "denoise", "inpaint", "colour"]
Kept = tuple[Sequence[int], Tensor | None]  # (height, width) of a layer's input, and where it is a skip itself


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    inputs: tuple[int, ...]
    """(channels, height, width) of pictures, (words,) of documents."""
    outputs: int = 0
    """Channels that come out (0: as many as go in)."""
    sizes: tuple[int, ...] = (1000, 500, 250, 30)
    """Of every layer down to the code: numbers, of convolutions channels."""
    convolutional: bool = False
    flat: bool = True
    """The code of convolutions is a dense layer over all places; else it is a map of so many channels."""
    depth: int = 0
    """Residual convolutions of each convolutional layer besides its first."""
    skips: bool = False
    variational: bool = False
    """The code is drawn from a normal distribution, whose mean and variance are computed."""
    activation: Literal["relu", "gelu", "gelu_tanh", "silu"] = "gelu"
    output: Literal["logits", "values"] = "logits"
    """What comes out: logits (of pixels, or of the words), or the values themselves."""
    task: Repair = "reconstruct"
    """What it was trained for."""
    space: Literal["ycbcr", "lab"] = "ycbcr"
    """The colours that it predicts (colour)."""
    words: tuple[str, ...] = ()
    """Of documents: the words that are counted, the commonest first."""

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1:
            raise ValueError(f"sizes {self.sizes} must be positive, at least that of the code")
        if self.convolutional and len(self.inputs) != 3:
            raise ValueError("documents have no places for convolutions")
        if self.convolutional and self.flat and len(self.sizes) < 2:
            raise ValueError("a dense code stands behind at least one convolution")
        if self.variational and self.skips:
            raise ValueError("a variational model has no skips, which would lead past its code")

    @property
    def any_side(self) -> bool:
        """Whether pictures of other sides are read too: all is convolutions."""
        return self.convolutional and not self.flat

    @property
    def adds_input(self) -> bool:
        """Whether the input is a skip, too: what is repaired is nearly right before."""
        return self.skips and self.output == "values" and (self.outputs or self.inputs[0]) <= self.inputs[0]

    @property
    def sides(self) -> list[tuple[int, int]]:
        """(height, width) of what goes into the first convolution and comes out of each."""
        sides = [self.inputs[1:]]
        for place in range(len(self.sizes) - self.flat):
            sides.append(sides[-1] if place == 0 else tuple((side + 1) // 2 for side in sides[-1]))
        return sides  # type: ignore[return-value]

    @property
    def code(self) -> tuple[int, ...]:
        """The shape of a code."""
        dense = not self.convolutional or self.flat
        return (self.sizes[-1],) if dense else (self.sizes[-1], *self.sides[-1])


class Convolutions(nn.Module):
    """A convolution to other channels, and residual ones behind it."""

    def __init__(self, before: int, after: int, *, depth: int, activation: str, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride=stride, padding=1)
        self.rest = nn.ModuleList(nn.Conv2d(after, after, 3, padding=1) for _ in range(depth))
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for convolution in self.rest:
            x = x + convolution(self.activation(x))
        return x


class Autoencoder(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        """Raises ValueError for sizes that do not go together."""
        super().__init__()
        c = config
        self.config, self.activation = config, ACTIVATIONS[c.activation]
        twice = 1 + c.variational
        out = (c.outputs or c.inputs[0], *c.inputs[1:])
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        if not c.convolutional:
            sizes = [math.prod(c.inputs), *c.sizes]
            self.down.extend(nn.Linear(before, after) for before, after in pairwise([*sizes[:-1], twice * sizes[-1]]))
            self.up.extend(nn.Linear(before, after) for before, after in pairwise([*sizes[:0:-1], math.prod(out)]))
        else:
            sizes, sides = [c.inputs[0], *c.sizes], c.sides
            parts: Any = {"depth": c.depth, "activation": c.activation}
            last = len(sizes) - 1 - c.flat
            for place in range(1, last + 1):
                wide = sizes[place] * (twice if place == len(sizes) - 1 else 1)
                self.down.append(Convolutions(sizes[place - 1], wide, stride=1 + (place > 1), **parts))
            if c.flat:
                places = math.prod(sides[-1])
                self.down.append(nn.Sequential(nn.Flatten(), nn.Linear(sizes[-2] * places, twice * sizes[-1])))
                widen = nn.Linear(sizes[-1], sizes[-2] * places)
                self.up.append(nn.Sequential(widen, nn.Unflatten(1, (sizes[-2], *sides[-1]))))
            for place in range(last, 1, -1):
                self.up.append(Convolutions(sizes[place], sizes[place - 1], **parts))
            self.up.append(Convolutions(sizes[1], out[0], depth=0, activation=c.activation))
        self.shape = out
        self.apply(initialise)

    def forward(self, x: Float[Tensor, "rows *inputs"]) -> Float[Tensor, "rows *outputs"]:
        """What comes out, logits or values; of a variational model that of the mean code.

        Raises ValueError for inputs of another shape.
        """
        codes, kept = self.descend(x)
        y = self.ascend(self.mean(codes), kept)
        return y + x[:, : len(y[0])] if self.config.adds_input else y

    def encode(self, x: Float[Tensor, "rows *inputs"]) -> Float[Tensor, "rows *code"]:
        """The codes, of a variational model their means."""
        return self.mean(self.descend(x)[0])

    def decode(self, codes: Float[Tensor, "rows *code"]) -> Float[Tensor, "rows *outputs"]:
        """What comes out of codes. Raises ValueError for a model with skips, which needs more than a code."""
        if self.config.skips:
            raise ValueError("a model with skips decodes no code alone")
        sides = self.config.sides[: len(self.down)] if self.config.convolutional else [()] * len(self.down)
        return self.ascend(codes, [(side, None) for side in sides])

    def sampled(self, x: Float[Tensor, "rows *inputs"]) -> tuple[Float[Tensor, "rows *outputs"], Tensor]:
        """What comes out of codes that are drawn, and the summed divergence of their distributions from the standard
        normal one (variational)."""
        codes, kept = self.descend(x)
        mean, spread = codes.float().chunk(2, 1)
        divergence = 0.5 * (mean.square() + spread.exp() - 1 - spread).sum()
        drawn = mean + (0.5 * spread).exp() * torch.randn_like(mean)
        return self.ascend(drawn.to(codes.dtype), kept), divergence

    def values(self, outputs: Tensor) -> Tensor:
        """What comes out as numbers of 0 to 1: pixels, or shares of the words."""
        if self.config.output == "values":
            return outputs.clamp(0, 1)
        return outputs.sigmoid() if len(self.shape) == 3 else outputs.softmax(1)

    def mean(self, codes: Tensor) -> Tensor:
        return codes.chunk(2, 1)[0] if self.config.variational else codes

    def descend(self, x: Tensor) -> tuple[Tensor, list[Kept]]:
        """What the code's layer gives, and what the way up has to know of each layer's input."""
        wanted, free = self.config.inputs, 1 if self.config.any_side else len(self.config.inputs)
        if x.ndim != len(wanted) + 1 or tuple(x.shape[1 : free + 1]) != tuple(wanted[:free]):
            got, expected = (" x ".join(map(str, sides)) for sides in (x.shape[1:], wanted))
            raise ValueError(f"inputs are {got}, this model reads {expected}")
        x = x if self.config.convolutional else x.flatten(1)
        kept: list[Kept] = []
        for place, layer in enumerate(self.down):
            x = self.activation(x) if place else x
            kept.append((x.shape[2:], x if self.config.skips and place else None))
            x = layer(x)
        return x, kept

    def ascend(self, x: Tensor, kept: Sequence[Kept]) -> Tensor:
        """What comes out of the code's layer."""
        for place, (layer, (side, skip)) in enumerate(zip(self.up, reversed(kept), strict=True)):
            x = self.activation(x) if place else x
            if x.ndim == 4 and x.shape[2:] != side:
                x = F.interpolate(x, size=tuple(side))
            x = layer(x)
            x = x if skip is None else x + skip
        return x if self.config.convolutional else x.unflatten(1, self.shape)


def initialise(module: nn.Module) -> None:
    """As large as keeps numbers alike through many layers (He et al. 2015), zero biases: with PyTorch's own, a third of
    that, deep ones begin to learn late."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
