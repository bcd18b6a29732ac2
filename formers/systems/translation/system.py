"""Translation with an encoder-decoder and its tokenizer; what it attends to.

text -> tokens -> Transformer.begin (encode) -> generate (greedy, sampling, beams) -> tokens -> text
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray

from formers.decoding.options import DecodingOptions
from formers.decoding.settings import Settings
from formers.decoding.writer import Continuation, TokenSources, Writer, Writing
from formers.errors import ConfigError, DataError
from formers.metrics.translation import translation_scores
from formers.models.transformer import Transformer
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded
from formers.systems.inspection import attention_maps
from formers.systems.system import Report, Score, share
from formers.systems.translation.instructions import split_input
from formers.text.tokenizer import Tokenizer

TOKENS_PER_BATCH = 4096  # of sources, padding included, for one beam


@dataclass(frozen=True)
class Translation:
    """One candidate; `score` ranks, `scores` are the log-probabilities of `pieces` (the stop token's last)."""

    text: str
    score: float
    pieces: list[str]
    scores: list[float]
    reason: Literal["stop", "length"] = "stop"
    """Whether it ended by itself or a stop string, or had to."""


EMPTY = Translation("", 0.0, [], [])


@dataclass(frozen=True)
class AttentionMaps:
    """Who looked at whom while a sentence was translated; each map is (layers, heads, queries, keys)."""

    source: list[str]
    target: list[str]
    encoder: NDArray[np.float32]
    decoder: NDArray[np.float32]
    cross: NDArray[np.float32]


class Translator:
    """An encoder-decoder with its tokenizer: what `formers.load` gives for translation models."""

    def __init__(
        self, model: Transformer, tokenizer: Tokenizer | None, settings: Settings, *, family: str | None = None
    ) -> None:
        self.model, self.tokenizer, self.settings, self.family = model, tokenizer, settings, family

    @property
    def device(self) -> torch.device:
        return self.model.embedding.weight.device

    @overload
    def translate(self, texts: str, *, prefix: str = ..., split: bool = ..., **options: Any) -> str: ...
    @overload
    def translate(self, texts: Sequence[str], *, prefix: str = ..., split: bool = ..., **options: Any) -> list[str]: ...
    def translate(
        self, texts: str | Sequence[str], *, prefix: str = "", split: bool = True, **options: Any
    ) -> str | list[str]:
        """The best translation of a text (str) or of each of several (list of str).

        prefix: how every translation must begin. split: translate long texts sentence by sentence, keeping what
        stands between the sentences; an instruction at the beginning (`>>fra<<`, T5's tasks) is read with each.
        options: the fields of `DecodingOptions`, for every sentence; what is left open is as the checkpoint asks.
        """
        listed = [texts] if isinstance(texts, str) else texts
        parts = self.sentences(listed, prefix=prefix, split=split, **options)
        out = ["".join(translation.text + gap for translation, gap in sentences) for sentences in parts]
        return out[0] if isinstance(texts, str) else out

    def sentences(
        self, texts: Sequence[str], *, prefix: str = "", split: bool = True, **options: Any
    ) -> list[list[tuple[Translation, str]]]:
        """The same sentence by sentence, with scores, and what stands behind each: joined, the translation."""
        if DecodingOptions(**options).several:
            raise ConfigError("translate gives one text; with samples or nbest ask for candidates")
        tasks = "t5" in (self.family or "")
        spans = [split_input(text, tasks=tasks) if split and not prefix else [(text, "")] for text in texts]
        flat = [sentence for text in spans for sentence, _ in text]
        translations = iter(self.candidates(flat, prefix=prefix, **options))
        return [[(next(translations)[0], gap) for _, gap in text] for text in spans]

    def candidates(
        self, texts: Sequence[str], *, prefix: str = "", tokens_per_batch: int = TOKENS_PER_BATCH, **options: Any
    ) -> list[list[Translation]]:
        """For each text its `nbest` translations, best first, or its `samples`, with scores; texts are not split."""
        wanted = DecodingOptions(**options)
        places = [place for place, text in enumerate(texts) if text.strip()]
        ids = self.read([texts[place] for place in places], places)
        written = self.write(ids, wanted, prefix=prefix, tokens_per_batch=tokens_per_batch)
        translations = {place: list(map(self.describe, each)) for place, each in zip(places, written, strict=True)}
        return [translations.get(place, [EMPTY]) for place in range(len(texts))]

    def stream(self, text: str, *, prefix: str = "", **options: Any) -> Writing:
        """The translation of a sentence as it is written: iterate for pieces; `.result` when it has ended. One beam."""
        if not text.strip():
            raise DataError("the text is empty, expected a sentence to translate")
        sources = TokenSources(self.model, self.read([text], [0]), self.settings.pad)
        start, forced = [self.settings.start], self.forced(prefix)
        return Writing(self.writer(), start, DecodingOptions(**options), sources=sources, prefix=forced)

    def write(
        self,
        ids: Sequence[list[int]],
        options: DecodingOptions,
        *,
        prefix: str = "",
        tokens_per_batch: int = TOKENS_PER_BATCH,
    ) -> list[list[Continuation]]:
        """Sources as tokens in, texts out, in order; batched by length."""
        sources = TokenSources(self.model, ids, self.settings.pad)
        starts, forced = [[self.settings.start] for _ in ids], self.forced(prefix)
        return self.writer().write(starts, options, sources, prefix=forced, positions=tokens_per_batch)

    def writer(self) -> Writer:
        return Writer(self.model, self.needs_tokenizer(), self.settings, self.settings.stop)

    def read(self, texts: Sequence[str], places: Sequence[int]) -> list[list[int]]:
        """Texts as tokens. Raises DataError for one that is too long, by its place."""
        ids, longest = self.needs_tokenizer().encode(texts), self.model.config.length
        for place, text, tokens in zip(places, texts, ids, strict=True):
            if len(tokens) > longest:
                raise DataError(
                    f'sentence {place + 1} ("{text[:40]}...") has {len(tokens)} tokens, but this model reads at '
                    f"most {longest}; shorten it, or put full stops where it may be split"
                )
        return ids

    def forced(self, prefix: str) -> list[int]:
        """The tokens of how a translation must begin."""
        tokens = self.needs_tokenizer().encode_target([prefix])[0] if prefix else []
        tokens = tokens[:-1] if tokens and tokens[-1] in self.settings.stop else tokens
        first = self.settings.forced_first  # comes before all that is said, such as the language
        return tokens if first is None or not tokens or tokens[0] == first else [first, *tokens]

    def describe(self, text: Continuation) -> Translation:
        return Translation(text.text, text.score, self.needs_tokenizer().pieces(text.tokens), text.scores, text.reason)

    def needs_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise ConfigError(
                "this model folder has no tokenizer files, so text cannot be read; add tokenizer.json, "
                "or source.spm + target.spm + vocab.json, or spiece.model (the .model itself works)"
            )
        return self.tokenizer

    def evaluate(
        self,
        sources: Sequence[str],
        targets: Sequence[str],
        *,
        beams: int | None = None,
        length_penalty: float | None = None,
    ) -> tuple[Report, list[str]]:
        """BLEU, chrF and exact match of translating `sources`, and the translations."""
        candidates = self.candidates(sources, beams=beams, length_penalty=length_penalty)
        hypotheses = [best[0].text for best in candidates]
        scores, signatures = scores_of(hypotheses, targets)
        return Report(scores, facts={"sentences": len(hypotheses), "signatures": signatures}), hypotheses

    def attention(self, source: str, target: str | None = None) -> AttentionMaps:
        """The attention of every layer and head while `target` (default: the model's own translation) is read."""
        tokenizer = self.needs_tokenizer()
        target = self.translate(source, split=False) if target is None else target
        ids, labels = tokenizer.encode([source])[0], tokenizer.encode_target([target])[0]
        maps = attention_maps(self.model, ids, target=[self.settings.start, *labels[:-1]])
        return AttentionMaps(tokenizer.pieces(ids, source=True), tokenizer.pieces(labels), **maps)

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout."""
        save_model(
            folder,
            self.model,
            tokenizer=self.tokenizer,
            generation=self.settings.raw(),
            family=self.family,
            system="translation",
        )


def scores_of(hypotheses: Sequence[str], references: Sequence[str]) -> tuple[list[Score], dict[str, str]]:
    """BLEU and chrF (0 to 100, as everywhere), the share of exact matches, and sacrebleu's signatures."""
    scores, signatures = translation_scores(hypotheses, references)
    return [
        Score("bleu", scores["bleu"], "BLEU"),
        Score("chrf", scores["chrf"], "chrF"),
        share("exact_match", scores["exact_match"]),
    ], signatures


def open_translator(loaded: Loaded) -> Translator:
    """The system of a loaded checkpoint."""
    assert isinstance(loaded.model, Transformer)  # the registry names this opener for families of it only
    settings = Settings.of(loaded.generation, loaded.model.config.target_vocab or loaded.model.config.vocab)
    return Translator(loaded.model, loaded.tokenizer, settings, family=loaded.family)
