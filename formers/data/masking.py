"""Which tokens are hidden, and what stands in their place (Devlin et al. 2019, A.1), whole words if wanted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

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
