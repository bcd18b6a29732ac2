"""Several tokens in one pass where a text repeats itself: what followed the last time is read along, as a guess.

    ... the cat sat. Then the cat -> read "cat" and the guess "sat ." at once: three logits for the price of one

The texts are the same, whatever decides on a token: logits that were read ahead are used only while the tokens decided
on are those that were guessed. On a CPU a few rows of a product cost what one costs, so a wrong guess is cheap.
Source: prompt lookup decoding (Saxena 2023), a form of speculative decoding (Leviathan et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from formers.blocks.cache import Cache
from formers.decoding.decodable import Decodable

GRAMS = (3, 2)  # how many last tokens must have been there before; the longest first


class Lookahead:
    """One text in the making. Between two calls the cache holds what was decided on, and nothing else."""

    def __init__(self, model: Decodable, cache: Cache, most: int, before: Sequence[int] = ()) -> None:
        """most: tokens of a guess; before: what the cache has read already."""
        self.model, self.cache, self.most = model, cache, most
        self.size = min(2, most)  # grows while guesses are right, as a longer guess costs more
        self.said: list[int] = []
        self.places: dict[tuple[int, ...], int] = {}  # some tokens in a row -> where the text went on after them
        self.guess: list[int] = []
        self.right = 0  # of the guess
        self.logits = torch.empty(0)
        self.note(before)

    def extend(self, tokens: Tensor) -> Tensor:
        """As the model's, for (1, new) tokens: the logits (1, vocab) of what follows."""
        new = tokens[0].tolist()
        self.note(new)
        if self.right < len(self.guess):
            if new == self.guess[self.right : self.right + 1]:
                self.right += 1
                self.cache.recall(self.cache.length + 1)
                return self.logits[:, self.right]
            self.size = max(1, self.right)
        elif self.guess:
            self.size = min(self.most, 2 * self.size + 1)
        self.guess, self.right = self.draft(self.cache.capacity - self.cache.length - len(new)), 0
        if len(new) > 1 or not self.guess:  # a prompt is read without: the logits of all its places would be many
            self.guess = []
            return self.model.extend(tokens, self.cache)
        end = self.cache.length + 1
        self.logits = self.model.extend_all(torch.tensor([new + self.guess], device=tokens.device), self.cache)
        self.cache.truncate(end)
        return self.logits[:, 0]

    def note(self, tokens: Sequence[int]) -> None:
        """These come next in the text."""
        for token in tokens:
            for size in GRAMS:  # what ends before this token goes on with it
                if len(self.said) >= size:
                    self.places[tuple(self.said[-size:])] = len(self.said)
            self.said.append(token)

    def draft(self, room: int) -> list[int]:
        """What followed the last tokens when they were there before, as far as the cache has room."""
        for size in GRAMS:
            at = self.places.get(tuple(self.said[-size:])) if len(self.said) >= size else None
            if at is not None:
                return self.said[at : at + max(0, min(self.size, room))]
        return []
