"""Classification: the label of a text or of a pair of texts, any number of labels, or a number; passages in order.

    text (or pair) -> tokens -> SequenceClassifier -> logits -> softmax, sigmoids, or a number

A model that reads a query and a passage together and gives one number is a cross-encoder (Nogueira and Cho 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.labels import LabelKind
from formers.errors import CheckpointError, ConfigError, TextsError, nearest
from formers.metrics.classification import accuracy, confusion, f1, matthews
from formers.metrics.correlation import pearson, spearman
from formers.models.heads import SequenceClassifier
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded
from formers.systems.classification.data import LabelledBatches
from formers.systems.labelling import confusion_table, summed_loss
from formers.systems.reading import logits_of, reader_of
from formers.systems.system import Report, Score, cost, share
from formers.text.reader import Reader
from formers.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding

    from formers.data.encoded import EncodedRows
    from formers.text.reader import Row

# What may be done to the one output of a cross-encoder, by the last part of the name in config.json.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Sigmoid": torch.sigmoid,
    "Identity": lambda x: x,
    "Tanh": torch.tanh,
}
# The key of config.json in which sentence-transformers keeps its settings, and its name for "leave the number alone".
SETTINGS, RAW = "sentence_transformers", "torch.nn.modules.linear.Identity"
OVERLAP = 4  # a window says a quarter of the one before again
READ_AT_ONCE = 1024  # texts that are tokens at one time


@dataclass(frozen=True)
class Classification:
    """The label of a text, or of a pair."""

    label: str
    """The likeliest label; of several, those over the threshold joined by ", "; the number in digits."""
    labels: tuple[str, ...]
    """The label, or all over the threshold, likeliest first; none for a number."""
    probabilities: dict[str, float]
    """Of every label, in the model's order (they sum to 1 unless there may be several); empty for a number."""
    number: float | None = None
    """The output of a model of numbers."""
    text: str = ""
    """What has it, as it was typed."""
    ranked: bool = field(default=False, metadata={"json": False})
    """Whether its line is the probabilities of all labels."""

    def line(self) -> str:
        if not self.ranked or not self.probabilities:
            return self.label or "(none)"
        order = sorted(self.probabilities.items(), key=lambda pair: -pair[1])
        return "\t".join(f"{label} {share:.4f}" for label, share in order)


@dataclass(frozen=True)
class Ranked:
    """A passage with its score; `place` is where it stood: in a list from 0, on the command line from 1."""

    place: int
    score: float
    text: str

    def line(self) -> str:
        return f"{self.score:.4f}\t{self.text}"


