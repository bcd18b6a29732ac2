"""Disentangled attention: what a token is and where it stands are matched apart (He et al. 2021, DeBERTa).

    score(i, j) = (q_i . k_j  +  q_i . P_k[d(i - j)]  +  k_j . P_q[d(i - j)]) / sqrt(terms * head_dim)

P is one learned table of relative places that all layers project; d puts distances into buckets. It is another
dataflow than `Block` (the table goes into every layer), so it has a block and a stack of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from formers.blocks.attention import attend, note
from formers.blocks.block import StackConfig, make_feed_forward
from formers.blocks.dropout import dropout
from formers.blocks.feed_forward import ACTIVATIONS
from formers.blocks.mask import Mask, Resolved
from formers.blocks.norm import make_norm
from formers.blocks.stack import run_block
from formers.kernels.weight import together


@dataclass(frozen=True, kw_only=True)
class Disentangled:
    """Which of the three terms there are, and how far apart places are told apart."""

    distance: int = 512
    """Distances beyond it share the last bucket."""
    buckets: int = 256
    """Buckets of each direction, half of them exact, the rest logarithmic; 0: every distance is its own."""
    content_to_position: bool = True
    position_to_content: bool = True
    shared: bool = True
    """Places are projected by the q and k of the tokens, not by two matrices of their own."""
    norm: bool = True
    """Normalise the table of places."""
    kernel: int = 0
    """Width of the convolution beside the first layer (DeBERTa-v2 xlarge); 0: none."""
    convolution_groups: int = 1
    convolution_activation: Literal["tanh", "gelu", "relu"] = "tanh"

    @property
    def span(self) -> int:
        """Places of each direction."""
        return self.buckets or self.distance


def places(length: int, c: Disentangled, device: torch.device | None = None) -> Int[Tensor, "length length"]:
    """The row of the table for query i and key j: i - j put into buckets, counted from the middle of the table."""
    here = torch.arange(length, device=device)
    away = here[:, None] - here[None, :]
    if c.buckets:
        exact = c.buckets // 2
        far = away.abs().clamp(min=exact)
        # fp32 on purpose: the published models were trained with these very roundings
        scaled = torch.log(far / exact) / torch.log(torch.tensor((c.distance - 1) / exact, device=device))
        away = torch.where(away.abs() <= exact, away, ((scaled * (exact - 1)).ceil().long() + exact) * away.sign())
    return (away + c.span).clamp(0, 2 * c.span - 1)


class DisentangledAttention(nn.Module):
    """Self-attention that also reads the table of relative places."""

    def __init__(self, dim: int, heads: int, config: Disentangled) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim ({dim}) must be a multiple of heads ({heads})")
        self.config, self.head_dim = config, dim // heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        own = not config.shared
        self.place_k = nn.Linear(dim, dim) if own and config.content_to_position else None
        self.place_q = nn.Linear(dim, dim) if own and config.position_to_content else None

    def forward(
        self,
        x: Float[Tensor, "batch length dim"],
        table: Float[Tensor, "rows dim"],
        rows: Int[Tensor, "length length"],
        mask: Resolved = None,
    ) -> Float[Tensor, "batch length dim"]:
        """rows: which row of the table query i and key j meet at."""
        c = self.config
        q, k, v = map(self.split, together(x, self.q, self.k, self.v))
        scale = (self.head_dim * (1 + c.content_to_position + c.position_to_content)) ** -0.5
        at = rows.expand(*q.shape[:2], *rows.shape)
        bias = torch.zeros((), dtype=q.dtype, device=q.device)
        if c.content_to_position:
            place_k = self.split((self.k if self.place_k is None else self.place_k)(table[None]))
            bias = bias + (q @ place_k.mT * scale).gather(-1, at)
        if c.position_to_content:
            place_q = self.split((self.q if self.place_q is None else self.place_q)(table[None]))
            bias = bias + (k @ place_q.mT * scale).gather(-1, at.mT).mT
        if isinstance(mask, Tensor):
            bias = bias + mask
        note(self, q, k, bias, scale)
        return self.o(attend(q, k, v, bias.expand(*q.shape[:3], k.shape[2]), scale=scale).transpose(1, 2).flatten(-2))

    def split(self, x: Tensor) -> Tensor:
        """(batch, length, dim) -> (batch, heads, length, head_dim)."""
        return x.view(*x.shape[:-1], -1, self.head_dim).transpose(1, 2)


class DisentangledBlock(nn.Module):
    """x = norm(x + f(x)), as in BERT, around another attention."""

    def __init__(self, config: StackConfig, disentangled: Disentangled) -> None:
        super().__init__()
        c = config
        self.dropout = c.dropout
        self.attention = DisentangledAttention(c.dim, c.heads, disentangled)
        self.norm_attention = make_norm(c.norm, c.dim, c.norm_eps)
        self.feed_forward = make_feed_forward(c)
        self.norm_feed_forward = make_norm(c.norm, c.dim, c.norm_eps)

    def forward(self, x: Tensor, table: Tensor, rows: Tensor, mask: Resolved = None) -> Tensor:
        x = self.norm_attention(x + dropout(self.attention(x, table, rows, mask), self.dropout, self.training))
        return self.norm_feed_forward(x + dropout(self.feed_forward(x), self.dropout, self.training))


class Convolution(nn.Module):
    """What DeBERTa-v2 xlarge adds to its first layer: a convolution over the embeddings, a norm, no padding."""

    def __init__(self, config: StackConfig, disentangled: Disentangled) -> None:
        super().__init__()
        c, d = config, disentangled
        self.convolution = nn.Conv1d(c.dim, c.dim, d.kernel, padding=(d.kernel - 1) // 2, groups=d.convolution_groups)
        self.activation = torch.tanh if d.convolution_activation == "tanh" else ACTIVATIONS[d.convolution_activation]
        self.norm = make_norm(c.norm, c.dim, c.norm_eps)
        self.dropout = c.dropout

    def forward(self, embedded: Tensor, x: Tensor, keep: Tensor | None) -> Tensor:
        mixed = self.convolution(embedded.mT).mT
        mixed = mixed if keep is None else mixed * keep[..., None]
        x = self.norm(x + self.activation(dropout(mixed, self.dropout, self.training)))
        return x if keep is None else x * keep[..., None]


class DisentangledStack(nn.Module):
    """Blocks, and the table of places that they share. Takes and gives what `Stack` does."""

    def __init__(self, config: StackConfig, disentangled: Disentangled) -> None:
        super().__init__()
        c, d = config, disentangled
        self.config, self.recompute = d, False
        self.places = nn.Parameter(torch.empty(2 * d.span, c.dim))
        nn.init.normal_(self.places, std=0.02)
        self.norm_places = make_norm(c.norm, c.dim, c.norm_eps) if d.norm else None
        self.blocks = nn.ModuleList(DisentangledBlock(c, d) for _ in range(c.layers))
        self.convolution = Convolution(c, d) if d.kernel else None
        self.dropout = c.dropout

    def forward(
        self,
        x: Float[Tensor, "batch length dim"],
        *,
        keep: Bool[Tensor, "batch length"] | None = None,
        seen: list[Tensor] | None = None,
    ) -> Float[Tensor, "batch length dim"]:
        embedded, length = x, x.shape[1]
        mask = Mask(keep=keep).resolve(length, length, x.device)
        rows = places(length, self.config, x.device)
        table = self.places if self.norm_places is None else self.norm_places(self.places)
        table = dropout(table, self.dropout, self.training)
        if self.convolution is not None and keep is not None:
            embedded = x * keep[..., None]
        if seen is not None:
            seen.append(x)
        for i, block in enumerate(self.blocks):
            x = run_block(block, x, table, rows, mask, recompute=self.recompute and self.training)
            if i == 0 and self.convolution is not None:
                x = self.convolution(embedded, x, keep)
            if seen is not None:
                seen.append(x)
        return x
