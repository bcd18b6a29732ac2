"""Learning to tag: the cross-entropy of every word's tag at its first piece; accuracy and entities on held-out ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F

from formers.data.sources import Table
from formers.fields import Count, check
from formers.models.heads import TokenClassifier
from formers.systems.begin import Beginning, Prepared
from formers.systems.encoders import begin, recompute
from formers.systems.system import Report
from formers.systems.tagging.data import TaggedBatch, TaggedBatches, TaggedRows
from formers.systems.tagging.system import Sentence, Tagger
from formers.training.task import Loss


@dataclass(frozen=True, kw_only=True)
class TaggingConfig:
    """How the model is judged while it learns."""

    evaluated: Count = 0
    """Validation sentences that are tagged at each evaluation, from the front (0: all)."""
    samples: tuple[str, ...] = ()
    """Texts to tag now and then while training; empty: from the validation data."""

    def __post_init__(self) -> None:
        check(self, "task")


class TaggingTask:
    """What the trainer sees: the cross-entropy of each word's tag, read from its first piece."""

    def __init__(self, tagger: Tagger, validation: Table, rows: TaggedRows, config: TaggingConfig) -> None:
        self.tagger, self.config, self.model = tagger, config, tagger.model
        self.save = tagger.save
        count = config.evaluated or len(validation)
        self.sentences, self.tags = (validation.columns[name][:count] for name in (rows.tokens, rows.tags))

    def loss(self, batch: TaggedBatch) -> Loss:
        """Summed cross-entropy over the words."""
        device = self.model.out.weight.device
        inputs, labels = batch.inputs.to(device), batch.labels.to(device)
        logits = self.model(inputs.tokens, segments=inputs.segments, keep=inputs.keep)
        real = labels >= 0
        logits, labels = logits[real].float(), labels[real]
        right = (logits.detach().argmax(-1) == labels).sum()
        return Loss(F.cross_entropy(logits, labels, reduction="sum"), labels.numel(), {"accuracy": right})

    def evaluate(self) -> Report:
        """Loss and accuracy per word of the validation data; precision, recall and F1 of entities."""
        return self.tagger.evaluate(self.sentences, self.tags)[0]

    def sample(self) -> list[tuple[str, str]]:
        """Tagged sentences to look at."""
        texts: list[Sentence] = list(self.config.samples) or self.sentences[:2]
        tagged = self.tagger.tag_all(texts, join=False)
        return [
            (text if isinstance(text, str) else " ".join(text), " ".join(f"{tag.text}/{tag.label}" for tag in tags))
            for text, tags in zip(texts, tagged, strict=True)
        ]

    set_recompute = recompute


def prepare(beginning: Beginning) -> Prepared:
    """Sentences, model and task of a recipe, and the lines of the report on them.

    The head of the model to start from is kept where it already has every tag.
    """
    rows, source = beginning.rows, beginning.source
    table, held_out = beginning.tables()
    labels = rows.labels(table)
    begun = begin(beginning, [" ".join(words) for words in table.columns[rows.tokens]], pooler=False)
    if isinstance(begun.model, TokenClassifier) and set(labels) <= set(begun.model.config.labels):
        labels = begun.model.config.labels
    model = begun.headed(TokenClassifier, keep=lambda model: model.config.labels == labels, labels=labels)
    reader = begun.reader(rows.length)
    family = None if beginning.start is None else begun.family
    tagger = Tagger(model, begun.tokenizer, length=reader.length, family=family)
    batches = TaggedBatches(table, reader, tagger.labels, rows, seed=source.seed)
    rows.numbers(held_out, tagger.labels)  # a tag that was never learned is a fault of the data, said before training
    task = TaggingTask(tagger, held_out, rows, beginning.task)
    lines = [
        f"training data: {table.described}",
        *batches.report.lines(),
        f"validation: {held_out.name}, {len(held_out):,} sentences",
    ]
    return beginning.prepared(task, batches, lines, begun.tokenizer)
