"""Classification: the label of a text or of a pair of texts, any number of labels, or a number; passages in order.

    text (or pair) -> tokens -> SequenceClassifier -> logits -> softmax, sigmoids, or a number

A model that reads a query and a passage together and gives one number is a cross-encoder (Nogueira and Cho 2019).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from formers.data.batching import chunks
from formers.errors import CheckpointError, ConfigError, DataError, nearest
from formers.kernels.weight import packed
from formers.models.heads import SequenceClassifier
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded
from formers.text.reader import Reader
from formers.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding

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
    """What was said of one text."""

    label: str
    """The likeliest label; of several, those over the threshold joined by ", "; the number in digits."""
    labels: tuple[str, ...]
    """The label, or all over the threshold, likeliest first; none for a number."""
    probabilities: dict[str, float]
    """Of every label, in the model's order (they sum to 1 unless there may be several); empty for a number."""
    number: float | None = None
    """What a model of numbers says."""


@dataclass(frozen=True)
class Ranked:
    """A passage with its score; `place` is where it stood, from 0."""

    place: int
    score: float
    text: str


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
    def kind(self) -> str:
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
        if self.tokenizer is None:
            raise ConfigError(
                "this model folder has no tokenizer files, so text cannot be read; add tokenizer.json or vocab.txt"
            )
        if self._reader is None:
            config = self.model.config.encoder
            self._reader = Reader(self.tokenizer, self.length or config.length, segments=config.segments)
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
        found = self.probabilities(texts, seconds, windows=windows, tokens_per_batch=tokens_per_batch)
        said = [self.describe(row, threshold) for row in found]
        return said[0] if isinstance(texts, str) else said

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
        for what, given in (("text", firsts), ("second text", others or [])):
            for row, text in enumerate(given):
                if not text.strip():
                    raise DataError(f"{what} {row + 1} of {len(given):,} is empty: there is nothing to read")
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

    def logits(self, encodings: Sequence[Encoding], tokens_per_batch: int = 4096) -> Tensor:
        """(rows, labels) on the CPU; batched by length, in the order given."""
        was_training = self.model.training
        self.model.eval()
        out = torch.zeros(len(encodings), len(self.labels))
        with torch.no_grad(), packed(self.model):
            for rows in chunks([len(encoding.ids) for encoding in encodings], tokens_per_batch):
                inputs = self.reader.batch([encodings[i] for i in rows]).to(self.device)
                said = self.model(inputs.tokens, segments=inputs.segments, keep=inputs.keep)
                out[torch.from_numpy(rows)] = said.float().cpu()
        self.model.train(was_training)
        return out

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
        chosen = order[:1] if self.kind == "one" else [name for name in order if probabilities[name] >= threshold]
        return Classification(", ".join(chosen), tuple(chosen), probabilities)

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        label: str | None = None,
        windows: bool = False,
        tokens_per_batch: int = 4096,
    ) -> NDArray[np.float32]:
        """(pairs,): the number of each pair; of a classifier, the probability of `label` (of two, the second's)."""
        found = self.probabilities(
            [a for a, _ in pairs], [b for _, b in pairs], windows=windows, tokens_per_batch=tokens_per_batch
        )
        return found[:, self.column(label)]

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

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout: of the family where that has a word for it, else our own."""
        settings = {SETTINGS: {"activation_fn": self.activation}} if self.kind == "number" else {}
        save_model(folder, self.model, tokenizer=self.tokenizer, settings=settings)


def open_classifier(loaded: Loaded) -> Any:
    """The system of a loaded checkpoint; a model of choices has its own."""
    if not isinstance(loaded.model, SequenceClassifier):
        from formers.systems.choosing import open_chooser

        return open_chooser(loaded)
    return Classifier(loaded.model, loaded.tokenizer, family=loaded.family, activation=activation_of(loaded.config))


def activation_of(config: dict[str, Any]) -> str:
    """The activation of the one output of a cross-encoder, under its new or old key.

    Where there is none: a regression is left alone, anything else goes through a sigmoid (sentence-transformers).
    """
    given = (config.get(SETTINGS) or {}).get("activation_fn") or config.get("sbert_ce_default_activation_function")
    if given:
        return str(given)
    return RAW if config.get("problem_type") == "regression" else "torch.nn.modules.activation.Sigmoid"
