"""Choosing with an encoder: which of several texts goes with a question (or continues a story), as SWAG asks.

[CLS] question [SEP] choice [SEP], each choice alone -> MultipleChoice -> one logit each -> softmax over them
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from formers.data.questions import check_choices
from formers.models.heads import MultipleChoice
from formers.pretrained.load import save_model
from formers.systems.choice.data import ChoiceBatches, EncodedQuestions
from formers.systems.choosing import PredictedChoice
from formers.systems.reading import logits_of, reader_of_system
from formers.systems.system import Report, cost, share
from formers.text.reader import Inputs
from formers.text.tokenizer import Tokenizer


class Chooser:
    """A multiple-choice encoder with its tokenizer: what `formers.load` gives for such models."""

    def __init__(
        self, model: MultipleChoice, tokenizer: Tokenizer | None, *, family: str | None = None, length: int = 0
    ) -> None:
        """length: most tokens of a question with a choice (0: all that the model sees)."""
        self.model, self.tokenizer, self.family, self.length = model, tokenizer, family, length

    reader = cached_property(reader_of_system)

    def choose(self, question: str, choices: Sequence[str]) -> PredictedChoice:
        """The choice that the model finds most fitting. Raises DataError for fewer than two, or an empty one."""
        return self.choose_all([(question, choices)])[0]

    def choose_all(
        self, questions: Sequence[tuple[str, Sequence[str]]], *, tokens_per_batch: int = 4096
    ) -> list[PredictedChoice]:
        """The same for many questions, each of which may have another number of choices; batched by length."""
        for number, (_, choices) in enumerate(questions, 1):
            check_choices(f"question {number} of {len(questions):,}", choices)
        if not questions:
            return []
        encoded, results = EncodedQuestions(self.reader, questions), []
        rows = zip(questions, self.table(encoded, tokens_per_batch), encoded.starts, strict=True)
        for (question, choices), scores, start in rows:
            place, cut = int(scores.argmax()), int(encoded.rows.is_cut[start : start + len(choices)].sum())
            own, shares = scores[: len(choices)].tolist(), scores[: len(choices)].softmax(0).tolist()
            results.append(PredictedChoice(question, choices[place], place, choices, shares, own, cut))
        return results

    def table(self, encoded: EncodedQuestions, tokens_per_batch: int = 4096) -> Tensor:
        """(questions, most choices) logits, -inf where a question has fewer."""
        logits = logits_of(self.model, self.reader, encoded.rows, tokens=tokens_per_batch, call=self.logits)
        return by_question(torch.stack(logits), encoded.counts.tolist())

    def logits(self, inputs: Inputs) -> Tensor:
        """(rows,) of questions with a choice each."""
        segments, keep = (None if part is None else part[:, None] for part in (inputs.segments, inputs.keep))
        return self.model(inputs.tokens[:, None], segments=segments, keep=keep)[:, 0]

    def evaluate(self, batches: ChoiceBatches) -> Report:
        """The loss, the share of right choices, and what guessing would give."""
        table, answers = self.table(batches.encoded), torch.from_numpy(batches.answers)
        loss = F.cross_entropy(table, answers).item()
        right = (table.argmax(1) == answers).double().mean().item()
        scores = [cost("loss", loss), share("accuracy", right), share("chance", batches.chance)]
        return Report(scores, facts={"questions": len(table), "cut": batches.encoded.rows.cut})

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout: of the family where that has a word for it, else our own."""
        save_model(folder, self.model, tokenizer=self.tokenizer, family=self.family, system="choice")


def by_question(logits: Tensor, counts: Sequence[int]) -> Tensor:
    """(questions, most choices): the logits of choices one after the other, -inf where a question has fewer."""
    return pad_sequence(logits.split(list(counts)), batch_first=True, padding_value=float("-inf"))
