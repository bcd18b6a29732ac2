"""Documents as counts of the commonest words, whatever their order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from formers.data.batching import Ragged

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case: letters, with apostrophes between them."""
    return WORD.findall(text.lower())


def commonest(texts: Sequence[str], count: int, *, skip: int = 0) -> tuple[str, ...]:
    """The `count` commonest words of all texts, but for the very first `skip` of them; those alike by the alphabet."""
    counts = Counter(word for text in texts for word in words_of(text))
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[skip : skip + count])


class WordCounts:
    """How often each of some words stands in each of many texts: four bytes a word, however many texts there are."""

    def __init__(self, texts: Sequence[str], words: Sequence[str]) -> None:
        numbers = {word: number for number, word in enumerate(words)}
        self.width = len(numbers)
        self.texts = Ragged([[numbers[word] for word in words_of(text) if word in numbers] for text in texts])

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many of the words each text has, counted as often as they stand there."""
        return self.texts.lengths

    def of(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """(rows, words): the counts of some texts."""
        places = [self.texts[int(row)].astype(np.int64) + place * self.width for place, row in enumerate(rows)]
        counts = np.bincount(np.concatenate(places), minlength=len(rows) * self.width)
        return counts.astype(np.float32).reshape(len(rows), self.width)
