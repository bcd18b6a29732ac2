"""Learning to classify: any encoder with a head, on labelled texts or pairs; also a number for each.

tokens -> SequenceClassifier -> logits -> cross-entropy | binary cross-entropy | squared error
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from formers.blocks.pooling import Pooling
from formers.data.batching import chunks
from formers.data.labelled import LabelledBatch, LabelledBatches, LabelledData
from formers.data.labels import LabelKind, Labels, learn_labels
from formers.data.sources import Table
from formers.errors import ConfigError, nearest
from formers.metrics.classification import accuracy, f1, matthews
from formers.metrics.correlation import pearson, spearman
from formers.models.heads import HeadConfig, SequenceClassifier
from formers.systems.classification import Classifier
from formers.systems.encoders import Begun, begin, freeze
from formers.systems.report import memory_line, parameters_of
from formers.training.task import Loss

KINDS = ("auto", *get_args(LabelKind))
WEIGHTS = ("none", "balanced")


@dataclass(frozen=True, kw_only=True)
class ClassificationConfig:
    """What is learned of a text, and from which of its vectors."""

    kind: str = "auto"
    """one (of the labels), several (any number of them), number (to be predicted), auto: what the labels look like."""
    pooling: str = "first"
    """Which vector of a text its label is read from: first, mean or max."""
    label_smoothing: float = 0.0
    """Share of the probability that is spread over all labels (one of the labels only)."""
    class_weights: str = "none"
    """none; balanced: a label counts for more the rarer it is, all labels together for the same."""
    freeze: int = 0
    """How many of the lowest layers do not learn, and the embeddings with them (0: everything learns)."""
    samples: tuple[str, ...] = ()
    """Texts to classify now and then while training; empty: some of the validation data."""

    def __post_init__(self) -> None:
        for name, known in (("kind", KINDS), ("pooling", get_args(Pooling)), ("class_weights", WEIGHTS)):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f'task.{name} "{getattr(self, name)}" is not known{nearest(getattr(self, name), known)}'
                )
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"task.label_smoothing ({self.label_smoothing}) must be in [0, 1)")


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
        self.model = classifier.model
        self.weights = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=classifier.device)

    def logits(self, batch: LabelledBatch) -> Tensor:
        inputs = batch.inputs.to(self.classifier.device)
        return self.model(inputs.tokens, segments=inputs.segments, keep=inputs.keep).float()

    def loss(self, batch: LabelledBatch) -> Loss:
        """Summed over the rows (of several labels, over these too); a weighted row counts as its weight."""
        answers = batch.answers.to(self.classifier.device)
        total, count = self.judge(self.logits(batch), answers, self.config.label_smoothing)
        keep = batch.inputs.keep
        return Loss(total, count, {"tokens": batch.inputs.tokens.numel() if keep is None else int(keep.sum())})

    def judge(self, logits: Tensor, answers: Tensor, smoothing: float = 0.0) -> tuple[Tensor, float]:
        """The summed loss, and what it is summed over."""
        kind = self.classifier.kind
        if kind == "number":
            return F.mse_loss(logits.squeeze(-1), answers.float(), reduction="sum"), len(answers)
        if kind == "several":
            total = F.binary_cross_entropy_with_logits(
                logits, answers.float(), reduction="sum", pos_weight=self.weights
            )
            return total, answers.numel()
        total = F.cross_entropy(logits, answers, weight=self.weights, label_smoothing=smoothing, reduction="sum")
        return total, len(answers) if self.weights is None else float(self.weights[answers].sum())

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The loss (no smoothing), and the scores of `scores`."""
        logits, answers = self.told()
        total, count = self.judge(
            torch.from_numpy(logits).to(self.classifier.device), torch.from_numpy(answers).to(self.classifier.device)
        )
        return {"loss": float(total) / count, **scores(self.classifier.kind, logits, answers)}

    @torch.no_grad()
    def told(self) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Logits and answers of the validation data, in order."""
        data = self.validation
        logits = torch.zeros(len(data.table), len(self.classifier.labels))
        for rows in chunks(data.tokens.lengths, data.config.tokens_per_batch):
            logits[torch.from_numpy(rows)] = self.logits(data.collate(rows)).cpu()
        return logits.numpy(), data.answers

    def sample(self) -> list[tuple[str, str]]:
        """Texts with what is said of them."""
        texts, seconds = self.validation.config.texts(self.validation.table)
        count = 3
        if self.config.samples and seconds is None:
            texts, count = list(self.config.samples), len(self.config.samples)
        seconds = None if seconds is None else seconds[:count]
        found = self.classifier.classify(texts[:count], seconds)
        shown = texts[:count] if seconds is None else [f"{a} | {b}" for a, b in zip(texts, seconds, strict=False)]
        return [(text, spoken(each.label, each.probabilities)) for text, each in zip(shown, found, strict=True)]

    def save(self, folder: Path) -> None:
        self.classifier.save(folder)

    def set_recompute(self) -> None:
        self.model.encoder.stack.recompute = True


def spoken(label: str, probabilities: dict[str, float]) -> str:
    """A label with its probability, or a number."""
    return f"{label} ({probabilities[label]:.1%})" if label in probabilities else label or "none"


def scores(kind: str, logits: NDArray[np.float32], answers: NDArray[Any]) -> dict[str, float]:
    """Of classes: accuracy, macro F1, Matthews' correlation; of several labels: accuracy (all right), micro and macro
    F1; of numbers: Pearson and Spearman, and the mean error."""
    if kind == "number":
        said = logits[:, 0]
        return {
            "pearson": pearson(said, answers),
            "spearman": spearman(said, answers),
            "absolute_error": float(np.abs(said - answers).mean()),
        }
    if kind == "several":
        chosen = (logits > 0).astype(np.int64)
        return {
            "accuracy": accuracy(chosen, answers),
            "f1_micro": f1(chosen, answers, average="micro"),
            "f1_macro": f1(chosen, answers),
        }
    best = logits.argmax(1)
    return {"accuracy": accuracy(best, answers), "f1": f1(best, answers), "matthews": matthews(best, answers)}


def prepare(
    sections: dict[str, Any], folder: Path, start: Path | None = None
) -> tuple[ClassificationTask, LabelledBatches, list[str]]:
    """Data, tokenizer, model and task of a recipe, and the lines of the report on them."""
    sizes, data, config, train = (sections[name] for name in ("model", "data", "task", "train"))
    torch.manual_seed(train.seed)
    table, held_out = data.tables()
    texts, seconds = data.texts(table)
    begun = begin(sizes, data, texts + (seconds or []), folder, start, pooler=True)
    reader = begun.reader(data.length)
    labels = learn_labels(table, data.label, config.kind, known=known_labels(begun), separator=data.separator)
    batches = LabelledBatches(table, reader, data, labels)
    validation = LabelledBatches(held_out, reader, data, labels)
    model, kept = with_head(begun, labels, config.pooling, batches)
    frozen = freeze(model.encoder, config.freeze)
    # what it reads to classify is what it has learned to read
    classifier = Classifier(model, begun.tokenizer, length=reader.length)
    task = ClassificationTask(classifier, validation, config, class_weights(config, labels, batches.answers))
    return (
        task,
        batches,
        [
            f"training data: {table.name}",
            *batches.report.lines(),
            f"validation: {held_out.name}, {len(held_out):,} examples, {validation.cut:,} cut",
            f"vocabulary: {begun.tokenizer.vocab:,} tokens; model: {parameters_of(model):,} parameters, {kept}",
            *([frozen] if frozen else []),
            memory_line(model, train, data.tokens_per_batch, len(batches.epoch(0))),
        ],
    )


def known_labels(begun: Begun) -> tuple[str, ...]:
    """The labels of the checkpoint to begin with, if it has some."""
    return begun.model.config.labels if isinstance(begun.model, SequenceClassifier) else ()


def with_head(begun: Begun, labels: Labels, pooling: Any, batches: LabelledBatches) -> tuple[SequenceClassifier, str]:
    """The classifier on an encoder, and in words where its head is from: the checkpoint's where it has these labels."""
    config = HeadConfig(encoder=begun.encoder.config, labels=labels.names, kind=labels.kind, pooling=pooling)
    model = SequenceClassifier(config).to(begun.encoder.embedding.weight.device)
    model.encoder = begun.encoder
    old = begun.model
    if isinstance(old, SequenceClassifier) and (old.config.labels, old.config.kind) == (labels.names, labels.kind):
        model.out.load_state_dict(old.out.state_dict())
        return model, f"the checkpoint's head of {len(labels.names)} label(s) kept, {pooling} pooling"
    if labels.kind == "number":  # begins at the mean: it would take long to get there
        with torch.no_grad():
            model.out.bias.fill_(float(batches.answers.mean()))
    return model, f"a new head of {len(labels.names)} label(s), {pooling} pooling"


def class_weights(config: ClassificationConfig, labels: Labels, answers: NDArray[Any]) -> NDArray[np.float64] | None:
    """rows / (labels * rows with this label); of several, rows without a label for each row with it."""
    if config.class_weights == "none":
        return None
    if labels.kind == "number":
        raise ConfigError('task.class_weights "balanced" is for labels, but numbers are learned; set it to none')
    if labels.kind == "several":
        counts = answers.sum(0)
        return (len(answers) - counts) / np.maximum(counts, 1)
    counts = np.bincount(answers, minlength=len(labels.names))
    return len(answers) / (len(labels.names) * np.maximum(counts, 1))


def judged(classifier: Classifier, table: Table, data: LabelledData) -> tuple[NDArray[np.float32], NDArray[Any], int]:
    """Logits (rows, labels), answers and how many texts were cut, of any labelled table with the model's labels.

    Raises DataError for a label that the model does not know.
    """
    labels = Labels(classifier.kind, classifier.labels)  # type: ignore[arg-type]
    task = ClassificationTask(
        classifier, LabelledBatches(table, classifier.reader, data, labels), ClassificationConfig()
    )
    classifier.model.eval()
    return *task.told(), task.validation.cut
