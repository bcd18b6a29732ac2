"""A cache that knows what it has read, so that a text with the same beginning is only read on."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from formers.decoding.decodable import CausalDecoder


class PrefixCache:
    """`tokens` are what the one row of `cache` holds; use both only through the methods, or call `note` after."""

    def __init__(self, model: CausalDecoder) -> None:
        self.model, self.cache, self.tokens = model, model.begin(capacity=0), list[int]()

    def keep(self, tokens: Sequence[int]) -> int:
        """Forget everything after the longest beginning that is shared with `tokens`; gives its length."""
        same = shared(self.tokens, tokens)
        self.tokens = self.tokens[:same]
        self.cache.truncate(same)
        return same

    @torch.no_grad()
    def read(self, tokens: Sequence[int]) -> None:
        """Hold exactly `tokens`; only what is not held yet is computed."""
        fresh = list(tokens[self.keep(tokens) :])
        if fresh:
            self.cache.reserve(len(tokens))
            device = next(iter(self.model.parameters())).device
            self.model.features(torch.tensor([fresh], device=device), cache=self.cache, last=True)
            self.tokens = list(tokens)

    def note(self, tokens: Sequence[int]) -> None:
        """Somebody else has let the cache read on, perhaps not to the end: it holds a beginning of `tokens`."""
        held = min(layer.length for layer in self.cache.own)  # an interrupt may come between two layers
        self.cache.truncate(held)
        self.tokens = list(tokens[:held])


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens at the beginning are the same."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
