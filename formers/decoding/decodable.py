"""What decoding needs of models and of tokenizers: protocols, so that it knows none of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from formers.blocks.cache import Cache


class Decodable(Protocol):
    """A model that can go on.

    `extend` remembers `tokens` (rows, new) in the cache and gives the logits (rows, vocab) of what follows, which
    are the caller's to write in.
    Rows of one sentence are neighbours, equally many for each: the cache's memory has one row per sentence.
    """

    def extend(self, tokens: Tensor, cache: Cache, *, keep: Tensor | None = None) -> Tensor: ...
    def extend_all(self, tokens: Tensor, cache: Cache) -> Tensor:
        """The logits (rows, new, vocab) after each of the tokens; asked for with `ahead` only."""


class Sizes(Protocol):
    """Most tokens of a sequence, and of the vocabulary."""

    @property
    def length(self) -> int: ...
    @property
    def vocab(self) -> int: ...


class Decoder(Decodable, Protocol):
    """A model that a `Writer` writes with: a language model, or an encoder-decoder."""

    @property
    def config(self) -> Sizes: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def begin(self, *source: Any, **capacity: Any) -> Cache:
        """A cache for up to `capacity` positions; an encoder-decoder reads (source, keep) for it."""


class CausalDecoder(Decoder, Protocol):
    """A language model whose vectors are wanted before its head."""

    def features(self, tokens: Tensor, *, cache: Cache | None = None, last: bool = False) -> Tensor: ...
    def logits(self, x: Tensor) -> Tensor: ...


class Decodes(Protocol):
    """Tokens -> text."""

    def decode(self, ids: Sequence[int]) -> str: ...
