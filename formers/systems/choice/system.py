"""Choosing with an encoder: which of several texts goes with a question (or continues a story), as SWAG asks.

[CLS] question [SEP] choice [SEP], each choice alone -> MultipleChoice -> one logit each -> softmax over them
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from formers.errors import DataError
from formers.models.heads import MultipleChoice
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded
from formers.systems.choice.data import ChoiceBatches
from formers.systems.reading import logits_of, reader_of
from formers.systems.system import Report, cost, share
from formers.text.reader import Inputs, Reader
from formers.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class ScoredChoices:
    """What a model makes of the choices of one question."""

    place: int
    """Where the likeliest stands, from 0."""
    text: str
    """The likeliest."""
    scores: list[float]
    """The logit of every choice, in their order."""
    probabilities: list[float]
    """Their softmax."""
    cut: int
    """How many of the choices were too long, with their question, to be read to their end."""


class Chooser:
    """A multiple-choice encoder with its tokenizer: what `formers.load` gives for such models."""

    def __init__(
        self, model: MultipleChoice, tokenizer: Tokenizer | None, *, family: str | None = None, length: int = 0
    ) -> None:
        """length: most tokens of a question with a choice (0: all that the model sees)."""
        self.model, self.tokenizer, self.family, self.length = model, tokenizer, family, length

    @property
    def device(self) -> torch.device:
        return self.model.out.weight.device

    @property
    def reader(self) -> Reader:
        """Raises ConfigError for a model without tokenizer files."""
        return reader_of(self.tokenizer, self.model.config.encoder, self.length)

    def choose(self, question: str, choices: Sequence[str], *, tokens_per_batch: int = 4096) -> ScoredChoices:
        """The choice that the model finds most fitting. Raises DataError for fewer than two, or an empty one."""
        return self.choose_all([(question, choices)], tokens_per_batch=tokens_per_batch)[0]

    def choose_all(
        self, questions: Sequence[tuple[str, Sequence[str]]], *, tokens_per_batch: int = 4096
    ) -> list[ScoredChoices]:
        """The same for many questions, each of which may have another number of choices; batched by length."""
        for number, (_, choices) in enumerate(questions, 1):
            if isinstance(choices, str) or len(choices) < 2 or not all(choice.strip() for choice in choices):
                raise DataError(
                    f"question {number} of {len(questions):,} has the choices {choices!r}, expected at "
                    "least two texts that are not empty"
                )
        pairs = [(question, choice) for question, choices in questions for choice in choices]
        if not pairs:
            return []
        reader = self.reader
        encodings = reader.read([first for first, _ in pairs], [second for _, second in pairs], offsets=False)
        logits = torch.stack(logits_of(self.model, reader, encodings, tokens=tokens_per_batch, call=self.logits))
        counts = [len(choices) for _, choices in questions]
        cut = torch.tensor([bool(encoding.overflowing) for encoding in encodings])
        scored = []
        for (_, choices), part, too_long in zip(questions, logits.split(counts), cut.split(counts), strict=True):
            place = int(part.argmax())
            probabilities = part.softmax(0).tolist()
            scored.append(ScoredChoices(place, choices[place], part.tolist(), probabilities, int(too_long.sum())))
        return scored

    def logits(self, inputs: Inputs) -> Tensor:
        """(rows,) of questions with a choice each."""
        segments, keep = (None if part is None else part[:, None] for part in (inputs.segments, inputs.keep))
        return self.model(inputs.tokens[:, None], segments=segments, keep=keep)[:, 0]

    def evaluate(self, batches: ChoiceBatches) -> Report:
        """The loss, the share of right choices, and what guessing would give."""
        rows = [batches.rows[row] for row in range(len(batches.rows))]
        logits = torch.stack(logits_of(self.model, self.reader, rows, call=self.logits))
        table = by_question(logits, batches.counts.tolist())
        answers = batches.answers(range(len(table)))
        return Report(
            [
                cost("loss", F.cross_entropy(table, answers).item()),
                share("accuracy", (table.argmax(1) == answers).double().mean().item()),
                share("chance", batches.chance),
            ],
            facts={"questions": len(table), "cut": batches.rows.cut},
        )

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout: of the family where that has a word for it, else our own."""
        save_model(folder, self.model, tokenizer=self.tokenizer, family=self.family, system="choice")


def by_question(logits: Tensor, counts: Sequence[int]) -> Tensor:
    """(questions, most choices): the logits of choices one after the other, -inf where a question has fewer."""
    return pad_sequence(logits.split(list(counts)), batch_first=True, padding_value=float("-inf"))


def open_chooser(loaded: Loaded) -> Chooser:
    """The system of a loaded checkpoint."""
    assert isinstance(loaded.model, MultipleChoice)  # the registry names this opener for such models only
    return Chooser(loaded.model, loaded.tokenizer, family=loaded.family)
