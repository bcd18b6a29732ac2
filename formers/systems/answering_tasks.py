"""Learning to answer: the loss of the answer's first and last token; exact match and F1 on held-out passages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from formers.data.passages import PassageBatch, PassageBatches, PassageData, answer, placed, read_windows
from formers.data.sources import Table
from formers.errors import ConfigError
from formers.metrics.answers import answer_scores
from formers.models.heads import HeadConfig, SpanFinder
from formers.systems.answering import LONGEST, Answer, Answerer, Spans
from formers.systems.encoders import begin
from formers.systems.report import memory_line, parameters_of
from formers.training.task import Loss


@dataclass(frozen=True, kw_only=True)
class AnsweringConfig:
    """How the model is judged while it learns."""

    longest_answer: int = LONGEST
    """Most tokens of an answer that is given."""
    null_threshold: float = 0.0
    """How much higher than the best answer "no answer" must score to be given (data without such questions: never)."""
    evaluated: int = 0
    """Validation questions that are asked at each evaluation, from the front (0: all)."""

    def __post_init__(self) -> None:
        for name, least in (("longest_answer", 1), ("evaluated", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"task.{name} ({getattr(self, name)}) must be at least {least}")


class AnsweringTask:
    """What the trainer sees: which token the answer begins and ends with, in every window."""

    def __init__(self, answerer: Answerer, validation: Table, data: PassageData, config: AnsweringConfig) -> None:
        self.answerer, self.data, self.config, self.model = answerer, data, config, answerer.model
        self.everything = validation
        self.validation = validation.select(range(min(config.evaluated or len(validation), len(validation))))
        known = all(validation.columns[data.answers])
        self.threshold = math.inf if known else config.null_threshold

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

    def evaluate(self) -> dict[str, float]:
        """Mean loss of the windows; exact match and F1 of the answers, as SQuAD defines them."""
        loss, said = self.judge(self.validation)
        truths = self.validation.columns[self.data.answers]
        return {"loss": loss, **answer_scores([each.text for each in said], truths)}

    def judge(self, table: Table) -> tuple[float, list[Answer]]:
        """The mean loss of all windows, and the answers given."""
        lost, count = 0.0, 0
        said: list[Answer] = []
        reader = self.answerer.needs_reader()
        passages = table.columns[self.data.context]
        held = list(read_windows(table, reader, self.data))
        logits = iter(self.answerer.logits([each for windows in held for each in windows]))
        for row, windows in enumerate(held):
            parts = [next(logits) for _ in windows]
            for window, scores in zip(windows, parts, strict=True):
                at = placed(window, *answer(table, self.data, row))
                for side, place in enumerate((at.start, at.end)):
                    chosen = np.append(scores[at.first : at.last + 1, side], scores[at.null, side]).astype(np.float64)
                    high = chosen.max()
                    lost += (high + math.log(np.exp(chosen - high).sum()) - float(scores[place, side])) / 2
                count += 1
            spans = Spans.of(windows, parts, self.config.longest_answer)
            said += spans.best(passages[row], top=1, threshold=self.threshold)
        return lost / count, said

    def sample(self) -> list[tuple[str, str]]:
        """Questions and answers to look at."""
        chosen = self.validation.select(range(min(3, len(self.validation))))
        questions, passages = (chosen.columns[name] for name in (self.data.question, self.data.context))
        found = self.answerer.answers(
            questions, passages, threshold=self.threshold, stride=self.data.stride, longest=self.config.longest_answer
        )
        return [
            (question, f"{each[0].text or '(no answer)'} ({each[0].score:.2f})")
            for question, each in zip(questions, found, strict=True)
        ]

    def save(self, folder: Path) -> None:
        self.answerer.save(folder)

    def set_recompute(self) -> None:
        self.model.encoder.stack.recompute = True


def prepare(
    sections: dict[str, Any], folder: Path, start: Path | None = None
) -> tuple[AnsweringTask, PassageBatches, list[str]]:
    """Questions, model and task of a recipe, and the lines of the report on them.

    start: the model folder whose weights to begin with, its head too where it finds answers already.
    """
    sizes, data, config, train = (sections[name] for name in ("model", "data", "task", "train"))
    torch.manual_seed(train.seed)
    table, held_out = data.tables()
    texts = [*dict.fromkeys(table.columns[data.context]), *table.columns[data.question]]
    begun = begin(sizes, data, texts, folder, start, pooler=False)
    model = begun.model
    if not isinstance(model, SpanFinder):
        model = SpanFinder(HeadConfig(encoder=begun.encoder.config)).to(begun.encoder.embedding.weight.device)
    model.encoder = begun.encoder
    reader = begun.reader(data.length)
    answerer = Answerer(model, begun.tokenizer, length=reader.length, family=begun.family if start else None)
    batches = PassageBatches(table, reader, data)
    task = AnsweringTask(answerer, held_out, data, config)
    seen = set(table.columns[data.context])
    both = sum(text in seen for text in dict.fromkeys(held_out.columns[data.context]))
    passages = f"{len(set(held_out.columns[data.context])):,} passages ({both:,} of them in the training data too)"
    return (
        task,
        batches,
        [
            f"training data: {table.name}",
            *batches.report.lines(),
            f"validation: {held_out.name}, {len(held_out):,} questions on {passages}",
            f"vocabulary: {begun.tokenizer.vocab:,} tokens; model: {parameters_of(model):,} parameters",
            memory_line(model, train, data.tokens_per_batch, len(batches.epoch(0))),
        ],
    )
