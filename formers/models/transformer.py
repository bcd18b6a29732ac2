"""The encoder-decoder Transformer: the 2017 form, Marian, BART, M2M-100 and T5 are sizes and parts of this one class.

    source -> embed -> Stack -> memory;   target -> embed -> causal Stack reading memory -> logits of the next token

Papers: Vaswani et al. 2017 "Attention Is All You Need"; Lewis et al. 2019 (BART); Raffel et al. 2020 (T5).
What is particular:
  * Marian keeps the sines and cosines of the positions in two halves; the 2017 paper interleaves them.
  * BART normalises embeddings and counts learned positions from 2; mBART and M2M-100 normalise first.
  * T5 has no positions in the input but a bias on the scores, and scales the decoder's output when the head is tied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from formers.blocks.cache import Cache
from formers.blocks.dropout import dropout
from formers.blocks.embedding import embed
from formers.blocks.norm import make_norm
from formers.blocks.output import LinearHead
from formers.blocks.position import Learned, RelativeBias, Rotary, Sinusoidal, places_of
from formers.blocks.stack import Stack, StackConfig

# fairseq_sinusoidal: the slowest pair turns by exactly 1 / 10000, padding takes no position on either side (M2M-100)
Positions = Literal["sinusoidal", "split_sinusoidal", "fairseq_sinusoidal", "learned", "relative", "rotary"]
ROWS = 16  # sentences that are encoded at a time, where their lengths differ


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    encoder: StackConfig
    decoder: StackConfig
    vocab: int
    """Tokens of the source side, and of the target side unless `target_vocab` is given."""
    target_vocab: int | None = None
    """Tokens of a separate target vocabulary; None: one embedding serves both sides."""
    length: int = 512
    """Longest sequence; binding for learned positions, a promise for the others."""
    positions: Positions = "sinusoidal"
    position_offset: int = 0
    """Unused rows before position 0 in the table of learned or fairseq's positions (BART, M2M-100: 2)."""
    scale_embedding: bool = False
    """Multiply token embeddings by sqrt(dim)."""
    embedding_norm: bool = False
    """Normalise the embeddings of each side (BART)."""
    final_norm: bool = False
    """Normalise after the last block of each stack; pre-norm stacks want it."""
    tied: bool = True
    """The output head is the target embedding."""
    head_scale: float | None = None
    """Factor on the decoder's output before a tied head (T5: dim ** -0.5)."""
    logit_bias: bool = False
    """A bias per token on the logits (Marian, BART)."""
    relative_buckets: int = 32
    relative_distance: int = 128

    @property
    def segments(self) -> int:
        """Kinds of segments that are told apart: none."""
        return 0


