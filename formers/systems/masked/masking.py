"""Which tokens are hidden, and what stands in their place (Devlin et al. 2019, A.1), whole words if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from formers.errors import ConfigError

if TYPE_CHECKING:
    import tokenizers

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Masking:
    """Of `share` of the tokens, `masked` become the mask, `random` any ordinary token, and the others stay."""

    mask: int
    ordinary: Ids
    """The tokens that are no special ones: what may be hidden, and what may be drawn."""
    share: float = 0.15
    masked: float = 0.8
    random: float = 0.1
    whole_words: bool = False
    is_ordinary: NDArray[np.bool_] = field(init=False)
    """Of each id up to the last ordinary one."""

    def __post_init__(self) -> None:
        is_ordinary = np.zeros(int(self.ordinary.max()) + 1, bool)
        is_ordinary[self.ordinary] = True
        object.__setattr__(self, "is_ordinary", is_ordinary)

    def hide(self, ids: Ids, begins: NDArray[np.bool_], dice: np.random.Generator) -> tuple[Ids, NDArray[np.bool_]]:
        """A row as it is read, and which of its tokens are to be said; `begins`: True where a word begins.

        The number is `share` of the ordinary tokens, rounded up or down at random so that it is right on average, and
        at least one. Of whole words as many as make up that number; one that is too long for what is left is passed.
        """
        last = len(self.is_ordinary) - 1
        places = np.flatnonzero((ids <= last) & self.is_ordinary[np.minimum(ids, last)])
        hidden = np.zeros(len(ids), bool)
        if not len(places):
            return ids.copy(), hidden
        number = max(1, int(len(places) * self.share + dice.random()))
        if self.whole_words:
            hidden[pick_words(places, begins, number, dice)] = True
        else:
            hidden[dice.permutation(places)[:number]] = True
        shown, at = ids.copy(), np.flatnonzero(hidden)
        drawn = dice.random(len(at))
        shown[at[drawn < self.masked]] = self.mask
        other = at[(drawn >= self.masked) & (drawn < self.masked + self.random)]
        shown[other] = self.ordinary[dice.integers(len(self.ordinary), size=len(other))]
        return shown, hidden


def pick_words(places: Ids, begins: NDArray[np.bool_], number: int, dice: np.random.Generator) -> Ids:
    """The tokens of words drawn at random, `number` of them at most, but one word at least."""
    apart = begins[places] | np.concatenate([[True], np.diff(places) > 1])
    words = np.split(places, np.flatnonzero(apart)[1:])
    taken: list[Ids] = []
    left = number
    for word in dice.permutation(len(words)).tolist():
        if len(words[word]) <= left:
            taken.append(words[word])
            left -= len(words[word])
        if not left:
            break
    return np.concatenate(taken) if taken else words[int(dice.integers(len(words)))]


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
