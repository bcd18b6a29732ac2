"""Paraphrases: sentences that say the same in other words, and pairs scored by what they share; made by our own code.

    who, does what, to what, where, when -> words for each, active or passive, in some order -> a group of sentences

What is particular:
- It is a toy for seeing that sentence vectors learn: five places of a meaning, each with a few ways to say it.
- Who does what where belongs to one split by a stable hash: a test has no meaning that training had.
- The score of a pair, 0 to 5, is the number of places in which its meanings agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from random import Random

from formers.data.builtin.split import check_split, split_of

WHO = (
    "a man|a guy|a gentleman, a woman|a lady, a boy|a lad, a girl|a young lady, a doctor|a physician, "
    "a teacher|an instructor, a policeman|a cop, a student|a pupil, a farmer|a grower, a thief|a robber"
).split(", ")
# the ways to say the verb, "ing form/participle", and those to say what it is done to
DOES = (
    ("repairing/repaired|fixing/fixed|mending/mended", "a bicycle|a bike", "a car|an automobile"),
    ("eating/eaten|consuming/consumed", "a meal|some food", "an apple|a piece of fruit"),
    ("reading/read|studying/studied", "a book|a volume", "a newspaper|a paper"),
    ("carrying/carried|hauling/hauled|lugging/lugged", "a suitcase|some luggage", "a stone|a rock"),
    ("filming/filmed|recording/recorded", "a child|a kid", "a show|a performance"),
    ("cleaning/cleaned|washing/washed", "a window|a pane of glass", "a sofa|a couch"),
    ("buying/bought|purchasing/purchased", "a gift|a present", "a coat|a jacket"),
    ("painting/painted|drawing/drawn", "a ship|a vessel", "a cat|a kitten"),
)
WHERE = (
    "in the garden|in the yard, on the street|on the road, at the beach|by the sea, in the store|in the shop, "
    "in the woods|in the forest, at home|in the house, at the airport|at the terminal, on the hill|on the slope"
).split(", ")
WHEN = (
    "at night|after dark, at dawn|at sunrise, in autumn|in the fall, at noon|in the middle of the day, "
    "during the holidays|on vacation"
).split(", ")
ORDERS = ("{does} {where} {when}", "{when}, {does} {where}", "{where}, {does} {when}", "{does} {when} {where}")
Meaning = tuple[str, str, str, str, str]  # who, verb, object, where, when: all ways to say each


def groups(split: str, count: int, seed: int = 0) -> list[tuple[list[str]]]:
    """`count` groups of five different sentences of one meaning, one column; meanings differ."""
    random = Random(f"groups {split} {seed}")
    of_split = meanings(split)
    check_split(split, count, len(of_split))
    return [(ways(random, meaning, 5),) for meaning in random.sample(of_split, count)]


def scored(split: str, count: int, seed: int = 0) -> list[tuple[str, str, float]]:
    """`count` pairs of sentences with a score, every score equally often; both meanings are of the split."""
    random = Random(f"scored {split} {seed}")
    rows: list[tuple[str, str, float]] = []
    while len(rows) < count:
        first = random.choice(meanings(split))
        goal = len(rows) % 6
        second = first if goal == 5 else near(random, first, goal)
        if (second == first and goal < 5) or split_of_meaning(second) != split:
            continue
        one, other = ways(random, first, 2) if goal == 5 else (say(random, meaning) for meaning in (first, second))
        rows.append((one, other, float(goal)))
    return rows


@cache
def meanings(split: str) -> tuple[Meaning, ...]:
    """All meanings of a split, in one order on every machine."""
    check_split(split)
    deeds = [(verb, thing) for verb, *things in DOES for thing in things]
    every = ((who, verb, thing, where, when) for who, (verb, thing), where, when in product(WHO, deeds, WHERE, WHEN))
    return tuple(meaning for meaning in every if split_of_meaning(meaning) == split)


@cache
def split_of_meaning(meaning: Meaning) -> str:
    """Who does what to what where decides."""
    return split_of(" ".join(meaning[:4]), 5)


def near(random: Random, meaning: Meaning, shared: int) -> Meaning:
    """Another meaning that agrees in `shared` of the five places, 0 to 4; or the same one: the draw makes no sense."""
    who, verb, thing, where, when = meaning
    kept = set(random.sample(range(5), shared))
    things = dict((row[0], row[1:]) for row in DOES)
    if 1 not in kept and 2 in kept:
        return meaning  # no other verb takes this object
    verb = verb if 1 in kept else other(random, tuple(things), verb)
    thing = thing if 2 in kept else other(random, things[verb], thing)
    return (
        who if 0 in kept else other(random, WHO, who),
        verb,
        thing,
        where if 3 in kept else other(random, WHERE, where),
        when if 4 in kept else other(random, WHEN, when),
    )


def other(random: Random, choices: Sequence[str], not_this: str) -> str:
    return random.choice([choice for choice in choices if choice != not_this])


def ways(random: Random, meaning: Meaning, count: int) -> list[str]:
    """`count` different sentences that say it."""
    sentences: dict[str, None] = {}
    while len(sentences) < count:
        sentences[say(random, meaning)] = None
    return list(sentences)


def say(random: Random, meaning: Meaning) -> str:
    """One sentence that says it."""
    who, verb, thing, where, when = (random.choice(place.split("|")) for place in meaning)
    doing, done = verb.split("/")
    active = random.random() < 0.65
    does = f"{who} is {doing} {thing}" if active else f"{thing} is being {done} by {who}"
    text = random.choice(ORDERS).format(does=does, where=where, when=when)
    return f"{text[0].upper()}{text[1:]}."
