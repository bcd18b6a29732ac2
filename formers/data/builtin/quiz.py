"""The quiz: short conversations of questions with one right answer, made by our own code.

    a kind of question, a wording, what it is about -> question and answer -> follow-ups -> a conversation

What comes after Tuesday, which word is first, words backwards, which number is larger. What is particular:
- It is a toy for seeing that instruction tuning works, nothing more: about eighty facts and five skills.
- The words of a first question belong to one split by a stable hash, so what is asked in a test was never asked in
  training in these words; follow-up questions ("And after that?") can only be answered from the turns before.
- One conversation in five begins with a system message that asks for capital letters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from formers.errors import DataError

SPLITS = ("train", "validation", "test")
MOST = 100_000
CAPITALS = "Answer in capital letters."
NUMBERS = ("one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
           "eighteen nineteen twenty").split()
SERIES = {
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "month": "January February March April May June July August September October November December".split(),
    "number": NUMBERS,
    "letter": list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
}
WORDS = ("apple bird boat bread cat chair cloud coat dog door field fish flower glass hand horse house key lamp leaf "
         "moon mouse river road shoe snow star stone table tree wind window").split()
AFTER = ("What comes after {x}?", "Which {kind} follows {x}?", "Name the {kind} after {x}.", "{x}: what is next?")
BEFORE = ("What comes before {x}?", "Which {kind} precedes {x}?", "Name the {kind} before {x}.",
          "{x}: what was just before?")
BACKWARDS = ("Say these words backwards: {x}.", "Turn the order around: {x}.", "Read from the end: {x}.")
PLACES = {"first": 0, "last": -1, "second": 1}
LARGER = ("Which is larger, {a} or {b}?", "Name the larger number: {a} or {b}.")
SMALLER = ("Which is smaller, {a} or {b}?", "Name the smaller number: {a} or {b}.")


@dataclass(frozen=True)
class Question:
    """A question, its right answer and a wrong one of the same kind; `more` makes a question that builds on it."""

    text: str
    right: str
    wrong: str
    more: Callable[[Random], Question]


def conversations(split: str, count: int, seed: int = 0) -> list[tuple[list[dict[str, str]]]]:
    """`count` different conversations of "train", "validation" or "test", one column each."""
    return [(messages + _answer(messages, right),) for messages, right, _ in _distinct(split, count, seed)]


def preferences(split: str, count: int, seed: int = 0) -> list[tuple[list[dict[str, str]], str, str]]:
    """`count` different conversations up to a question, with its right answer and a wrong one."""
    return [(messages, _styled(messages, right), _styled(messages, wrong))
            for messages, right, wrong in _distinct(split, count, seed)]


def _distinct(split: str, count: int, seed: int) -> list[tuple[list[dict[str, str]], str, str]]:
    if split not in SPLITS:
        raise DataError(f'split: got "{split}", expected one of {", ".join(SPLITS)}')
    if not 0 <= count <= MOST:
        raise DataError(f"count: got {count}, expected 0 to {MOST}")
    found: dict[str, tuple[list[dict[str, str]], str, str]] = {}
    stream = _stream(split, Random(f"{split}/{seed}"))
    while len(found) < count:
        made = next(stream)
        found.setdefault(str(made[:2]), made)
    return list(found.values())


def _stream(split: str, random: Random) -> Iterator[tuple[list[dict[str, str]], str, str]]:
    """(messages up to a question, right answer, wrong answer)."""
    while True:
        question = _first(random)
        if split_of(question.text) != split:
            continue
        messages = [{"role": "system", "content": CAPITALS}] if random.random() < 0.2 else []
        messages.append({"role": "user", "content": question.text})
        for _ in range(random.choice((0, 0, 1, 2))):
            messages += _answer(messages, question.right)
            question = question.more(random)
            messages.append({"role": "user", "content": question.text})
        yield messages, question.right, question.wrong


def split_of(question: str) -> str:
    """About 84% train, 8% validation, 8% test, the same everywhere."""
    percent = int.from_bytes(hashlib.sha256(question.encode()).digest()[:8], "big") % 100
    return "test" if percent < 8 else "validation" if percent < 16 else "train"


def _answer(messages: list[dict[str, str]], text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": _styled(messages, text)}]


def _styled(messages: list[dict[str, str]], text: str) -> str:
    return text.upper() if messages[0]["content"] == CAPITALS else text


# ---- questions ---------------------------------------------------------------------------------------------


def _first(random: Random) -> Question:
    kind = random.choice(("series", "words", "numbers"))
    if kind == "series":
        name = random.choice(list(SERIES))
        return _series(random, name, random.randrange(1, len(SERIES[name]) - 1))
    if kind == "words":
        return _words(random, random.sample(WORDS, random.choice((2, 3, 4))))
    a, b = random.sample(range(100), 2)
    return _numbers(random, a, b)


def _series(random: Random, kind: str, at: int, follow: bool = False) -> Question:
    """What comes after or before a member of a series, which at its ends is asked in one direction only."""
    series = SERIES[kind]
    step = 1 if at == 0 else -1 if at == len(series) - 1 else random.choice((1, -1))
    text = random.choice(AFTER if step > 0 else BEFORE).format(kind=kind, x=series[at])
    if follow:
        text = "And after that?" if step > 0 else "And before that?"
    wrong = random.choice([other for i, other in enumerate(series) if i not in (at, at + step)])
    return Question(text, f"{_capital(series[at + step])}.", f"{_capital(wrong)}.",
                    lambda random: _series(random, kind, at + step, follow=True))


def _words(random: Random, words: list[str], follow: bool = False) -> Question:
    """Words backwards, one of them by its place, or their number."""
    kind = random.choice(("backwards", "place", "number"))
    listed = ", ".join(words)
    if kind == "backwards":
        text = "And backwards?" if follow else random.choice(BACKWARDS).format(x=listed)
        right, wrong = ", ".join(reversed(words)), listed
    elif kind == "place":
        name = random.choice(list(PLACES))
        text = f"And which is {name}?" if follow else f"Which word is {name}: {listed}?"
        right = words[PLACES[name]]
        wrong = random.choice([word for word in words if word != right])
    else:
        text = "How many words was that?" if follow else f"How many words are these: {listed}?"
        right = NUMBERS[len(words) - 1]
        wrong = random.choice([other for other in NUMBERS[:6] if other != right])
    return Question(text, f"{_capital(right)}.", f"{_capital(wrong)}.",
                    lambda random: _words(random, words, follow=True))


def _numbers(random: Random, a: int, b: int, follow: str = "") -> Question:
    """The larger or smaller of two numbers; a follow-up asks for the other."""
    larger = follow == "larger" if follow else random.random() < 0.5
    word = "larger" if larger else "smaller"
    text = f"And which is {word}?" if follow else random.choice(LARGER if larger else SMALLER).format(a=a, b=b)
    right, wrong = (max(a, b), min(a, b)) if larger else (min(a, b), max(a, b))
    return Question(text, f"{right}.", f"{wrong}.",
                    lambda random: _numbers(random, a, b, follow="smaller" if larger else "larger"))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