class Transformer(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        c = self.config = config
        target_vocab = c.target_vocab or c.vocab
        self.embedding = nn.Embedding(c.vocab, c.encoder.dim)
        self.target_embedding = nn.Embedding(target_vocab, c.decoder.dim) if c.target_vocab else None
        self.source_positions = self.make_positions(c.encoder)
        self.target_positions = self.make_positions(c.decoder)
        norm = c.embedding_norm
        self.source_norm = make_norm(c.encoder.norm, c.encoder.dim, c.encoder.norm_eps) if norm else nn.Identity()
        self.target_norm = make_norm(c.decoder.norm, c.decoder.dim, c.decoder.norm_eps) if norm else nn.Identity()
        self.encoder = self.make_stack(c.encoder, causal=False)
        self.decoder = self.make_stack(c.decoder, causal=True, memory_dim=c.encoder.dim)
        self.head = None if c.tied else nn.Linear(c.decoder.dim, target_vocab, bias=False)
        self.logit_bias: Tensor | None
        self.register_buffer("logit_bias", torch.zeros(target_vocab) if c.logit_bias else None)
        self.initialise()

    def make_positions(self, stack: StackConfig) -> Sinusoidal | Learned | None:
        c = self.config
        if c.positions == "learned":
            return Learned(c.length, stack.dim, offset=c.position_offset)
        if c.positions in ("sinusoidal", "split_sinusoidal"):
            return Sinusoidal(stack.dim, split=c.positions == "split_sinusoidal")
        if c.positions == "fairseq_sinusoidal":
            return Sinusoidal(stack.dim, split=True, inclusive=True, offset=c.position_offset)
        return None

    def make_stack(self, stack: StackConfig, *, causal: bool, memory_dim: int | None = None) -> Stack:
        c, relative = self.config, None
        if c.positions == "relative":
            buckets, distance = c.relative_buckets, c.relative_distance
            relative = RelativeBias(stack.heads, buckets=buckets, distance=distance, causal=causal)
        rotary = Rotary(stack.head_dim or stack.dim // stack.heads) if c.positions == "rotary" else None
        return Stack(
            stack, causal=causal, memory_dim=memory_dim, rotary=rotary, relative=relative, final_norm=c.final_norm
        )

    def initialise(self) -> None:
        """Glorot-uniform matrices, zero biases, embeddings of unit length; T5's unscaled queries start small."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
                if name.endswith("attention.q") and self.config.encoder.scale is not None:
                    module.weight.data.mul_((self.config.encoder.head_dim or 64) ** -0.5)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)

    def forward(
        self,
        source: Int[Tensor, "batch source"],
        target: Int[Tensor, "batch target"],
        *,
        source_keep: Bool[Tensor, "batch source"] | None = None,
        target_keep: Bool[Tensor, "batch target"] | None = None,
    ) -> Float[Tensor, "batch target vocab"]:
        """Logits of the token after each target position (teacher forcing); keep: True is a real token."""
        return self.logits(self.features(source, target, source_keep=source_keep, target_keep=target_keep))

    def features(
        self, source: Tensor, target: Tensor, *, source_keep: Tensor | None = None, target_keep: Tensor | None = None
    ) -> Float[Tensor, "batch target dim"]:
        """What the head reads: a loss that needs logits of some positions only takes these."""
        memory = self.encode(source, source_keep)
        return self.decode(target, memory, source_keep, keep=target_keep)

    def encode(self, source: Tensor, keep: Tensor | None = None) -> Float[Tensor, "batch source dim"]:
        """The memory: what the encoder hands over to every block of the decoder.

        Padding on the left takes positions, as in published models but fairseq's; on the right it changes nothing.
        """
        counted = None if self.config.positions != "fairseq_sinusoidal" else keep
        at = None if counted is None else places_of(counted, source.shape[1])
        scale = self.config.encoder.dim**0.5 if self.config.scale_embedding else 1.0
        x = self.source_norm(embed(source, self.embedding, self.source_positions, scale=scale, at=at))
        return self.encoder(dropout(x, self.config.encoder.dropout, self.training), keep=keep)

    def decode(
        self,
        target: Tensor,
        memory: Tensor,
        memory_keep: Tensor | None = None,
        *,
        keep: Tensor | None = None,
        cache: Cache | None = None,
        last: bool = False,
    ) -> Float[Tensor, "batch asked dim"]:
        """What the head reads; keep: True is a real token, padding may be on either side; `last`: as in `CausalLM`."""
        start, new = 0 if cache is None else cache.length, target.shape[1]
        if cache is not None:
            keep = cache.extend_keep(keep, len(target), new, target.device)
        at = None if keep is None else places_of(keep, new)
        table = self.target_embedding or self.embedding
        scale = self.config.decoder.dim**0.5 if self.config.scale_embedding else 1.0
        x = self.target_norm(embed(target, table, self.target_positions, scale=scale, start=start, at=at))
        x = dropout(x, self.config.decoder.dropout, self.training)
        return self.decoder(x, keep=keep, memory=memory, memory_keep=memory_keep, cache=cache, last=last)

    def logits(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        return self.output.logits(x)

    @property
    def output(self) -> LinearHead:
        matrix = self.head or self.target_embedding or self.embedding
        return LinearHead(matrix.weight, self.logit_bias, self.config.head_scale)

    def begin(self, source: Tensor, source_keep: Tensor | None = None, *, capacity: int) -> Cache:
        """Encode, and make the cache that `extend` fills with up to `capacity` target positions."""
        if source_keep is None or source.device.type != "cpu":
            memory = self.encode(source, source_keep)
        else:
            memory = self.encode_sorted(source, source_keep)
        return Cache(self.config.decoder.layers, capacity, memory=memory, memory_keep=source_keep)

    def encode_sorted(self, source: Tensor, keep: Tensor) -> Float[Tensor, "batch source dim"]:
        """As `encode`, a few rows of like length at a time: most of the padding is never computed, and is zero."""
        lengths = keep.shape[1] - keep.flip(1).int().argmax(1)  # up to the last real token
        order = lengths.argsort(descending=True)
        longest = [int(lengths[rows[0]]) for rows in order.split(ROWS)]
        memory = [
            F.pad(self.encode(source[rows, :most], keep[rows, :most]), (0, 0, 0, keep.shape[1] - most))
            for rows, most in zip(order.split(ROWS), longest, strict=True)
        ]
        return torch.cat(memory)[order.argsort()]

    def extend(
        self, tokens: Int[Tensor, "rows new"], cache: Cache, *, keep: Bool[Tensor, "rows new"] | None = None
    ) -> Float[Tensor, "rows vocab"]:
        """Read the next target tokens and give the logits of the token after the last one."""
        assert cache.memory is not None
        x = self.decode(tokens, cache.memory, cache.memory_keep, keep=keep, cache=cache, last=True)
        return self.logits(x[:, -1])

    def extend_all(self, tokens: Int[Tensor, "rows new"], cache: Cache) -> Float[Tensor, "rows new vocab"]:
        """As `extend`, with the logits after each of the tokens."""
        assert cache.memory is not None
        return self.logits(self.decode(tokens, cache.memory, cache.memory_keep, cache=cache))


@dataclass(frozen=True)
class Form:
    """What a published family fixes besides its sizes."""

    positions: Positions
    stack: dict[str, Any]
    rest: dict[str, Any]


_T5 = {"norm": "rms", "norm_eps": 1e-6, "bias": "", "feed_forward_bias": False, "scale": 1.0}
FORMS = {
    "original": Form("sinusoidal", {"norm_first": False, "activation": "relu"}, {"scale_embedding": True}),
    "marian": Form(
        "split_sinusoidal", {"norm_first": False, "activation": "relu"}, {"scale_embedding": True, "logit_bias": True}
    ),
    "bart": Form(
        "learned",
        {"norm_first": False, "activation": "gelu"},
        {"position_offset": 2, "embedding_norm": True, "logit_bias": True},
    ),
    "t5": Form("relative", {**_T5, "activation": "relu"}, {"final_norm": True}),
    "t5_v1_1": Form("relative", {**_T5, "activation": "gelu_tanh", "gated": True}, {"final_norm": True, "tied": False}),
    "modern": Form(
        "rotary",
        {"norm": "rms", "bias": "", "feed_forward_bias": False, "activation": "silu", "gated": True},
        {"final_norm": True},
    ),
}
