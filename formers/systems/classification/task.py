"""Learning to classify: any encoder with a head, on labelled texts or pairs; also a number for each.

tokens -> SequenceClassifier -> logits -> cross-entropy | binary cross-entropy | squared error
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.blocks.pooling import Pooling
from formers.data.labels import Labels, learn_labels
from formers.errors import ConfigError
from formers.fields import Between, Count, check
from formers.models.causal import CausalLM
from formers.models.heads import SequenceClassifier
from formers.systems.begin import Beginning, Prepared
from formers.systems.classification.data import LabelledBatch, LabelledBatches
from formers.systems.classification.system import Classifier
from formers.systems.encoders import Begun, begin, freeze, recompute
from formers.systems.labelling import balanced_weights, summed_loss, uneven
from formers.training.task import Loss

NUMBERS = ("loss", "pearson", "spearman", "absolute_error")  # the scores of numbers
SAMPLES = 3  # texts of the validation data that are shown


@dataclass(frozen=True, kw_only=True)
class ClassificationConfig:
    """What is learned of a text, and from which of its vectors."""

    kind: Literal["auto", "one", "several", "number"] = "auto"
    """one (of the labels), several (any number of them), number (to be predicted), auto: what the labels look like."""
    pooling: Pooling = "first"
    """Which vector of a text its label is read from: first (of a decoder: last), mean, max or last."""
    label_smoothing: Annotated[float, Between(0, below=1)] = 0.0
    """Share of the probability that is spread over all labels (one of the labels only)."""
    class_weights: Literal["none", "balanced"] = "none"
    """none; balanced: a label counts for more the rarer it is, all labels together for the same."""
    freeze: Count = 0
    """How many of the lowest layers do not learn, and the embeddings with them (0: everything learns)."""
    samples: tuple[str, ...] = ()
    """Texts to classify now and then while training; empty: some of the validation data."""

    def __post_init__(self) -> None:
        check(self, "task")


class ClassificationTask:
    """What the trainer sees: the loss of the labels, and scores on held-out texts."""

    def __init__(
        self,
        classifier: Classifier,
        validation: LabelledBatches,
        config: ClassificationConfig,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        """weights: how much each label counts; None: all the same."""
        self.classifier, self.validation, self.config = classifier, validation, config
        self.model, self.save = classifier.model, classifier.save
        self.evaluate = partial(classifier.evaluate, validation)
        self.weights = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=classifier.device)

    def logits(self, batch: LabelledBatch) -> Tensor:
        inputs = batch.inputs.to(self.classifier.device)
        return self.model(inputs.tokens, segments=inputs.segments, keep=inputs.keep).float()

    def loss(self, batch: LabelledBatch) -> Loss:
        """Summed over the rows (of several labels, over these too); a weighted row counts as its weight."""
        total, count = summed_loss(
            self.classifier.kind,
            self.logits(batch),
            batch.labels.to(self.classifier.device),
            weights=self.weights,
            smoothing=self.config.label_smoothing,
        )
        return Loss(total, count, {"tokens": batch.inputs.real})

    def sample(self) -> list[tuple[str, str]]:
        """Texts with their labels."""
        texts, seconds = self.validation.config.texts(self.validation.table)
        if self.config.samples and seconds is None:
            texts = list(self.config.samples)
        else:
            texts, seconds = texts[:SAMPLES], None if seconds is None else seconds[:SAMPLES]
        shown = texts if seconds is None else [f"{a} | {b}" for a, b in zip(texts, seconds, strict=True)]
        classified = self.classifier.classify(texts, seconds)
        return [(text, spoken(row.label, row.probabilities)) for text, row in zip(shown, classified, strict=True)]

    set_recompute = recompute


def spoken(label: str, probabilities: dict[str, float]) -> str:
    """A label with its probability, or a number."""
    return f"{label} ({probabilities[label]:.1%})" if label in probabilities else label or "none"


def prepare(beginning: Beginning) -> Prepared:
    """Labelled texts, tokenizer, model and task of a recipe, and the lines of the report on them."""
    rows, config, source = beginning.rows, beginning.task, beginning.source
    table, held_out = beginning.tables()
    texts, seconds = rows.texts(table)
    begun = begin(beginning, texts + (seconds or []), pooler=True, decoders=True)
    reader, old = begun.reader(rows.length), begun.model
    learned = old.config.labels if isinstance(old, SequenceClassifier) else ()
    labels = learn_labels(table, rows.label, config.kind, known=learned, separator=rows.separator)
    check_monitor(beginning.sections["train"].monitor, labels, rows.label)
    batches, validation = (LabelledBatches(part, reader, rows, labels, seed=source.seed) for part in (table, held_out))
    frozen = freeze(begun.encoder, config.freeze)
    model, head = with_head(begun, labels, config.pooling, batches)
    # what it reads to classify is what it has learned to read
    classifier = Classifier(model, begun.tokenizer, length=reader.length)
    weights = None if config.class_weights == "none" else balanced_weights(labels, batches.labels)
    task = ClassificationTask(classifier, validation, config, weights)
    lines = [
        f"training data: {table.described}",
        *batches.report.lines(),
        *(uneven(labels, batches.labels) if config.class_weights == "none" else []),
        f"validation: {held_out.name}, {len(held_out):,} examples, {validation.rows.cut:,} cut",
        head,
        *frozen,
    ]
    return beginning.prepared(task, batches, lines, begun.tokenizer)


def check_monitor(monitor: str, labels: Labels, column: str) -> None:
    """Refuse, before anything is learned, to watch a score of classes where numbers are learned, and vice versa."""
    if labels.kind == "number" and monitor not in NUMBERS:
        cures = "--set train.monitor=pearson (or loss), or --set task.kind=one if each number is a class"
        raise ConfigError(f'train.monitor "{monitor}" is of labels, but the column "{column}" holds numbers: {cures}')
    if labels.kind != "number" and monitor in set(NUMBERS) - {"loss"}:
        cures = "--set train.monitor=accuracy (or loss), or --set task.kind=number to learn numbers"
        raise ConfigError(f'train.monitor "{monitor}" is of numbers, but the column "{column}" holds labels: {cures}')


def with_head(
    begun: Begun, labels: Labels, pooling: Pooling, batches: LabelledBatches
) -> tuple[SequenceClassifier, str]:
    """The classifier on an encoder, and in words where its head is from: the checkpoint's where it has these labels."""
    old = begun.model
    wanted: dict[str, Any] = {"labels": labels.names, "kind": labels.kind}
    if isinstance(begun.encoder, CausalLM):
        wanted |= {"bias": False}
        pooling = "last" if pooling == "first" else pooling  # the first token of a decoder sees none of the others
    kept = isinstance(old, SequenceClassifier) and (old.config.labels, old.config.kind) == (labels.names, labels.kind)
    model = begun.headed(SequenceClassifier, keep=lambda _: kept, pooling=pooling, **wanted)
    if kept:
        return model, f"the checkpoint's head of {len(labels.names)} label(s) kept, {pooling} pooling"
    if labels.kind == "number" and model.out.bias is not None:  # begins at the mean: it would take long to get there
        with torch.no_grad():
            model.out.bias.fill_(float(batches.labels.mean()))
    return model, f"a new head of {len(labels.names)} label(s), {pooling} pooling"
