"""Choosing with an encoder: which of several texts goes with a question (or continues a story), as SWAG asks.

[CLS] question [SEP] choice [SEP], each choice alone -> MultipleChoice -> one number each -> softmax over them
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from formers.blocks.mode import inference
from formers.data.batching import chunks
from formers.errors import CheckpointError, ConfigError, DataError
from formers.kernels.weight import packed
from formers.models.heads import MultipleChoice
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded
from formers.text.reader import Reader
from formers.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Chosen:
    """The choice for one question."""

    place: int
    """Where it stands among the choices, from 0."""
    text: str
    scores: list[float]
    """The model's number for every choice, in their order."""
    probabilities: list[float]
    """Their softmax."""
    cut: int
    """How many of the choices were too long, with their question, to be read to their end."""


class Chooser:
    """A multiple-choice encoder with its tokenizer: what `formers.load` gives for such models."""

    def __init__(self, model: MultipleChoice, tokenizer: Tokenizer | None, *, family: str | None = None) -> None:
        self.model, self.tokenizer, self.family = model, tokenizer, family
        self._reader: Reader | None = None

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
            self._reader = Reader(self.tokenizer, config.length, segments=config.segments)
        return self._reader

    def choose(self, question: str, choices: Sequence[str], *, tokens_per_batch: int = 4096) -> Chosen:
        """The choice that the model finds most fitting. Raises DataError for fewer than two, or an empty one."""
        return self.choose_all([(question, choices)], tokens_per_batch=tokens_per_batch)[0]

    def choose_all(
        self, questions: Sequence[tuple[str, Sequence[str]]], *, tokens_per_batch: int = 4096
    ) -> list[Chosen]:
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
        encodings = self.reader.read([first for first, _ in pairs], [second for _, second in pairs], offsets=False)
        scores = torch.zeros(len(encodings))
        with inference(self.model), torch.no_grad(), packed(self.model):
            for rows in chunks([len(encoding.ids) for encoding in encodings], tokens_per_batch):
                inputs = self.reader.batch([encodings[i] for i in rows]).to(self.device)
                segments, keep = (None if part is None else part[:, None] for part in (inputs.segments, inputs.keep))
                logits = self.model(inputs.tokens[:, None], segments=segments, keep=keep)
                scores[torch.from_numpy(rows)] = logits[:, 0].float().cpu()
        counts = [len(choices) for _, choices in questions]
        cut = [bool(encoding.overflowing) for encoding in encodings]
        found, start = [], 0
        for (_, choices), part in zip(questions, scores.split(counts), strict=True):
            found.append(chosen(choices, part, sum(cut[start : start + len(choices)])))
            start += len(choices)
        return found

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout: of the family where that has a word for it, else our own."""
        save_model(folder, self.model, tokenizer=self.tokenizer, family=self.family)


def chosen(choices: Sequence[str], scores: Tensor, cut: int) -> Chosen:
    place = int(scores.argmax())
    return Chosen(place, choices[place], scores.tolist(), scores.softmax(0).tolist(), cut)


def open_chooser(loaded: Loaded) -> Any:
    """The chooser of a loaded checkpoint. Raises CheckpointError for a model without such a head."""
    if not isinstance(loaded.model, MultipleChoice):
        raise CheckpointError(
            f"{loaded.folder} is a {type(loaded.model).__name__}, expected a model of choices (BertForMultipleChoice)"
        )
    return Chooser(loaded.model, loaded.tokenizer, family=loaded.family)
