"""Attention: average the values by how well their keys match each query (Vaswani et al. 2017, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from formers.blocks.mask import Resolved
from formers.blocks.norm import make_norm
from formers.kernels.attention import attend_step, attend_tiles
from formers.kernels.weight import together

if TYPE_CHECKING:
    from formers.blocks.cache import LayerCache


def attend(
    q: Float[Tensor, "batch heads queries head_dim"],
    k: Float[Tensor, "batch kv_heads keys head_dim"],
    v: Float[Tensor, "batch kv_heads keys value_dim"],
    mask: Resolved = None,
    *,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "batch heads queries value_dim"]:
    """softmax(q k^T * scale + mask) v for all queries at once; scale is 1 / sqrt(head_dim) unless given.

    Fewer key heads than query heads are shared by groups of neighbouring query heads (grouped-query attention).
    """
    scale = resolve_scale(scale, q.shape[-1])
    if q.dtype == torch.bfloat16 and q.device.type == "cpu" and q.shape[2] > 1:
        # PyTorch's CPU kernel is about three times slower in bf16 than in fp32, forward and backward (measured, 2.13)
        with torch.autocast("cpu", enabled=False):
            return attend(q.float(), k.float(), v.float(), mask, scale=scale, dropout=dropout).to(q.dtype)
    if q.shape[2] == 1 and q.shape[1] != k.shape[1] and mask is None:  # one query: its group are queries of one head
        return attend(q.view(*k.shape[:2], -1, q.shape[-1]), k, v, scale=scale, dropout=dropout).view(*q.shape[:3], -1)
    causal, added = isinstance(mask, str), mask.to(q.dtype) if isinstance(mask, Tensor) else None
    if not dropout and (mixed := attend_tiles(q, k, v, added, causal, scale)) is not None:
        return mixed
    return F.scaled_dot_product_attention(
        q, k, v, added, dropout, causal, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
    )


def attend_cache(q: Tensor, cache: LayerCache, mask: Resolved, scale: float) -> Tensor | None:
    """`attend` to all that is remembered, where a kernel is faster; None elsewhere."""
    if isinstance(mask, str) or (q.shape[2] > 1 and not cache.memory):
        return None
    assert cache.keys is not None and cache.values is not None
    return attend_step(q, cache.keys, cache.values, cache.length, mask, scale)


def resolve_scale(scale: float | None, head_dim: int) -> float:
    """The factor on the scores: 1 / sqrt(head_dim) unless given, to the last bit as PyTorch reckons it."""
    return 1 / math.sqrt(head_dim) if scale is None else scale


def attention_weights(q: Tensor, k: Tensor, mask: Resolved = None, *, scale: float | None = None) -> Tensor:
    """The softmax weights that `attend` averages with, (batch, heads, queries, keys): the formula step by step."""
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = q @ k.transpose(-1, -2) * resolve_scale(scale, q.shape[-1])
    if isinstance(mask, str):
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(future, -torch.inf)
    elif mask is not None:
        scores = scores + mask
    return scores.softmax(-1)


@dataclass
class Recording:
    """Attention weights in the order the modules ran: `maps[i]` is (module, (batch, heads, queries, keys))."""

    maps: list[tuple[nn.Module, Tensor]] = field(default_factory=list)
    take: Callable[[Tensor], Tensor] | None = None
    """What is kept of the weights (None: all)."""
    only: Collection[nn.Module] | None = None
    """Modules whose weights are noted (None: all)."""

    def of(self, module: nn.Module) -> Tensor:
        """The weights of the last call of `module`, (batch, heads, queries, keys)."""
        return next(weights for owner, weights in reversed(self.maps) if owner is module)


_recording: Recording | None = None


@contextmanager
def recording(
    take: Callable[[Tensor], Tensor] | None = None, only: Collection[nn.Module] | None = None
) -> Iterator[Recording]:
    """Within the context attentions also note their weights; outputs stay the same. take, only: as in `Recording`."""
    global _recording
    before, _recording = _recording, Recording(take=take, only=only)
    try:
        yield _recording
    finally:
        _recording = before


def watched() -> bool:
    """Whether somebody is `recording`."""
    return _recording is not None


def note(module: nn.Module, q: Tensor, k: Tensor, mask: Resolved, scale: float | None) -> None:
    """Keep the weights of this call, within `recording` only; what attends with a dataflow of its own calls it too."""
    if _recording is not None and (_recording.only is None or module in _recording.only):
        weights = attention_weights(q, k, mask, scale=scale).detach()
        _recording.maps.append((module, weights if _recording.take is None else _recording.take(weights)))


class Attention(nn.Module):
    """Multi-head attention. The caller decides what the keys are, who may look, and what is remembered.

    self: `a(x)`; cross: `a(x, memory)`; positions on queries and keys only: `a(x + p, x + p, x)`.
    `bias` names the projections that have one: "qkvo" BERT, "qvo" Whisper, "qkv" Qwen2, "" Llama.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        context_dim: int | None = None,
        out_dim: int | None = None,
        bias: str = "qkvo",
        qk_norm: str | None = None,
        norm_eps: float = 1e-6,
        scale: float | None = None,
        dropout: float = 0.0,
        rotary_value: bool = False,
    ) -> None:
        """rotary_value: what turns queries and keys turns values too (RoFormer)."""
        super().__init__()
        self.rotary_value = rotary_value
        kv_heads = heads if kv_heads is None else kv_heads
        if head_dim is None:
            if dim % heads:
                raise ValueError(f"dim ({dim}) must be a multiple of heads ({heads}), or give head_dim")
            head_dim = dim // heads
        if heads % kv_heads:
            raise ValueError(f"heads ({heads}) must be a multiple of kv_heads ({kv_heads})")
        context_dim = dim if context_dim is None else context_dim
        self.head_dim, self.scale, self.dropout = head_dim, resolve_scale(scale, head_dim), dropout
        self.q = nn.Linear(dim, heads * head_dim, bias="q" in bias)
        self.k = nn.Linear(context_dim, kv_heads * head_dim, bias="k" in bias)
        self.v = nn.Linear(context_dim, kv_heads * head_dim, bias="v" in bias)
        self.o = nn.Linear(heads * head_dim, out_dim or dim, bias="o" in bias)
        self.q_norm = make_norm(qk_norm, head_dim, norm_eps) if qk_norm else None
        self.k_norm = make_norm(qk_norm, head_dim, norm_eps) if qk_norm else None

    def forward(
        self,
        query: Float[Tensor, "batch queries dim"],
        key: Float[Tensor, "#batch keys context_dim"] | None = None,
        value: Float[Tensor, "#batch keys context_dim"] | None = None,
        *,
        mask: Resolved = None,
        rotary: Callable[[Tensor], Tensor] | None = None,
        cache: LayerCache | None = None,
        last: bool = False,
    ) -> Float[Tensor, "batch asked out_dim"]:
        """last: what the last query finds, and only that; the keys of all are remembered."""
        if cache is not None and cache.complete:  # an encoder's memory: projected once, then only read
            q = self.split(self.q(query))
            k, v = cache.read()
        else:
            if key is None and value is None:
                projected = together(query, self.q, self.k, self.v)
            else:
                key = query if key is None else key
                projected = self.q(query), self.k(key), self.v(key if value is None else value)
            q, k, v = map(self.split, projected)
            k = k if self.k_norm is None else self.k_norm(k)
            k = k if rotary is None else rotary(k)
            v = rotary(v) if rotary is not None and self.rotary_value else v
            k, v = (k, v) if cache is None else cache.append(k, v)
        q = q if self.q_norm is None else self.q_norm(q)
        q = q if rotary is None else rotary(q)
        if last:
            q, mask = q[:, :, -1:], mask[..., -1:, :] if isinstance(mask, Tensor) else None
        note(self, q, k, mask, self.scale)
        mixed = None if cache is None or self.training else attend_cache(q, cache, mask, self.scale)
        if mixed is None:
            mixed = attend(q, k, v, mask, scale=self.scale, dropout=self.dropout if self.training else 0.0)
        return self.o(mixed.transpose(1, 2).flatten(-2))

    def split(self, x: Tensor) -> Tensor:
        """(batch, length, heads * head_dim) -> (batch, heads, length, head_dim)."""
        return x.view(*x.shape[:-1], -1, self.head_dim).transpose(1, 2)
