"""One layer of a transformer: residual attention, an optional look at a memory, a residual feed-forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from formers.blocks.attention import Attention
from formers.blocks.cache import LayerCache
from formers.blocks.dropout import dropout
from formers.blocks.feed_forward import FeedForward
from formers.blocks.mask import Resolved
from formers.blocks.norm import make_norm


@dataclass(frozen=True, kw_only=True)
class StackConfig:
    """Sixteen numbers and names; a seventeenth needs two families and a deletion."""

    dim: int
    """Width of the residual stream."""
    layers: int
    """Number of blocks."""
    heads: int
    """Attention heads."""
    hidden: int
    """Width inside the feed-forward."""
    kv_heads: int | None = None
    """Key and value heads, fewer than `heads` for grouped-query attention."""
    head_dim: int | None = None
    """Width of one head; dim / heads unless given."""
    norm: Literal["layer", "rms"] = "layer"
    """Normalisation."""
    norm_eps: float = 1e-5
    """Added to the variance in the norm."""
    norm_first: bool = True
    """Norm before each sublayer (GPT-2 on) instead of after the addition (2017, BERT)."""
    activation: Literal["relu", "gelu", "gelu_tanh", "gelu_quick", "silu"] = "gelu"
    """Non-linearity of the feed-forward."""
    gated: bool = False
    """Gated feed-forward (SwiGLU, GEGLU)."""
    bias: str = "qkvo"
    """The attention projections that have a bias."""
    feed_forward_bias: bool = True
    """Biases in the feed-forward."""
    qk_norm: bool = False
    """Normalise queries and keys per head."""
    scale: float | None = None
    """Factor on the attention scores; 1 / sqrt(head_dim) unless given."""
    dropout: float = 0.0
    """Share of each residual branch and of the embeddings set to zero while training."""


def make_attention(c: StackConfig, context_dim: int | None = None, *, rotary_value: bool = False) -> Attention:
    """The attention of a block, over itself or over a memory of that width."""
    return Attention(
        c.dim,
        c.heads,
        kv_heads=c.kv_heads,
        head_dim=c.head_dim,
        context_dim=context_dim,
        bias=c.bias,
        qk_norm=c.norm if c.qk_norm else None,
        norm_eps=c.norm_eps,
        scale=c.scale,
        rotary_value=rotary_value,
    )


def make_feed_forward(c: StackConfig) -> FeedForward:
    """The feed-forward of a block."""
    return FeedForward(c.dim, c.hidden, activation=c.activation, gated=c.gated, bias=c.feed_forward_bias)


def second_norm(c: StackConfig) -> nn.Module:
    """What stands behind a sublayer in Gemma 2 and 3: x = x + norm(f(norm(x)))."""
    return make_norm(c.norm, c.dim, c.norm_eps)


class Block(nn.Module):
    """Post-norm: x = norm(x + f(x)) (2017 paper, BERT).   Pre-norm: x = x + f(norm(x)) (GPT-2, Llama, T5)."""

    def __init__(
        self,
        config: StackConfig,
        *,
        memory_dim: int | None = None,
        after: Callable[[StackConfig], nn.Module] | None = None,
        rotary_value: bool = False,
    ) -> None:
        """after: makes what each branch passes before it is added: a second norm, a `Scale`, a `DropPath`.

        rotary_value: as in `Attention`.
        """
        super().__init__()
        c = config
        self.norm_first, self.dropout = c.norm_first, c.dropout
        self.attention = make_attention(c, rotary_value=rotary_value)
        self.norm_attention = make_norm(c.norm, c.dim, c.norm_eps)
        self.after_attention = None if after is None else after(c)
        self.cross_attention = None
        if memory_dim is not None:
            self.cross_attention = make_attention(c, memory_dim)
            self.norm_cross = make_norm(c.norm, c.dim, c.norm_eps)
            self.after_cross = None if after is None else after(c)
        self.feed_forward = make_feed_forward(c)
        self.norm_feed_forward = make_norm(c.norm, c.dim, c.norm_eps)
        self.after_feed_forward = None if after is None else after(c)

    def forward(
        self,
        x: Float[Tensor, "batch length dim"],
        *,
        mask: Resolved = None,
        rotary: Callable[[Tensor], Tensor] | None = None,
        memory: Float[Tensor, "rows keys memory_dim"] | None = None,
        memory_mask: Resolved = None,
        cache: tuple[LayerCache, LayerCache | None] | None = None,
        last: bool = False,
    ) -> Float[Tensor, "batch asked dim"]:
        """last: only the last vector is asked for, (batch, 1, dim)."""
        own, read = cache or (None, None)

        attend = partial(self.attention, mask=mask, rotary=rotary, cache=own, last=last)
        x = self.residual(x, self.norm_attention, attend, self.after_attention)
        if self.cross_attention is not None:
            assert memory is not None
            look = partial(self.look, memory=memory, mask=memory_mask, cache=read)
            x = self.residual(x, self.norm_cross, look, self.after_cross)
        return self.residual(x, self.norm_feed_forward, self.feed_forward, self.after_feed_forward)

    def look(self, h: Tensor, *, memory: Tensor, mask: Resolved, cache: LayerCache | None) -> Tensor:
        """Several hypotheses of one sentence are neighbouring rows: they read its one memory as more queries."""
        assert self.cross_attention is not None
        folded = h.reshape(len(memory), -1, h.shape[-1])
        return self.cross_attention(folded, memory, mask=mask, cache=cache).view(h.shape)

    def residual(
        self, x: Tensor, norm: nn.Module, sublayer: Callable[[Tensor], Tensor], after: nn.Module | None
    ) -> Tensor:
        branch = sublayer(norm(x) if self.norm_first else x)
        branch = dropout(branch if after is None else after(branch), self.dropout, self.training)
        x = x[:, -branch.shape[1] :] + branch  # it may be asked for the last vector only
        return x if self.norm_first else norm(x)
