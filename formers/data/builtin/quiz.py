"""The quiz: short conversations of questions with one right answer, made by our own code.

    a kind of question, a wording, what it is about -> question and answer -> follow-ups -> a conversation

What comes after Tuesday, which word is first, words backwards, which number is larger. What is particular:
- It is a toy for seeing that instruction tuning works, nothing more: about eighty facts and four skills.
- The words of a first question belong to one split by a stable hash, so what is asked in a test was never asked in
  training in these words; follow-up questions ("And after that?") can only be answered from the turns before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from formers.data.builtin.split import check_split, split_of

NUMBERS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()
SERIES = {
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "month": "January February March April May June July August September October November December".split(),
    "number": NUMBERS,
}
WORDS = "apple bird boat bread cat dog fish horse house key moon river star table tree wind".split()
AFTER = ("What comes after {x}?", "Which {kind} follows {x}?", "Name the {kind} after {x}.", "{x}: what is next?")
BEFORE = (
    "What comes before {x}?", "Which {kind} precedes {x}?", "Name the {kind} before {x}.", "{x}: what was just before?",
)  # fmt: skip
BACKWARDS = ("Say these words backwards: {x}.", "Turn the order around: {x}.", "Read from the end: {x}.")
PLACES = {"first": 0, "last": -1, "second": 1}
LARGER = ("Which is larger, {a} or {b}?", "Name the larger number: {a} or {b}.")
SMALLER = ("Which is smaller, {a} or {b}?", "Name the smaller number: {a} or {b}.")


@dataclass(frozen=True)
class QuizQuestion:
    """A question, its right answer and a wrong one of the same kind; `more` makes a question that builds on it."""

    text: str
    right: str
    wrong: str
    more: Callable[[Random], QuizQuestion]


def conversations(split: str, count: int, seed: int = 0) -> list[tuple[list[dict[str, str]]]]:
    """`count` conversations of "train", "validation" or "test", one column each; some occur several times."""
    return [([*messages, _answer(right)],) for messages, right, _ in _questions(split, count, seed, (0, 0, 1, 2))]


def preferences(split: str, count: int, seed: int = 0) -> list[tuple[list[dict[str, str]], str, str]]:
    """`count` first questions, each with its right answer and a wrong one; some occur several times."""
    return _questions(split, count, seed, (0,))


def choices(split: str, count: int, seed: int = 0) -> list[tuple[str, list[str], int]]:
    """`count` first questions, each with two answers in any order and the place of the right one, from 0."""
    random = Random(f"choices/{split}/{seed}")
    rows = []
    for messages, right, wrong in _questions(split, count, seed, (0,)):
        place = random.randrange(2)
        rows.append((messages[0]["content"], [wrong, right] if place else [right, wrong], place))
    return rows


def _questions(
    split: str, count: int, seed: int, follow_ups: Sequence[int]
) -> list[tuple[list[dict[str, str]], str, str]]:
    """(messages up to a question, right answer, wrong answer): every kind of question equally often."""
    check_split(split, count)
    random = Random(f"{split}/{seed}")
    asked: list[tuple[list[dict[str, str]], str, str]] = []
    while len(asked) < count:
        question = _first(random)
        if split_of(question.text) != split:
            continue
        messages = [{"role": "user", "content": question.text}]
        for _ in range(random.choice(follow_ups)):
            messages.append(_answer(question.right))
            question = question.more(random)
            messages.append({"role": "user", "content": question.text})
        asked.append((messages, question.right, question.wrong))
    return asked


def _answer(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


# ---- questions ---------------------------------------------------------------------------------------------


def _first(random: Random) -> QuizQuestion:
    kind = random.choice(("series", "words", "numbers"))
    if kind == "series":
        name = random.choice(list(SERIES))
        return _series(random, name, random.randrange(1, len(SERIES[name]) - 1))
    if kind == "words":
        return _words(random, random.sample(WORDS, random.choice((2, 3))))
    a, b = random.sample(range(1, 21), 2)
    return _numbers(random, a, b)


def _series(random: Random, kind: str, at: int, follow: bool = False) -> QuizQuestion:
    """What comes after or before a member of a series, which at its ends is asked in one direction only."""
    series = SERIES[kind]
    step = 1 if at == 0 else -1 if at == len(series) - 1 else random.choice((1, -1))
    text = random.choice(AFTER if step > 0 else BEFORE).format(kind=kind, x=series[at])
    if follow:
        text = "And after that?" if step > 0 else "And before that?"
    wrong = random.choice([other for i, other in enumerate(series) if i not in (at, at + step)])
    right = series[at + step]
    return QuizQuestion(
        text, _sentence(right), _sentence(wrong), lambda random: _series(random, kind, at + step, follow=True)
    )


def _words(random: Random, words: list[str], follow: bool = False) -> QuizQuestion:
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
    return QuizQuestion(text, _sentence(right), _sentence(wrong), lambda random: _words(random, words, follow=True))


def _numbers(random: Random, a: int, b: int, follow: str = "") -> QuizQuestion:
    """The larger or smaller of two numbers; a follow-up asks for the other."""
    larger = follow == "larger" if follow else random.random() < 0.5
    word, opposite = ("larger", "smaller") if larger else ("smaller", "larger")
    text = f"And which is {word}?" if follow else random.choice(LARGER if larger else SMALLER).format(a=a, b=b)
    right, wrong = (max(a, b), min(a, b)) if larger else (min(a, b), max(a, b))
    return QuizQuestion(text, f"{right}.", f"{wrong}.", lambda random: _numbers(random, a, b, follow=opposite))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
