"""Opinions: short judgements of things, good or bad, and pairs of them with a likeness, made by our own code.

    a thing, a strength from -2 to 2, a wording -> sentence and label;  two of them -> how alike they are, 1 to 5

"The soup was far from dull." A toy for seeing that classification works, nothing more. What is particular:
- Single words do not decide: "not good", "far from bad", "I expected it to be awful, but it was fine".
- Which thing stands with which word in which wording belongs to one split by a stable hash: what is asked in a test
  was never read in training in this combination, though each of its words was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from formers.data.builtin.split import check_split, split_of

THINGS = (
    "film book concert soup dinner hotel journey lecture song garden game speech cake play museum bridge "
    "lesson coffee view story"
).split()
# strength -> words for it; "not good" is weakly bad, "not awful" weakly good
WORDS = {
    2: "wonderful brilliant excellent superb magnificent".split(),
    1: "good pleasant nice charming fine great".split(),
    -1: "dull weak boring poor tedious bad".split(),
    -2: "awful terrible dreadful horrible miserable".split(),
}
PLAIN = (
    "The {thing} was {word}.", "What a {word} {thing} it was.", "I found the {thing} {word}.",
    "Honestly, a {word} {thing}.", "Everyone said that the {thing} was {word}.",
)  # fmt: skip
NEGATED = (
    "The {thing} was not {word}.", "The {thing} was far from {word}.", "Nobody found the {thing} {word}.",
    "I would never call the {thing} {word}.", "The {thing} was anything but {word}.",
)  # fmt: skip
CONTRAST = (
    "I expected a {other} {thing}, but it was {word}.", "The {thing} was {word}, not {other} at all.",
    "Some called the {thing} {other}, yet it was {word}.", "It began {other}, but the {thing} became {word}.",
)  # fmt: skip


@dataclass(frozen=True)
class Opinion:
    text: str
    thing: str
    strength: int
    """-2 awful, -1 weak, 1 good, 2 wonderful."""


def opinions(split: str, count: int, seed: int = 0) -> list[tuple[str, str]]:
    """`count` rows (text, "negative" or "positive") of "train", "validation" or "test"; some occur several times."""
    random = begin(split, count, seed)
    drawn = [opinion(random, split) for _ in range(count)]
    return [(one.text, "positive" if one.strength > 0 else "negative") for one in drawn]


def pairs(split: str, count: int, seed: int = 0) -> list[tuple[str, str, float]]:
    """`count` rows (text, text, likeness): 5 for the same judgement of the same thing, less for each step between the
    judgements, half of what is above 1 for different things. Without negations: comparing is hard enough."""
    random = begin(split, count, seed)
    rows = []
    for _ in range(count):
        first = opinion(random, split, kinds=(PLAIN,))
        second = opinion(random, split, thing=first.thing if random.random() < 0.6 else None, kinds=(PLAIN,))
        rows.append((first.text, second.text, likeness(first, second)))
    return rows


def likeness(first: Opinion, second: Opinion) -> float:
    """From 1 (opposite) to 5 (the same)."""
    score = 4.0 - abs(first.strength - second.strength)
    return 1.0 + (score if first.thing == second.thing else score / 2)


def opinion(
    random: Random, split: str, thing: str | None = None, kinds: Sequence[tuple[str, ...]] = (PLAIN, NEGATED, CONTRAST)
) -> Opinion:
    """An opinion of this split: drawn until a combination belongs to it."""
    while True:
        about = thing or random.choice(THINGS)
        strength = random.choice(list(WORDS))
        word = random.choice(WORDS[strength])
        kind = random.choice(kinds)
        other = random.choice(WORDS[-strength] + WORDS[-strength // abs(strength)])
        wording = random.choice(kind)
        if split_of(f"{about}/{word}/{wording}", 10) == split:
            text = wording.format(thing=about, word=word, other=other)
            meant = -strength // abs(strength) if kind is NEGATED else strength
            return Opinion(with_article(text), about, meant)


def with_article(text: str) -> str:
    """ "an awful film", not "a awful film"."""
    for vowel in "aeiou":
        text = text.replace(f" a {vowel}", f" an {vowel}")
    return text


def begin(split: str, count: int, seed: int) -> Random:
    """The random numbers of a split. Raises DataError for another name, or a negative count."""
    check_split(split, count)
    return Random(f"opinions/{split}/{seed}")
