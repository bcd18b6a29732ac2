"""Facts: little passages about one or two people, questions on them, and where the answer stands.

    random numbers -> who lives where, works as what, likes what ... -> sentences -> a question on one of them

What is particular:
- In half of the passages there are two people of whom the same is said: there the question's name is needed, too.
- A person with a fact is a combination, which belongs to one split by a stable hash: what is asked in a test, and what
  else is said there of it, was never read in training. A fifth of the questions has no answer in its passage.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from formers.data.builtin.split import check_split, split_of

WITHOUT = 0.2  # share of the questions that have no answer
NAMES = "Anna Ben Clara David Emma Felix Grace Hugo Irene Jonas Karin Leo Maria Noah Olga Paul".split()


class FactKind(NamedTuple):
    """A kind of fact: its values, and how it is said and asked; {x} is the person, {v} the value."""

    values: list[str]
    statements: tuple[str, ...]
    questions: tuple[str, ...]


KINDS = (
    FactKind(
        "Berlin, Rome, Paris, New York, London, Madrid, Oslo, San Francisco, Vienna, Lisbon".split(", "),
        ("{x} lives in {v}.", "The home of {x} is in {v}."),
        ("Where does {x} live?", "In which city is the home of {x}?"),
    ),
    FactKind(
        "a baker, a teacher, a farmer, a nurse, a pilot, a painter, a truck driver, a doctor, a bus driver".split(", "),
        ("{x} works as {v}.", "By profession {x} is {v}."),
        ("What does {x} work as?", "What is {x} by profession?"),
    ),
    FactKind(
        "apples, green tea, bread, dark chocolate, cheese, soup, red grapes, rice, honey, fish".split(", "),
        ("{x} likes to eat {v}.", "The favourite food of {x} is {v}."),
        ("What does {x} like to eat?", "What is the favourite food of {x}?"),
    ),
    FactKind(
        "a cat, a black dog, a horse, two birds, a rabbit, three goats, a white mouse, an old donkey".split(", "),
        ("{x} owns {v}.", "The pet of {x} is {v}."),
        ("What does {x} own?", "Which pet has {x}?"),
    ),
    FactKind(
        [str(year) for year in range(1950, 1962)],
        ("{x} was born in {v}.", "The year of birth of {x} is {v}."),
        ("When was {x} born?", "In what year was {x} born?"),
    ),
)


def rows(split: str, count: int, seed: int = 0) -> list[tuple[str, str, list[str], list[int]]]:
    """`count` rows of "train", "validation" or "test": passage, question, its answers and where they begin.

    Each has a passage of its own; no answer is an empty list.
    """
    check_split(split, count)
    random = Random(f"{split}/{seed}")
    return [_row(random, split) for _ in range(count)]


def _row(random: Random, split: str) -> tuple[str, str, list[str], list[int]]:
    people = random.sample(NAMES, random.choice((1, 2)))
    kinds = random.sample(range(len(KINDS)), random.choice((2, 3, 4)))
    facts: list[tuple[str, int, str]] = []  # person, kind, value
    for kind in kinds:
        values = random.sample(KINDS[kind].values, len(KINDS[kind].values))
        for name in people:
            allowed = [value for value in values if split_of(f"{name} {value}") == "train"]
            facts.append((name, kind, allowed[0]))
            values.remove(allowed[0])
    random.shuffle(facts)
    name, kind, value = facts[0]
    if split != "train":  # the asked fact is news; another person may not have its value already
        taken = {other for _, at, other in facts[1:] if at == kind}
        news = [
            (who, other)
            for who in people
            for other in KINDS[kind].values
            if split_of(f"{who} {other}") == split and other not in taken
        ]
        if not news:
            return _row(random, split)
        name, value = random.choice(news)
        facts = [fact for fact in facts if (fact[0], fact[1]) != (name, kind)]
        facts.append((name, kind, value))
    if random.random() < WITHOUT:
        facts = [fact for fact in facts if (fact[0], fact[1]) != (name, kind)]
        value = ""
        if not facts:
            return _row(random, split)
    random.shuffle(facts)
    text, start = "", -1
    for who, at, stated in facts:
        statement = random.choice(KINDS[at].statements)
        if (who, at) == (name, kind):
            start = len(text) + len(statement.split("{v}")[0].format(x=who))
        text += statement.format(x=who, v=stated) + " "
    question = random.choice(KINDS[kind].questions).format(x=name)
    return text.rstrip(), question, [value] if value else [], [start] if value else []
