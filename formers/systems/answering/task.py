"""Learning to answer: the loss of the answer's first and last token; exact match and F1 on held-out passages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from formers.data.sources import Table
from formers.fields import Count, Natural, check
from formers.models.heads import SpanFinder
from formers.systems.answering.data import PassageBatch, PassageBatches, PassageRows
from formers.systems.answering.system import LONGEST, Answerer
from formers.systems.begin import Beginning, Prepared
from formers.systems.encoders import begin, recompute
from formers.systems.system import Report
from formers.training.task import Loss


@dataclass(frozen=True, kw_only=True)
class AnsweringConfig:
    """How the model is judged while it learns."""

    longest_answer: Natural = LONGEST
    """Most tokens of an answer that is given."""
    null_threshold: float = 0.0
    """How much higher than the best answer "no answer" must score to be given (data without such questions: never)."""
    evaluated: Count = 0
    """Validation questions that are asked at each evaluation, from the front (0: all)."""

    def __post_init__(self) -> None:
        check(self, "task")

    def threshold(self, answers: Sequence[Sequence[str]]) -> float:
        """That of questions with these answers."""
        return math.inf if all(answers) else self.null_threshold


class AnsweringTask:
    """What the trainer sees: which token the answer begins and ends with, in every window."""

    def __init__(self, answerer: Answerer, validation: Table, rows: PassageRows, config: AnsweringConfig) -> None:
        self.answerer, self.rows, self.config, self.model = answerer, rows, config, answerer.model
        self.save = answerer.save
        self.validation = validation.select(range(min(config.evaluated or len(validation), len(validation))))
        self.threshold = config.threshold(validation.columns[rows.answers])

    def loss(self, batch: PassageBatch) -> Loss:
        """Summed over the windows: the mean of the cross-entropies of the first and the last place.

        Places outside the passage are no choice, but for the one of "no answer", which is right where a window does
        not hold the answer.
        """
        device = self.model.out.weight.device
        inputs = batch.inputs.to(device)
        logits = self.model(inputs.tokens, segments=inputs.segments, keep=inputs.keep).float()
        logits = logits.masked_fill(~batch.open.to(device)[..., None], -torch.inf)
        starts, ends = batch.starts.to(device), batch.ends.to(device)
        total = (
            F.cross_entropy(logits[..., 0], starts, reduction="sum")
            + F.cross_entropy(logits[..., 1], ends, reduction="sum")
        ) / 2
        right = (logits[..., 0].argmax(1) == starts) & (logits[..., 1].argmax(1) == ends)
        return Loss(total, len(starts), {"exact": right.sum(), "tokens": inputs.tokens.numel()})

    def evaluate(self) -> Report:
        """Mean loss of the windows; exact match and F1 of the answers, as SQuAD defines them."""
        longest = self.config.longest_answer
        return self.answerer.evaluate(self.validation, self.rows, threshold=self.threshold, longest=longest)[0]

    def sample(self) -> list[tuple[str, str]]:
        """Questions and answers to look at."""
        questions, passages = (self.validation.columns[name][:3] for name in (self.rows.question, self.rows.context))
        answers = self.answerer.answers(
            questions, passages, threshold=self.threshold, stride=self.rows.stride, longest=self.config.longest_answer
        )
        return [
            (question, f"{best.text or '(no answer)'} ({best.score:.2f})")
            for question, (best,) in zip(questions, answers, strict=True)
        ]

    set_recompute = recompute


def prepare(beginning: Beginning) -> Prepared:
    """Questions, model and task of a recipe, and the lines of the report on them.

    The head of the model to start from is kept where it finds answers already.
    """
    rows, source = beginning.rows, beginning.source
    table, held_out = beginning.tables()
    begun = begin(beginning, [*dict.fromkeys(table.columns[rows.context]), *table.columns[rows.question]], pooler=False)
    reader = begun.reader(rows.length)
    family = None if beginning.start is None else begun.family
    answerer = Answerer(begun.headed(SpanFinder), begun.tokenizer, length=reader.length, family=family)
    batches = PassageBatches(table, reader, rows, seed=source.seed)
    seen, unseen = set(table.columns[rows.context]), set(held_out.columns[rows.context])
    passages = f"{len(unseen):,} passages ({len(unseen & seen):,} of them in the training data too)"
    lines = [
        f"training data: {table.described}",
        *batches.report.lines(),
        f"validation: {held_out.name}, {len(held_out):,} questions on {passages}",
    ]
    task = AnsweringTask(answerer, held_out, rows, beginning.task)
    return beginning.prepared(task, batches, lines, begun.tokenizer)
