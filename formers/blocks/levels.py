"""The levels of autoencoders and UNets of pictures: residual convolutions, attention, another size (Ho et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from formers.blocks.attention import Attention
from formers.kernels.convolution import convolved


class PreactivatedConvolutions(nn.Module):
    """x + convolution(silu(norm(convolution(silu(norm(x))) + time))), in groups of channels (He et al. 2016b).

    x goes through a convolution of size 1 where the width changes. `time_dim`: width of what is added for the time.
    """

    def __init__(self, channels: int, width: int, *, time_dim: int | None = None, groups: int, eps: float) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(groups, channels, eps)
        self.convolution_in = nn.Conv2d(channels, width, 3, padding=1)
        self.time = None if time_dim is None else nn.Linear(time_dim, width)
        self.norm_out = nn.GroupNorm(groups, width, eps)
        self.convolution_out = nn.Conv2d(width, width, 3, padding=1)
        self.shortcut = None if channels == width else nn.Conv2d(channels, width, 1)

    def forward(
        self, x: Float[Tensor, "batch channels height width"], time: Float[Tensor, "#batch time_dim"] | None = None
    ) -> Float[Tensor, "batch filters height width"]:
        """time: with its activation behind it, which is the same at every level."""
        kept, x = x, convolved(self.convolution_in, silu(self.norm_in(x)))
        if self.time is not None:
            assert time is not None
            x = x.add_(self.time(time)[..., None, None])  # no gradient needs what a convolution gives
        x = convolved(self.convolution_out, silu(self.norm_out(x)))
        return x.add_(kept if self.shortcut is None else self.shortcut(kept))


class Downsample(nn.Module):
    """A convolution of stride 2; `padded`: on all sides (UNet), else below and on the right alone (VAE)."""

    def __init__(self, width: int, *, padded: bool) -> None:
        super().__init__()
        self.padded = padded
        self.convolution = nn.Conv2d(width, width, 3, stride=2, padding=1 if padded else 0)

    def forward(
        self, x: Float[Tensor, "batch channels height width"], size: tuple[int, ...] | None = None
    ) -> Float[Tensor, "batch channels rows columns"]:
        return self.convolution(x if self.padded else F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice as many rows and columns, or those of `size`, each the nearest; then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "batch channels height width"], size: tuple[int, ...] | None = None
    ) -> Float[Tensor, "batch channels rows columns"]:
        size = size or tuple(2 * side for side in x.shape[-2:])
        return convolved(self.convolution, F.interpolate(x, size, mode="nearest"))


class ResidualAttention(nn.Module):
    """x + attention(norm(x)) of one head over all places of a picture."""

    def __init__(self, width: int, *, groups: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps)
        self.attention = Attention(width, 1)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        return as_picture(self.attention(as_vectors(self.norm(x))), x).add_(x)


class Level(nn.Module):
    """Residual convolutions, each with an attention behind it where there is one, then a change of size."""

    def __init__(
        self,
        residuals: Iterable[PreactivatedConvolutions],
        attentions: Iterable[nn.Module] = (),
        resample: Downsample | Upsample | None = None,
    ) -> None:
        super().__init__()
        self.residuals, self.attentions = nn.ModuleList(residuals), nn.ModuleList(attentions)
        self.resample = resample

    def forward(
        self,
        x: Float[Tensor, "batch channels height width"],
        time: Tensor | None = None,
        memory: Tensor | None = None,
        *,
        kept: list[Tensor] | None = None,
        skips: list[Tensor] | None = None,
    ) -> Float[Tensor, "batch filters rows columns"]:
        """kept: gets what each step gives; skips: what each step reads beside x, the last one first, is taken off."""
        for i, residual in enumerate(self.residuals):
            x = residual(x if skips is None else torch.cat([x, skips.pop()], 1), time)
            if i < len(self.attentions):
                x = self.attentions[i](x) if memory is None else self.attentions[i](x, memory)
            if kept is not None:
                kept.append(x)
        if self.resample is not None:
            x = self.resample(x, tuple(skips[-1].shape[-2:]) if skips else None)
            if kept is not None:
                kept.append(x)
        return x


def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x), in place where no gradient needs x: of what a norm has just given."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def as_vectors(x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch places channels"]:
    """The places of a picture row by row; a view where the channels of a place lie side by side in memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def as_picture(x: Tensor, like: Tensor) -> Tensor:
    """Vectors of places as a picture with the sides of `like`, (batch, channels, height, width)."""
    return x.view(x.shape[0], *like.shape[-2:], -1).permute(0, 3, 1, 2)
