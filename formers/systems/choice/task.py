"""Learning to choose: cross-entropy over the choices of each question."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F

from formers.data.questions import questions_of
from formers.fields import Count, check
from formers.models.heads import MultipleChoice
from formers.systems.begin import Beginning, Prepared
from formers.systems.choice.data import ChoiceBatches, QuestionBatch
from formers.systems.choice.system import Chooser, by_question
from formers.systems.encoders import begin, freeze, recompute
from formers.training.task import Loss

SAMPLES = 3  # questions of the validation data that are shown


@dataclass(frozen=True, kw_only=True)
class ChoiceConfig:
    """What learns."""

    freeze: Count = 0
    """How many of the lowest layers do not learn, and the embeddings with them (0: everything learns)."""

    def __post_init__(self) -> None:
        check(self, "task")


class ChoiceTask:
    """What the trainer sees: the loss of the right choices, and scores on held-out questions."""

    def __init__(self, chooser: Chooser, validation: ChoiceBatches) -> None:
        self.chooser, self.validation, self.model = chooser, validation, chooser.model
        self.save, self.evaluate = chooser.save, partial(chooser.evaluate, validation)

    def loss(self, batch: QuestionBatch) -> Loss:
        """Summed over the questions."""
        inputs = batch.inputs.to(self.model.out.weight.device)
        table = by_question(self.chooser.logits(inputs).float(), batch.counts)
        total = F.cross_entropy(table, batch.answers.to(table.device), reduction="sum")
        return Loss(total, len(batch.counts), {"tokens": inputs.real})

    def sample(self) -> list[tuple[str, str]]:
        """Questions with the choice."""
        results = self.chooser.choose_all(self.validation.questions[:SAMPLES])
        return [(f"{row.question} [{' | '.join(row.choices)}]", row.choice) for row in results]

    set_recompute = recompute


def prepare(beginning: Beginning) -> Prepared:
    """Questions, tokenizer, model and task of a recipe, and the lines of the report on them."""
    rows, source = beginning.rows, beginning.source
    table, held_out = beginning.tables()
    texts = (text for row in questions_of(table) for text in (row.question, *row.choices))
    begun = begin(beginning, texts, pooler=True)
    reader = begun.reader(rows.length)
    batches, validation = (ChoiceBatches(part, reader, rows, seed=source.seed) for part in (table, held_out))
    lines = [
        f"training data: {table.described}",
        *batches.report.lines(),
        *freeze(begun.encoder, beginning.task.freeze),
        f"validation: {held_out.name}, {len(held_out):,} questions, {validation.encoded.rows.cut:,} choices cut",
    ]
    task = ChoiceTask(Chooser(begun.headed(MultipleChoice), begun.tokenizer, length=reader.length), validation)
    return beginning.prepared(task, batches, lines, begun.tokenizer)
