"""A language model that helps a Conformer: how likely each word is after the text before it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from formers.data.batching import pad
from formers.decoding.prefix import shared
from formers.errors import ConfigError
from formers.models.causal import CausalLM
from formers.pretrained.load import load_model
from formers.systems.language_model import LanguageModel, open_language
from formers.systems.reading import reading


class WordsOfLanguage:
    """`WordScores` of any causal language model, whatever its tokens."""

    def __init__(self, language: LanguageModel) -> None:
        self.language = language

    def __call__(self, words: Sequence[tuple[str, str]]) -> Sequence[float]:
        """The log-probability of each word, all of them read together."""
        tokenizer, model = self.language.needs_tokenizer(), self.language.model
        before = self.opened([text for text, _ in words])
        whole = self.opened([f"{text} {word}".lstrip() for text, word in words])
        most = model.config.length
        counts = [max(1, len(row) - shared(row, known)) for row, known in zip(whole, before, strict=True)]
        rows = [row[-most:] for row in whole]
        tokens, _ = pad(rows, tokenizer.pad or 0)  # on the right, which nothing before it sees
        with reading(model):
            logits = model.logits(model.features(tokens.to(self.language.device))).float().log_softmax(-1)
        totals = []
        for row, ids, count in zip(logits, rows, counts, strict=True):
            places = torch.arange(max(1, len(ids) - count), len(ids), device=row.device)
            totals.append(float(row[places - 1, torch.tensor(ids, device=row.device)[places]].sum()))
        return totals

    def opened(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts as tokens behind what begins one."""
        start = self.language.opening or [self.language.start]
        return [[*start, *row] for row in self.language.needs_tokenizer().encode_plain(list(texts))]


def words_of_language(place: str) -> WordsOfLanguage:
    """The language model in a folder. Raises ConfigError for another model."""
    loaded = load_model(Path(place).expanduser())
    if not isinstance(loaded.model, CausalLM):
        name = type(loaded.model).__name__
        raise ConfigError(f"--language-model {place}: is a {name}, expected a language model that continues texts")
    return WordsOfLanguage(open_language(loaded))
