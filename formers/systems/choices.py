"""Multiple choice by likelihood: which continuation of a question a language model finds likeliest.

questions -> examples + question (read once) -> each choice's log-probability
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from formers.data.files import quoted
from formers.data.questions import ChoiceQuestion
from formers.errors import DataError
from formers.systems.generation import inference
from formers.systems.likelihood import log_probs
from formers.systems.prefix import Prefix, shared

if TYPE_CHECKING:
    from formers.systems.language import LanguageModel

BESIDE = 16384  # positions of choices that are read beside each other


@dataclass(frozen=True)
class Choice:
    """The verdict on the choices of a question, which have the log-probabilities `totals`."""

    totals: list[float]
    bytes: list[int]
    """Length of each choice in UTF-8."""

    @property
    def index(self) -> int:
        """The likeliest choice."""
        return max(range(len(self.totals)), key=self.totals.__getitem__)

    @property
    def normalised(self) -> list[float]:
        """Log-probability per byte: long choices are not less likely for their length."""
        return [total / size for total, size in zip(self.totals, self.bytes, strict=True)]

    @property
    def normalised_index(self) -> int:
        """The likeliest choice for its length."""
        return max(range(len(self.totals)), key=self.normalised.__getitem__)


class Chooser:
    """Chooses again and again after the same examples, which are read once.

    A question and its answer stand on one line with a space between, examples apart by an empty line.
    """

    def __init__(self, language: LanguageModel, examples: Sequence[tuple[str, str]] = ()) -> None:
        self.language, self.prefix = language, Prefix(language.model)
        self.before = "".join(f"{joined(question, answer)}\n\n" for question, answer in examples)
        self.examples = len(examples)

    def choose(self, question: str, choices: Sequence[str], what: str = "the question") -> Choice:
        """Score every choice. Raises DataError for no or empty choices and for more tokens than the model reads."""
        if isinstance(choices, str) or len(choices) < 2 or not all(choices):
            raise DataError(f"{what}: got the choices {quoted(choices)}, expected at least two texts")
        head, ends = self.encode(question, choices)
        longest, most = max(map(len, ends)), self.language.model.config.length
        if len(head) + longest - 1 > most:
            more = f"{self.examples} examples and " if self.examples else ""
            raise DataError(
                f"{what} with {more}its longest choice has {len(head) + longest:,} tokens, but this model "
                f"reads at most {most:,}; {'give fewer examples' if more else 'shorten it'}"
            )
        size = max(1, BESIDE // (len(head) + longest))
        with inference(self.language.model):
            self.prefix.read(head[:-1])
            totals = [total for at in range(0, len(ends), size) for total in self.totals(head, ends[at : at + size])]
        return Choice(totals, [len(choice.encode()) for choice in choices])

    def encode(self, question: str, choices: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """The tokens that all choices share, at least one, and those of each after them, at least one each.

        A choice is tokenized with the question before it, as it would be in a text.
        """
        language, asked = self.language, self.before + question
        tokenizer = language.needs_tokenizer()
        alone, *rows = tokenizer.encode_plain([asked, *(joined(asked, choice) for choice in choices)])
        same = min(min(shared(alone, row), len(row) - 1) for row in rows)
        opening = language.opening or ([] if same else [language.start])
        return [*opening, *rows[0][:same]], [row[same:] for row in rows]

    @torch.no_grad()
    def totals(self, head: list[int], ends: list[list[int]]) -> list[float]:
        """The log-probability of each ending; the cache holds the head but its last token, now and afterwards."""
        model, cache, device = self.language.model, self.prefix.cache, self.language.device
        longest = max(map(len, ends))
        # filled up on the right: nobody looks there
        rows = [[head[-1], *end] + [head[-1]] * (longest - len(end)) for end in ends]
        tokens = torch.tensor(rows, device=device)
        cache.reorder(torch.zeros(len(ends), dtype=torch.int64, device=device))
        cache.reserve(len(head) - 1 + longest)
        found = log_probs(model, model.features(tokens[:, :-1], cache=cache), tokens[:, 1:]).double()
        cache.truncate(len(head) - 1)
        cache.reorder(torch.zeros(1, dtype=torch.int64, device=device))
        return [row[: len(end)].sum().item() for row, end in zip(found, ends, strict=True)]


def joined(question: str, answer: str) -> str:
    """With a space between them, unless one brings its own."""
    apart = not question or question[-1].isspace() or answer[:1].isspace()
    return question + ("" if apart else " ") + answer


def judge(
    language: LanguageModel, questions: Sequence[ChoiceQuestion], *, shots: int = 0
) -> Iterator[tuple[ChoiceQuestion, Choice]]:
    """The verdict on every question after the first `shots`, which serve as examples and are not asked."""
    if shots >= len(questions):
        raise DataError(f"{shots} examples of {len(questions)} questions leave none to ask; give fewer")
    chooser = Chooser(language, [(each.question, each.choices[each.answer]) for each in questions[:shots]])
    for number, each in enumerate(questions[shots:], shots + 1):
        yield each, chooser.choose(each.question, each.choices, f"question {number}")


def accuracies(judged: Sequence[tuple[ChoiceQuestion, Choice]]) -> dict[str, float]:
    """In percent: by total log-probability, by that per byte, and what guessing gives."""
    count = len(judged)
    return {
        "accuracy": 100 * sum(choice.index == each.answer for each, choice in judged) / count,
        "accuracy_normalised": 100 * sum(choice.normalised_index == each.answer for each, choice in judged) / count,
        "chance": 100 * sum(1 / len(each.choices) for each, _ in judged) / count,
    }