class Classifier:
    """A sequence classifier with its tokenizer: what `formers.load` gives for such models."""

    def __init__(
        self,
        model: SequenceClassifier,
        tokenizer: Tokenizer | None,
        *,
        family: str | None = None,
        activation: str = RAW,
        length: int = 0,
    ) -> None:
        """activation: of the one output of a model of numbers; length: most tokens that are read (0: all it sees)."""
        if (name := activation.rpartition(".")[2]) not in ACTIVATIONS:
            raise CheckpointError(
                f"config.json: {SETTINGS}.activation_fn {activation!r} is not computed here{nearest(name, ACTIVATIONS)}"
            )
        self.model, self.tokenizer, self.family, self.activation = model, tokenizer, family, activation
        self.length = length
        self._reader: Reader | None = None

    @property
    def kind(self) -> LabelKind:
        """one, several or number."""
        return self.model.config.kind

    @property
    def labels(self) -> tuple[str, ...]:
        return self.model.config.labels

    @property
    def device(self) -> torch.device:
        return self.model.out.weight.device

    @property
    def reader(self) -> Reader:
        """Raises ConfigError for a model without tokenizer files."""
        if self._reader is None or self._reader.length != (self.length or self._reader.length):
            self._reader = reader_of(self.tokenizer, self.model.config.encoder, self.length)
        return self._reader

    def classify(
        self,
        texts: str | Sequence[str],
        seconds: str | Sequence[str] | None = None,
        *,
        threshold: float = 0.5,
        windows: bool = False,
        tokens_per_batch: int = 4096,
    ) -> Any:
        """A `Classification` of a text (str), or a list of them, in order; seconds: the second texts of pairs.

        threshold: how likely each of several labels must be. windows: a long text is read in overlapping windows whose
        probabilities are averaged (of a pair, its second text), instead of being cut.
        Raises DataError for an empty text, ConfigError for lists of unequal length.
        """
        if not 0 <= threshold <= 1:
            raise ConfigError(f"threshold ({threshold}) must be between 0 and 1")
        rows = self.probabilities(texts, seconds, windows=windows, tokens_per_batch=tokens_per_batch)
        classified = [self.describe(row, threshold) for row in rows]
        return classified[0] if isinstance(texts, str) else classified

    def probabilities(
        self,
        texts: str | Sequence[str],
        seconds: str | Sequence[str] | None = None,
        *,
        windows: bool = False,
        tokens_per_batch: int = 4096,
    ) -> NDArray[np.float32]:
        """(texts, labels): the probability of every label; (texts, 1): the number, after the model's activation."""
        firsts = [texts] if isinstance(texts, str) else list(texts)
        others = [seconds] if isinstance(seconds, str) else None if seconds is None else list(seconds)
        if others is not None and len(others) != len(firsts):
            raise ConfigError(f"{len(firsts):,} texts, but {len(others):,} second texts: give one for each")
        for what, given in (("it", firsts), ("its second text", others or [])):
            if empty := [row for row, text in enumerate(given) if not text.strip()]:
                raise TextsError(dict.fromkeys(empty, f"{what} is empty, so there is nothing to read; remove it"))
        parts = [np.zeros((0, len(self.labels)), np.float32)]
        for start in range(0, len(firsts), READ_AT_ONCE):
            some = slice(start, start + READ_AT_ONCE)
            read = self.read(firsts[some], None if others is None else others[some], windows)
            flat = self.activated(self.logits([piece for row in read for piece in row], tokens_per_batch)).numpy()
            ends = np.cumsum([len(row) for row in read])
            parts += [flat[end - len(row) : end].mean(0, keepdims=True) for row, end in zip(read, ends, strict=True)]
        return np.concatenate(parts)

    def read(self, texts: list[str], seconds: list[str] | None, windows: bool) -> list[list[Encoding]]:
        """The windows of every text, or the text cut to one."""
        if not windows:
            return [[encoding] for encoding in self.reader.read(texts, seconds, offsets=False)]
        stride = self.reader.length // OVERLAP
        if seconds is None:
            return self.reader.text_windows(texts, stride=stride)
        return self.reader.windows(texts, seconds, stride=stride)

    def logits(self, encodings: Sequence[Encoding | Row] | EncodedRows, tokens_per_batch: int = 4096) -> Tensor:
        """(rows, labels) on the CPU; batched by length, in the order given."""
        rows = logits_of(self.model, self.reader, encodings, tokens=tokens_per_batch)
        return torch.stack(rows) if rows else torch.zeros(0, len(self.labels))

    def activated(self, logits: Tensor) -> Tensor:
        """Probabilities or numbers of logits."""
        if self.kind == "number":
            return ACTIVATIONS[self.activation.rpartition(".")[2]](logits)
        return logits.softmax(-1) if self.kind == "one" else logits.sigmoid()

    def describe(self, row: NDArray[np.float32], threshold: float = 0.5) -> Classification:
        if self.kind == "number":
            return Classification(f"{row[0]:.4g}", (), {}, float(row[0]))
        probabilities = dict(zip(self.labels, map(float, row), strict=True))
        order = sorted(probabilities, key=lambda name: -probabilities[name])
        labels = order[:1] if self.kind == "one" else [name for name in order if probabilities[name] >= threshold]
        return Classification(", ".join(labels), tuple(labels), probabilities)

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        label: str | None = None,
        windows: bool = False,
        tokens_per_batch: int = 4096,
    ) -> NDArray[np.float32]:
        """(pairs,): the number of each pair; of a classifier, the probability of `label` (of two, the second's)."""
        probabilities = self.probabilities(
            [a for a, _ in pairs], [b for _, b in pairs], windows=windows, tokens_per_batch=tokens_per_batch
        )
        return probabilities[:, self.column(label)]

    def column(self, label: str | None) -> int:
        """Which output scores a pair."""
        if label is not None:
            if label not in self.labels:
                raise ConfigError(f'there is no label "{label}"{nearest(label, self.labels)}')
            return self.labels.index(label)
        if len(self.labels) > 2:
            raise ConfigError(
                f"this model tells {len(self.labels)} labels apart ({', '.join(self.labels)}): say which "
                "one's probability is the score"
            )
        return len(self.labels) - 1

    def rerank(
        self,
        query: str,
        passages: Sequence[str],
        *,
        top: int | None = None,
        label: str | None = None,
        windows: bool = False,
        tokens_per_batch: int = 4096,
    ) -> list[Ranked]:
        """The passages (at most `top`) with their scores, best first; equal scores stay in order."""
        scores = self.score(
            [(query, passage) for passage in passages], label=label, windows=windows, tokens_per_batch=tokens_per_batch
        )
        order = np.argsort(-scores, kind="stable")[:top]
        return [Ranked(int(i), float(scores[i]), passages[i]) for i in order]

    def evaluate(self, batches: LabelledBatches) -> Report:
        """The loss (no smoothing, no weights) and the scores of the logits; of one label each, the confusions."""
        logits = self.logits(batches.rows)
        expected, kind = batches.labels, self.kind
        total, count = summed_loss(kind, logits, torch.from_numpy(expected))
        loss = cost("loss", float(total) / count, "" if kind == "number" else "nats")
        facts: dict[str, Any] = {"examples": len(logits), "cut": batches.rows.cut}
        tables = []
        if kind == "one":
            confused = confusion(logits.argmax(1).numpy(), expected, classes=len(self.labels))
            facts |= {"labels": list(self.labels), "confusion": confused.tolist()}
            tables = [confusion_table(confused, self.labels)]
        return Report([loss, *scores(kind, logits.numpy(), expected)], facts=facts, tables=tables)

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout: of the family where that has a word for it, else our own."""
        settings = {SETTINGS: {"activation_fn": self.activation}} if self.kind == "number" else {}
        save_model(folder, self.model, tokenizer=self.tokenizer, settings=settings, system="classification")


def scores(kind: str, logits: NDArray[np.float32], expected: NDArray[Any]) -> list[Score]:
    """Of classes: accuracy, macro F1, Matthews' correlation; of several labels: accuracy (all right), micro and macro
    F1; of numbers: Pearson and Spearman, and the mean error."""
    if kind == "number":
        numbers = logits[:, 0]
        return [
            Score("pearson", pearson(numbers, expected)),
            Score("spearman", spearman(numbers, expected)),
            cost("absolute_error", float(np.abs(numbers - expected).mean()), ""),
        ]
    if kind == "several":
        predicted = (logits > 0).astype(np.int64)
        return [
            share("accuracy", accuracy(predicted, expected)),
            share("f1_micro", f1(predicted, expected, average="micro")),
            share("f1_macro", f1(predicted, expected)),
        ]
    best = logits.argmax(1)
    return [
        share("accuracy", accuracy(best, expected)),
        share("f1", f1(best, expected)),
        Score("matthews", matthews(best, expected)),
    ]


def open_classifier(loaded: Loaded) -> Classifier:
    """The system of a loaded checkpoint."""
    assert isinstance(loaded.model, SequenceClassifier)  # the registry names this opener for such models only
    return Classifier(loaded.model, loaded.tokenizer, family=loaded.family, activation=activation_of(loaded.config))


def activation_of(config: dict[str, Any]) -> str:
    """The activation of the one output of a cross-encoder, under its new or old key.

    Where there is none: a regression is left alone, anything else goes through a sigmoid (sentence-transformers).
    """
    given = (config.get(SETTINGS) or {}).get("activation_fn") or config.get("sbert_ce_default_activation_function")
    if given:
        return str(given)
    return RAW if config.get("problem_type") == "regression" else "torch.nn.modules.activation.Sigmoid"
