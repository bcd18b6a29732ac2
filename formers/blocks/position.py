"""Where a token stands: sinusoidal, learned, rotary positions and T5's relative bias."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


def places_of(keep: Bool[Tensor, "batch keys"], new: int) -> Int[Tensor, "batch new"]:
    """Where each of the last `new` keys stands among the real ones of its row (keep: True), counted from 0."""
    return (keep.cumsum(1) - 1).clamp(min=0)[:, -new:]


def sinusoids(
    length: int, dim: int, *, split: bool = False, base: float = 10000.0, inclusive: bool = False
) -> Float[Tensor, "length dim"]:
    """PE(pos, 2i) = sin(pos / base^(2i/dim)), PE(pos, 2i+1) = cos(same); odd `dim` drops the last cosine.

    split: all sines first, then all cosines (Marian's arrangement of the same numbers). inclusive: the slowest pair
    turns by exactly 1 / base, and odd `dim` ends with a zero (fairseq, tensor2tensor).
    Source: Vaswani et al. 2017, 3.5.
    """
    position, pairs = torch.arange(length, dtype=torch.float64)[:, None], (dim if inclusive else dim + 1) // 2
    exponent = torch.arange(pairs, dtype=torch.float64) / (max(1, pairs - 1) if inclusive else dim / 2)
    angle = position / base**exponent
    sines, cosines = angle.sin(), angle.cos()[:, : dim // 2]
    if split:
        both = torch.cat([sines, cosines], 1).float()
        return F.pad(both, (0, dim - both.shape[1]))
    table = torch.zeros(length, dim)
    table[:, 0 : 2 * pairs : 2], table[:, 1 : 2 * (dim // 2) : 2] = sines.float(), cosines.float()
    return table


class Sinusoidal(nn.Module):
    """Fixed positions, computed for any length; nothing to learn and nothing in a checkpoint.

    split, inclusive: as in `sinusoids`; offset: the place of the first position in that table (fairseq: 2).
    """

    def __init__(self, dim: int, *, split: bool = False, inclusive: bool = False, offset: int = 0) -> None:
        super().__init__()
        self.dim, self.split, self.inclusive, self.offset = dim, split, inclusive, offset
        self.table: Tensor | None = None  # a plain attribute: derived, so neither parameter nor buffer

    def forward(
        self, start: int, length: int, like: Tensor, at: Tensor | None = None
    ) -> Float[Tensor, "*batch length dim"]:
        start = start + self.offset
        end = start + length  # no place of `at` lies beyond it
        if self.table is None or len(self.table) < end or self.table.device != like.device:
            table = sinusoids(max(512, 2 * end), self.dim, split=self.split, inclusive=self.inclusive)
            self.table = table.to(like.device)
        return (self.table[start:end] if at is None else self.table[at + self.offset]).to(like.dtype)


class Learned(nn.Module):
    """One learned vector per position; `offset` rows come first (BART and RoBERTa count positions from 2)."""

    def __init__(self, length: int, dim: int, *, offset: int = 0) -> None:
        super().__init__()
        self.length, self.offset = length, offset
        self.weight = nn.Parameter(torch.empty(length + offset, dim))
        nn.init.normal_(self.weight, std=0.02)

    def forward(
        self, start: int, length: int, like: Tensor, at: Tensor | None = None
    ) -> Float[Tensor, "*batch length dim"]:
        end = start + length
        if end > self.length and at is not None:  # some of it may be padding, which takes no position
            end = int(at.max()) + 1
        if end > self.length:
            raise ValueError(f"sequence of {end} positions, but this model has learned {self.length}")
        if at is not None:
            return F.embedding(at + self.offset, self.weight)
        return self.weight[self.offset + start : self.offset + end]


@dataclass(frozen=True)
class Stretch:
    """Slower rotation, for contexts longer than the model was first trained with (`original` positions).

    Wavelengths over original / low are `factor` times as long, those under original / high stay, between them both
    are mixed (Llama 3.1). `original` None: all are `factor` times as long (linear scaling, Chen et al. 2023).
    """

    factor: float
    original: int | None = None
    low: float = 1.0
    high: float = 4.0

    def __call__(self, turns: Float[Tensor, " half"], base: float, length: int) -> Float[Tensor, " half"]:
        slow = turns / self.factor
        if self.original is None:
            return slow
        share = (self.original * turns / (2 * math.pi) - self.low) / (self.high - self.low)
        return slow.lerp(turns, share.clamp(0, 1))


@dataclass(frozen=True)
class Yarn:
    """YaRN (Peng et al. 2023): pairs that turn more than `fast` times within the `original` positions stay, those that
    turn less than `slow` times are `factor` times slower, those between are mixed by their place among the pairs.
    """

    factor: float
    original: int
    slow: float = 1.0
    fast: float = 32.0
    loudness: float = 1.0
    """Factor on cosines and sines, and so on queries and keys."""
    whole: bool = True
    """The mixing begins and ends at a whole pair."""

    def __call__(self, turns: Float[Tensor, " half"], base: float, length: int) -> Float[Tensor, " half"]:
        half = len(turns)
        first, last = (
            half * math.log(self.original / (2 * math.pi * times)) / math.log(base) for times in (self.fast, self.slow)
        )
        if self.whole:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, 2 * half - 1)
        index = torch.arange(half, dtype=torch.float32, device=turns.device)
        share = (index - first) / (last - first if last != first else 0.001)
        return turns.lerp(turns / self.factor, share.clamp(0, 1))


@dataclass(frozen=True)
class Dynamic:
    """A base that grows with the text beyond its `original` positions (dynamic NTK scaling): `factor` says how fast."""

    factor: float
    original: int

    def __call__(self, turns: Float[Tensor, " half"], base: float, length: int) -> Float[Tensor, " half"]:
        half = len(turns)
        growth = self.factor * max(length, self.original) / self.original - (self.factor - 1)
        exponent = torch.arange(half, dtype=torch.float32, device=turns.device) / half
        return turns / (growth ** (half / (half - 1))) ** exponent


AnyStretch = Stretch | Yarn | Dynamic


class Rotary(nn.Module):
    """Turns each pair of features by position * frequency (RoFormer, Su et al. 2021), half-split: pairs (i, i + dim/2).

    Norms are kept and q . k depends on the difference of positions only.
    """

    def __init__(self, head_dim: int, *, base: float = 10000.0, stretch: AnyStretch | None = None) -> None:
        super().__init__()
        if isinstance(stretch, Dynamic) and head_dim < 4:
            raise ValueError(f"head_dim is {head_dim}, expected at least 4 with a base that grows")
        self.head_dim, self.base, self.stretch = head_dim, base, stretch

    def frequencies(self, device: torch.device, length: int = 0) -> Float[Tensor, " half"]:
        """Radians per position of each pair, in a text of so many positions."""
        exponent = torch.arange(0, self.head_dim, 2, dtype=torch.float32, device=device) / self.head_dim
        turns = 1.0 / self.base**exponent  # rounded as in published models: an ulp is seen at position 1000
        return turns if self.stretch is None else self.stretch(turns, self.base, length)

    def at(self, start: int, length: int, like: Tensor) -> Turn:
        """The rotation for positions start .. start + length - 1, computed once and used by every layer."""
        position = torch.arange(start, start + length, dtype=torch.float32, device=like.device)
        angle = torch.outer(position, self.frequencies(like.device, start + length))
        cos, sin = angle.cos(), angle.sin()
        if isinstance(self.stretch, Yarn):
            cos, sin = cos * self.stretch.loudness, sin * self.stretch.loudness
        return Turn(torch.cat([cos, cos], 1).to(like.dtype), torch.cat([-sin, sin], 1).to(like.dtype))


class Turn:
    """A rotary rotation for a fixed range of positions; call it on (batch, heads, length, head_dim).

    `cos` and `sin` are (length, head_dim): a pair's two places have one cosine, and the sine as -sin and sin.
    """

    def __init__(self, cos: Tensor, sin: Tensor) -> None:
        self.cos, self.sin = cos, sin

    def __call__(self, x: Tensor) -> Tensor:
        return torch.addcmul(x * self.cos, x.roll(x.shape[-1] // 2, -1), self.sin)


class RelativeBias(nn.Module):
    """One learned number per head and bucket of distance, added to the scores (T5, Raffel et al. 2020, 2.1).

    Half of the buckets (of each direction, if both are seen) are exact distances, the rest grow logarithmically up to
    `distance`; everything farther shares the last one.
    """

    def __init__(self, heads: int, *, buckets: int = 32, distance: int = 128, causal: bool = False) -> None:
        super().__init__()
        self.buckets, self.distance, self.causal = buckets, distance, causal
        self.weight = nn.Parameter(torch.empty(buckets, heads))
        nn.init.normal_(self.weight, std=0.05)

    def bucket(self, relative: Tensor) -> Tensor:
        """Bucket numbers of key position minus query position."""
        buckets = self.buckets if self.causal else self.buckets // 2
        away = (-relative).clamp(min=0) if self.causal else relative.abs()
        exact = buckets // 2
        # fp32 on purpose: the published models were trained with these very roundings
        scaled = torch.log(away.clamp(min=1).float() / exact) / math.log(self.distance / exact) * (buckets - exact)
        far = (exact + scaled.long()).clamp(max=buckets - 1)
        number = torch.where(away < exact, away, far)
        return number if self.causal else number + buckets * (relative > 0)

    def forward(self, queries: int, keys: int) -> Float[Tensor, "1 heads queries keys"]:
        device = self.weight.device
        here = torch.arange(keys - queries, keys, device=device)[:, None]
        there = torch.arange(keys, device=device)[None, :]
        return F.embedding(self.bucket(there - here), self.weight).permute(2, 0, 1)[None]
