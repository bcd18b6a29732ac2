"""What a tokenizer puts around texts, and which of its tokens are ordinary ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from formers.errors import ConfigError

if TYPE_CHECKING:
    import tokenizers

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Frame:
    """The special tokens that a tokenizer puts around one text and around two, and the segment of each."""

    alone: tuple[Ids, Ids]
    """Before the text and after it."""
    pair: tuple[Ids, Ids, Ids]
    """Before the first, between the two, after the second."""
    segments: tuple[Ids | int, ...]
    """Of a pair: those of what stands before, of the first text, of what is between, of the second, of what follows."""

    def room(self, pair: bool, length: int) -> int:
        """Tokens of text in a row of `length`."""
        return length - sum(map(len, self.pair if pair else self.alone))


def frame_of(rules: tokenizers.Tokenizer) -> Frame:
    """Read off a tokenizer what it puts around texts."""
    single, double = rules.encode("a"), rules.encode("a", "a")
    ids, kinds = np.array(double.ids, np.int64), np.array(double.type_ids, np.int64)
    first = [place for place, number in enumerate(double.sequence_ids) if number == 0]
    second = [place for place, number in enumerate(double.sequence_ids) if number == 1]
    inside = [place for place, number in enumerate(single.sequence_ids) if number == 0]
    one = np.array(single.ids, np.int64)
    cuts = ((0, first[0]), (first[-1] + 1, second[0]), (second[-1] + 1, len(ids)))
    before, between, after = [slice(a, b) for a, b in cuts]
    return Frame(
        (one[: inside[0]], one[inside[-1] + 1 :]),
        (ids[before], ids[between], ids[after]),
        (kinds[before], int(kinds[first[0]]), kinds[between], int(kinds[second[0]]), kinds[after]),
    )


def ordinary_tokens(rules: tokenizers.Tokenizer, specials: Sequence[int | None]) -> Ids:
    """Every id but those of special tokens. Raises ConfigError where none is left."""
    special = {number for number, token in rules.get_added_tokens_decoder().items() if token.special} | set(specials)
    ordinary = sorted(set(rules.get_vocab(with_added_tokens=True).values()) - special)
    if not ordinary:
        raise ConfigError("the tokenizer has special tokens only, so no word can be hidden")
    return np.array(ordinary, np.int64)
