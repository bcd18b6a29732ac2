"""Multiple choice by likelihood: which continuation of a question a language model finds likeliest.

questions -> examples + question (read once) -> each choice's log-probability
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from formers.blocks.mode import inference
from formers.data.bad_rows import refuse
from formers.data.questions import ChoiceQuestion, check_choices
from formers.decoding.log_probabilities import token_log_probabilities
from formers.decoding.prefix import PrefixCache, shared
from formers.errors import ConfigError, DataError
from formers.models.causal import CausalLM
from formers.systems.system import Score, share
from formers.text.tokenizer import Tokenizer

BESIDE = 16384  # positions of choices that are read beside each other
NO_START = (
    "this model has no start token (bos_token or eos_token in tokenizer_config.json), so it cannot begin a text: "
    "give a prompt"
)


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


class LikelihoodChooser:
    """Chooses again and again after the same examples, which are read once.

    A question and its answer stand on one line with a space between, examples apart by an empty line.
    """

    def __init__(
        self,
        model: CausalLM,
        tokenizer: Tokenizer,
        opening: Sequence[int],
        start: int | None,
        examples: Sequence[tuple[str, str]] = (),
    ) -> None:
        """opening: what stands before every text; start: what begins one where there is no other token."""
        self.model, self.tokenizer, self.opening, self.start = model, tokenizer, list(opening), start
        self.prefix = PrefixCache(model)
        self.before = "".join(f"{joined(question, answer)}\n\n" for question, answer in examples)
        self.examples = len(examples)

    def choose(self, question: str, choices: Sequence[str], what: str = "the question") -> Choice:
        """Score every choice. Raises DataError for no or empty choices and for more tokens than the model reads."""
        check_choices(what, choices)
        head, ends = self.encode(question, choices)
        longest, most = max(map(len, ends)), self.model.config.length
        if len(head) + longest - 1 > most:
            more = f"{self.examples} examples and " if self.examples else ""
            raise DataError(
                f"{what} with {more}its longest choice has {len(head) + longest:,} tokens, but this model "
                f"reads at most {most:,}; {'give fewer examples' if more else 'shorten it'}"
            )
        size = max(1, BESIDE // (len(head) + longest))
        with inference(self.model):
            self.prefix.read(head[:-1])
            totals = [total for at in range(0, len(ends), size) for total in self.totals(head, ends[at : at + size])]
        return Choice(totals, [len(choice.encode()) for choice in choices])

    def encode(self, question: str, choices: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """The tokens that all choices share, at least one, and those of each after them, at least one each.

        A choice is tokenized with the question before it, as it would be in a text.
        """
        asked = self.before + question
        alone, *rows = self.tokenizer.encode_plain([asked, *(joined(asked, choice) for choice in choices)])
        same = min(min(shared(alone, row), len(row) - 1) for row in rows)
        opening = self.opening
        if not opening and not same:
            if self.start is None:
                raise ConfigError(NO_START)
            opening = [self.start]
        return [*opening, *rows[0][:same]], [row[same:] for row in rows]

    @torch.no_grad()
    def totals(self, head: list[int], ends: list[list[int]]) -> list[float]:
        """The log-probability of each ending; the cache holds the head but its last token, now and afterwards."""
        model, cache, device = self.model, self.prefix.cache, self.model.embedding.weight.device
        longest = max(map(len, ends))
        # filled up on the right: nobody looks there
        rows = [[head[-1], *end] + [head[-1]] * (longest - len(end)) for end in ends]
        tokens = torch.tensor(rows, device=device)
        cache.reorder(torch.zeros(len(ends), dtype=torch.int64, device=device))
        cache.reserve(len(head) - 1 + longest)
        x, targets = model.features(tokens[:, :-1], cache=cache).flatten(0, 1), tokens[:, 1:]
        scores = token_log_probabilities(model.logits, x, targets.flatten(), model.config.vocab).double()
        cache.truncate(len(head) - 1)
        cache.reorder(torch.zeros(1, dtype=torch.int64, device=device))
        return [row[: len(end)].sum().item() for row, end in zip(scores.view(targets.shape), ends, strict=True)]


def joined(question: str, answer: str) -> str:
    """With a space between them, unless one brings its own."""
    apart = not question or question[-1].isspace() or answer[:1].isspace()
    return question + ("" if apart else " ") + answer


def judge(
    chooser_after: Callable[[Sequence[tuple[str, str]]], LikelihoodChooser],
    questions: Sequence[ChoiceQuestion],
    *,
    shots: int = 0,
) -> Iterator[tuple[ChoiceQuestion, Choice]]:
    """The verdict on every question after the first `shots`, which serve as examples and are not asked.

    chooser_after: makes the chooser that has read these examples, such as `LanguageModel.chooser`.
    """
    if shots >= len(questions):
        raise DataError(f"{shots} examples of {len(questions)} questions leave none to ask; give fewer")
    chooser = chooser_after([(question.question, question.choices[question.answer]) for question in questions[:shots]])
    asked = 0
    for number, question in enumerate(questions[shots:], shots + 1):
        try:
            verdict = chooser.choose(question.question, question.choices, f"question {number}")
        except DataError as error:
            refuse(error)
        else:
            asked += 1
            yield question, verdict
    if not asked:
        raise DataError(f"none of the {len(questions) - shots:,} questions can be asked")


def accuracies(judged: Sequence[tuple[ChoiceQuestion, Choice]]) -> list[Score]:
    """By total log-probability, by that per byte, and what guessing gives."""
    count = len(judged)
    by_total = sum(choice.index == question.answer for question, choice in judged)
    by_byte = sum(choice.normalised_index == question.answer for question, choice in judged)
    guessed = sum(1 / len(question.choices) for question, _ in judged)
    return [
        share("accuracy", by_total / count),
        share("accuracy_normalised", by_byte / count),
        share("chance", guessed / count),
    ]
