"""The block of a Conformer: attention between two halves of a feed-forward, and a convolution over time behind it."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from formers.blocks.attention import attend, note
from formers.blocks.block import StackConfig, make_attention, make_feed_forward
from formers.blocks.dropout import dropout
from formers.blocks.feed_forward import ACTIVATIONS
from formers.blocks.mask import Resolved
from formers.blocks.position import Sinusoidal
from formers.kernels.weight import together


class RelativeSinusoids(nn.Module):
    """The sinusoids of the distances length - 1 ... -(length - 1), query minus key (Dai et al. 2019)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.table = Sinusoidal(dim)

    def forward(self, length: int, like: Tensor) -> Float[Tensor, "distances dim"]:
        before = self.table(0, length, like)
        after = before[1:].clone()
        after[:, ::2] *= -1  # the sine of a negative distance
        return torch.cat([before.flip(0), after])


class RelativeAttention(nn.Module):
    """Self-attention to what stands there and to how far it is: (q + u) k + (q + v) place (Dai et al. 2019, 3.3)."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__()
        c = config
        if c.dim % c.heads:
            raise ValueError(f"dim ({c.dim}) must be a multiple of heads ({c.heads})")
        self.head_dim = c.dim // c.heads
        self.q, self.k, self.v, self.o = (nn.Linear(c.dim, c.dim, bias=name in c.bias) for name in "qkvo")
        self.place = nn.Linear(c.dim, c.dim, bias=False)
        self.content_bias = nn.Parameter(torch.empty(c.heads, self.head_dim))
        self.place_bias = nn.Parameter(torch.empty(c.heads, self.head_dim))
        nn.init.trunc_normal_(self.content_bias, std=0.02)
        nn.init.trunc_normal_(self.place_bias, std=0.02)

    def forward(
        self, x: Float[Tensor, "batch length dim"], places: Float[Tensor, "distances dim"], mask: Resolved = None
    ) -> Float[Tensor, "batch length dim"]:
        """places: vectors of the distances length - 1 ... -(length - 1)."""
        scale, length = self.head_dim**-0.5, x.shape[1]
        q, k, v = map(self.split, together(x, self.q, self.k, self.v))
        bias = along_rows((q + self.place_bias[:, None]) @ self.split(self.place(places)[None]).mT, length) * scale
        bias = bias + mask if isinstance(mask, Tensor) else bias
        q = q + self.content_bias[:, None]
        note(self, q, k, bias, scale)
        return self.o(attend(q, k, v, bias, scale=scale).transpose(1, 2).flatten(-2))

    def split(self, x: Tensor) -> Tensor:
        """(batch, length, dim) -> (batch, heads, length, head_dim)."""
        return x.view(*x.shape[:-1], -1, self.head_dim).transpose(1, 2)


def along_rows(scores: Float[Tensor, "*batch length distances"], length: int) -> Float[Tensor, "*batch length length"]:
    """From scores of distances length - 1 ... -(length - 1) those of keys: query i meets key j at distance i - j.

    In memory, the row of query i begins one number earlier for each row before it; so it is a view.
    """
    if length == 1:
        return scores
    flat = scores.flatten(-2)[..., length - 1 : (2 * length - 1) * length]
    return flat[..., : length * (2 * length - 2)].unflatten(-1, (length, 2 * length - 2))[..., :length]


class ConvolutionModule(nn.Module):
    """dim -> gated linear unit -> convolution of each channel over time -> batch norm -> activation -> dim.

    chunk: frames that are read together; a convolution then sees nothing of later chunks.
    """

    def __init__(self, dim: int, kernel: int, *, activation: str = "silu", bias: bool = True, chunk: int = 0) -> None:
        """kernel: frames, an odd number."""
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel ({kernel}) must be odd, so that a frame is in the middle of what it sees")
        self.chunk, self.activation = chunk, ACTIVATIONS[activation]
        self.gate = nn.Linear(dim, 2 * dim, bias=bias)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=bias)
        self.norm = nn.BatchNorm1d(dim)
        self.out = nn.Linear(dim, dim, bias=bias)

    def forward(
        self, x: Float[Tensor, "batch frames dim"], keep: Bool[Tensor, "batch frames"] | None = None
    ) -> Float[Tensor, "batch frames dim"]:
        """keep: what is no padding, which is then not seen by its neighbours."""
        x = F.glu(self.gate(x), -1)
        x = x if keep is None else x * keep[..., None]
        x = self.activation(self.norm(self.convolved(x.mT)))
        return self.out(x.mT)

    def convolved(self, x: Float[Tensor, "batch dim frames"]) -> Float[Tensor, "batch dim frames"]:
        frames, side = x.shape[-1], self.depthwise.kernel_size[0] // 2
        if not self.chunk or frames <= self.chunk:
            return self.depthwise(x)
        # every chunk with what is before it, and silence behind
        pieces = F.pad(x, (side, -frames % self.chunk)).unfold(-1, self.chunk + side, self.chunk)
        several = pieces.transpose(1, 2).flatten(0, 1)
        done = self.depthwise(several)[..., side:].unflatten(0, (len(x), -1))
        return done.transpose(1, 2).flatten(2)[..., :frames]


class ConformerBlock(nn.Module):
    """x + half a feed-forward, + attention, + convolution, + half a feed-forward, then a norm (Gulati et al. 2020).

    Norms are before each branch, with an epsilon of 1e-5 whatever the config says of the last one.
    """

    def __init__(
        self,
        config: StackConfig,
        *,
        kernel: int,
        convolution_bias: bool = True,
        relative: bool = True,
        chunk: int = 0,
        memory_dim: int | None = None,
    ) -> None:
        """kernel, convolution_bias, chunk: as in `ConvolutionModule`. relative: attention reads distances."""
        super().__init__()
        assert memory_dim is None
        c = config
        self.dropout = c.dropout
        self.feed_forward_first, self.feed_forward_last = make_feed_forward(c), make_feed_forward(c)
        self.attention = RelativeAttention(c) if relative else make_attention(c)
        self.convolution = ConvolutionModule(c.dim, kernel, activation=c.activation, bias=convolution_bias, chunk=chunk)
        self.norm_first, self.norm_attention, self.norm_convolution, self.norm_last, self.norm = (
            nn.LayerNorm(c.dim) for _ in range(5)
        )

    def forward(
        self,
        x: Float[Tensor, "batch frames dim"],
        *,
        mask: Resolved = None,
        keep: Bool[Tensor, "batch frames"] | None = None,
        chunks: Float[Tensor, "frames frames"] | None = None,
        places: Float[Tensor, "distances dim"] | None = None,
        rotary: Callable[[Tensor], Tensor] | None = None,
        **unused: object,
    ) -> Float[Tensor, "batch frames dim"]:
        """keep: as in `ConvolutionModule`. chunks: see `seen_in_chunks`. places: as in `RelativeAttention`.

        rotary: turns what queries and keys are made of, head by head, not these themselves (Wav2Vec2-Conformer).
        """
        if chunks is not None:
            mask = mask + chunks if isinstance(mask, Tensor) else chunks
        x = x + self.branch(self.feed_forward_first(self.norm_first(x)) * 0.5)
        h = self.norm_attention(x)
        if isinstance(self.attention, RelativeAttention):
            assert places is not None
            h = self.attention(h, places, mask)
        elif rotary is None:
            h = self.attention(h, mask=mask)
        else:
            turned = rotary(self.attention.split(h)).transpose(1, 2).flatten(-2)
            h = self.attention(turned, turned, h, mask=mask)
        x = x + self.branch(h)
        x = x + self.branch(self.convolution(self.norm_convolution(x), keep))
        return self.norm(x + self.branch(self.feed_forward_last(self.norm_last(x)) * 0.5))

    def branch(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout, self.training)


def seen_in_chunks(length: int, chunk: int, left: int, like: Tensor) -> Float[Tensor, "length length"]:
    """What is added to scores where sound is read in chunks: a frame looks at its own and at the `left` ones before.

    Not infinite, so that a frame of padding that may look at padding alone has a sum of one, too.
    """
    chunks = torch.arange(length, device=like.device) // chunk
    back = chunks[:, None] - chunks
    hidden = (back < 0) | (back > left)
    return torch.zeros(length, length, dtype=like.dtype, device=like.device).masked_fill_(
        hidden, torch.finfo(like.dtype).min / 2
    )
