"""The decoder language model: GPT-1 and 2, GPT-Neo, Llama, Mistral, Qwen 2 and 3, Gemma 3 are sizes and parts of it.

    tokens -> embed (+ learned positions) -> causal Stack (+ rotary positions) -> logits of the next token

Papers: Radford et al. 2018 and 2019 (GPT, GPT-2); Touvron et al. 2023 (Llama); Gemma Team 2025 (Gemma 3).
What is particular:
  * GPT-1 normalises after the addition, and not at the end.
  * GPT-Neo does not scale its scores, and every second layer sees 256 positions only.
  * Gemma 3 has norms on both sides of a sublayer, and another rotary base in its local layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from formers.blocks.block import Block, second_norm
from formers.blocks.cache import Cache
from formers.blocks.dropout import dropout
from formers.blocks.embedding import embed
from formers.blocks.output import LinearHead
from formers.blocks.position import AnyStretch, Learned, Rotary, places_of
from formers.blocks.stack import Stack, StackConfig
from formers.errors import ConfigError, nearest

BLOCKS: dict[str, Callable[..., Block]] = {"plain": Block, "sandwich": partial(Block, after=second_norm)}


@dataclass(frozen=True, kw_only=True)
class CausalConfig:
    stack: StackConfig
    vocab: int
    """Tokens."""
    length: int = 1024
    """Longest sequence; binding for learned positions, a promise for rotary ones."""
    positions: Literal["learned", "rotary"] = "rotary"
    block: Literal["plain", "sandwich"] = "plain"
    windows: tuple[int, ...] = ()
    """How far back each layer looks (0: to the beginning); empty: all of them to the beginning."""
    rotary_base: float = 10000.0
    rotary_stretch: AnyStretch | None = None
    local_rotary_base: float | None = None
    """Rotary base of the layers with a window, never stretched; None: as the others."""
    scale_embedding: bool = False
    """Multiply token embeddings by sqrt(dim) (Gemma)."""
    final_norm: bool = True
    tied: bool = True
    """The output head is the token embedding."""

    @property
    def segments(self) -> int:
        """Kinds of segments that are told apart: none."""
        return 0


class CausalLM(nn.Module):
    def __init__(self, config: CausalConfig) -> None:
        super().__init__()
        c = self.config = config
        self.embedding = nn.Embedding(c.vocab, c.stack.dim)
        self.positions = Learned(c.length, c.stack.dim) if c.positions == "learned" else None
        rotary, local = None, None
        if c.positions == "rotary":
            size = c.stack.head_dim or c.stack.dim // c.stack.heads
            rotary = Rotary(size, base=c.rotary_base, stretch=c.rotary_stretch)
            local = None if c.local_rotary_base is None else Rotary(size, base=c.local_rotary_base)
        self.stack = Stack(
            c.stack,
            causal=True,
            rotary=rotary,
            local_rotary=local,
            windows=c.windows,
            final_norm=c.final_norm,
            block=BLOCKS[c.block],
        )
        self.head = None if c.tied else nn.Linear(c.stack.dim, c.vocab, bias=False)
        self.initialise()

    def initialise(self) -> None:
        """Normal with deviation 0.02, zero biases; what is added to the stream is smaller by sqrt(2 layers) (GPT-2)."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                added = name.endswith(("attention.o", "feed_forward.down"))
                nn.init.normal_(module.weight, std=0.02 * ((2 * self.config.stack.layers) ** -0.5 if added else 1.0))
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(
        self,
        tokens: Int[Tensor, "batch length"] | None = None,
        *,
        embedded: Float[Tensor, "batch length dim"] | None = None,
        keep: Bool[Tensor, "batch length"] | None = None,
        documents: Int[Tensor, "batch length"] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "batch length vocab"]:
        """Logits of the token after each. keep: True is a real token, padding may be on either side.

        embedded: vectors in place of tokens, as `embed` gives them (those of a picture may lie among them).
        documents: the number of the text that each token belongs to, where several lie in one row.
        """
        return self.logits(self.features(tokens, embedded=embedded, keep=keep, documents=documents, cache=cache))

    def embed(self, tokens: Int[Tensor, "batch length"]) -> Float[Tensor, "batch length dim"]:
        """The vectors of tokens, before positions."""
        scale = self.config.stack.dim**0.5 if self.config.scale_embedding else 1.0
        return embed(tokens, self.embedding, scale=scale)

    def features(
        self,
        tokens: Tensor | None = None,
        *,
        embedded: Tensor | None = None,
        keep: Tensor | None = None,
        documents: Tensor | None = None,
        cache: Cache | None = None,
        seen: list[Tensor] | None = None,
        until: int | None = None,
        last: bool = False,
    ) -> Float[Tensor, "batch asked dim"]:
        """What the head reads; `until`: what goes into that block instead; `last`: only after the last token; `seen`:
        as in `Stack`. Raises ValueError unless there are either tokens or embedded.
        """
        if tokens is not None and embedded is None:
            x = self.embed(tokens)
        elif embedded is not None and tokens is None:
            x = embedded
        else:
            raise ValueError(f"got {'neither' if tokens is None else 'both'}, expected tokens or embedded")
        past, new = 0 if cache is None else cache.length, x.shape[1]
        if cache is not None:
            keep = cache.extend_keep(keep, len(x), new, x.device)
        if self.positions is not None:
            at = None
            if documents is not None:
                at = _within(documents)
            elif keep is not None:
                at = places_of(keep, new)
            x = x + self.positions(past, new, x, at)
        x = dropout(x, self.config.stack.dropout, self.training)
        return self.stack(x, keep=keep, documents=documents, cache=cache, seen=seen, until=until, last=last)

    def logits(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        return self.output.logits(x)

    @property
    def output(self) -> LinearHead:
        return LinearHead(self.embedding.weight if self.head is None else self.head.weight)

    def begin(self, *, capacity: int) -> Cache:
        """An empty cache for up to `capacity` positions, which `extend` fills."""
        return Cache(self.config.stack.layers, capacity)

    def extend(
        self, tokens: Int[Tensor, "rows new"], cache: Cache, *, keep: Bool[Tensor, "rows new"] | None = None
    ) -> Float[Tensor, "rows vocab"]:
        """Read the next tokens and give the logits of the token after the last one."""
        return self.logits(self.features(tokens, keep=keep, cache=cache, last=True)[:, -1])

    def extend_all(self, tokens: Int[Tensor, "rows new"], cache: Cache) -> Float[Tensor, "rows new vocab"]:
        """As `extend`, with the logits after each of the tokens."""
        return self.logits(self.features(tokens, cache=cache))


def _within(documents: Tensor) -> Tensor:
    """The position of each token in its document, whose tokens are neighbours."""
    index = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    fresh = documents != documents.roll(1, 1)
    fresh[:, 0] = True
    return index - index.where(fresh, 0).cummax(1).values


_GPT = StackConfig(dim=768, layers=12, heads=12, hidden=3072, activation="gelu_tanh")
_LLAMA = replace(_GPT, hidden=2048, norm="rms", activation="silu", gated=True, bias="", feed_forward_bias=False)
FORMS: dict[str, CausalConfig] = {
    "gpt": CausalConfig(
        stack=replace(_GPT, norm_first=False), vocab=40478, length=512, positions="learned", final_norm=False
    ),
    "gpt2": CausalConfig(stack=_GPT, vocab=50257, positions="learned"),
    "llama": CausalConfig(stack=_LLAMA, vocab=32000, length=2048),
    "qwen2": CausalConfig(stack=replace(_LLAMA, bias="qkv", norm_eps=1e-6), vocab=32000, length=2048),
    "qwen3": CausalConfig(stack=replace(_LLAMA, qk_norm=True, norm_eps=1e-6), vocab=32000, length=2048),
}
# Published sizes by name: form, (layers, dim, heads), vocabulary, length.
PRESETS: dict[str, tuple[str, tuple[int, int, int], int, int]] = {
    "gpt": ("gpt", (12, 768, 12), 40478, 512),
    "gpt2": ("gpt2", (12, 768, 12), 50257, 1024),
    "gpt2-medium": ("gpt2", (24, 1024, 16), 50257, 1024),
    "gpt2-large": ("gpt2", (36, 1280, 20), 50257, 1024),
    "gpt2-xl": ("gpt2", (48, 1600, 25), 50257, 1024),
    # Brown et al. 2020, table 2.1
    "gpt3-small": ("gpt2", (12, 768, 12), 50257, 2048),
    "gpt3-medium": ("gpt2", (24, 1024, 16), 50257, 2048),
    "gpt3-large": ("gpt2", (24, 1536, 16), 50257, 2048),
    "gpt3-xl": ("gpt2", (24, 2048, 16), 50257, 2048),
    "gpt3-2.7b": ("gpt2", (32, 2560, 32), 50257, 2048),
    "gpt3-6.7b": ("gpt2", (32, 4096, 32), 50257, 2048),
    "gpt3-13b": ("gpt2", (40, 5120, 40), 50257, 2048),
    "gpt3-175b": ("gpt2", (96, 12288, 96), 50257, 2048),
}


def preset(name: str) -> CausalConfig:
    """The config of a published size, such as "gpt2-xl" or "gpt3-175b"."""
    if name not in PRESETS:
        raise ConfigError(f'there is no size "{name}"{nearest(name, PRESETS)}')
    form, (layers, dim, heads), vocab, length = PRESETS[name]
    stack = replace(FORMS[form].stack, layers=layers, dim=dim, heads=heads, hidden=4 * dim)
    return replace(FORMS[form], stack=stack, vocab=vocab, length=length)
