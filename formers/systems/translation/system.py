"""Translation with an encoder-decoder and its tokenizer; what it attends to.

text -> tokens -> Transformer.begin (encode) -> generate (greedy, sampling, beams) -> tokens -> text
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray

from formers.decoding.options import DecodingOptions
from formers.decoding.settings import Settings
from formers.decoding.writer import Continuation, TokenSources, Writer, Writing
from formers.errors import ConfigError, DataError, TextsError
from formers.metrics.translation import translation_scores
from formers.models.transformer import Transformer
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded
from formers.systems.inspection import attention_maps
from formers.systems.system import Report, Score, share
from formers.systems.translation.instructions import instruction, split_input
from formers.text.language_tokenizer import LanguageTokenizer
from formers.text.tokenizer import Tokenizer

WORD = re.compile(r"\s*\S+\s*")
Long = Literal["refuse", "cut", "split"]
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

    def speaking(self, *, to: str = "", source_language: str = "") -> Translator:
        """The same between two languages, by the names that the model gives them; "" leaves one as it is.

        Raises ConfigError for a language that it does not know, or a model that tells none apart.
        """
        if not (to or source_language):
            return self
        tokenizer = self.needs_tokenizer()
        if not isinstance(tokenizer, LanguageTokenizer):
            raise ConfigError(f'this model tells no languages apart; leave "{to or source_language}" out')
        spoken, settings = tokenizer.speaking(source=source_language, target=to), self.settings
        code = spoken.target_code
        if code is not None and spoken.languages.name_of(settings.start):  # mBART begins with the language
            settings = replace(settings, start=code)
        elif spoken.languages.place != "asked":
            settings = replace(settings, forced_first=code)
        return Translator(self.model, spoken, settings, family=self.family)

    @overload
    def translate(
        self,
        texts: str,
        *,
        prefix: str = ...,
        split: bool = ...,
        long: Long = ...,
        to: str = ...,
        source_language: str = ...,
        **options: Any,
    ) -> str: ...
    @overload
    def translate(
        self,
        texts: Sequence[str],
        *,
        prefix: str = ...,
        split: bool = ...,
        long: Long = ...,
        to: str = ...,
        source_language: str = ...,
        **options: Any,
    ) -> list[str]: ...
    def translate(
        self,
        texts: str | Sequence[str],
        *,
        prefix: str = "",
        split: bool = True,
        long: Long = "refuse",
        to: str = "",
        source_language: str = "",
        **options: Any,
    ) -> str | list[str]:
        """The best translation of a text (str) or of each of several (list of str).

        to, source_language: as in `speaking`. prefix: how every translation must begin. split: translate long texts
        sentence by sentence, keeping what stands between the sentences; an instruction at the beginning (`>>fra<<`,
        T5's tasks) is read with each. long: what becomes of a sentence with more tokens than the model reads: refuse,
        cut (its end is lost), or split between words. options: the fields of `DecodingOptions`, for every sentence;
        what is left open is as the checkpoint asks. Raises TextsError for sentences that are refused.
        """
        spoken = self.speaking(to=to, source_language=source_language)
        listed = [texts] if isinstance(texts, str) else texts
        parts = spoken.sentences(listed, prefix=prefix, split=split, long=long, **options)
        out = ["".join(translation.text + gap for translation, gap in sentences) for sentences in parts]
        return out[0] if isinstance(texts, str) else out

    def sentences(
        self, texts: Sequence[str], *, prefix: str = "", split: bool = True, long: Long = "refuse", **options: Any
    ) -> list[list[tuple[Translation, str]]]:
        """The same sentence by sentence, with scores, and what stands behind each: joined, the translation."""
        if DecodingOptions(**options).several:
            raise ConfigError("translate gives one text; with samples or nbest ask for candidates")
        spans = [split_input(text, tasks=self.has_tasks) if split and not prefix else [(text, "")] for text in texts]
        spans = [[part for sentence in text for part in self.fitting(*sentence, long)] for text in spans]
        flat = [(place, sentence) for place, text in enumerate(spans) for sentence, _ in text]
        try:
            candidates = self.candidates([sentence for _, sentence in flat], prefix=prefix, **options)
        except TextsError as error:
            raise error.among([place for place, _ in flat]) from None
        translations = iter(candidates)
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
        """Texts as tokens. Raises TextsError for those that are too long, by their places; ConfigError where nobody has
        said which language to write.
        """
        tokenizer = self.needs_tokenizer()
        if isinstance(tokenizer, LanguageTokenizer):
            tokenizer.languages.check_target()
        ids, longest = tokenizer.encode(texts), self.model.config.length
        fix = "shorten it, put full stops where it may be split, or have it cut or split (--long; in Python long=)"
        fault = f"but this model reads at most {longest}; {fix}"
        if reasons := {
            place: f'the sentence "{text[:40]}..." has {len(tokens)} tokens, {fault}'
            for place, text, tokens in zip(places, texts, ids, strict=True)
            if len(tokens) > longest
        }:
            raise TextsError(reasons)
        return ids

    def fitting(self, text: str, gap: str, long: Long) -> list[tuple[str, str]]:
        """A sentence, and what stands behind it, as it is; or its beginning, or its pieces, where it is too long."""
        if long == "refuse" or len(self.needs_tokenizer().encode([text])[0]) <= self.model.config.length:
            return [(text, gap)]
        pieces = self.pieces(text, instruction(text, tasks=self.has_tasks))
        parts = [(piece.rstrip(), piece[len(piece.rstrip()) :]) for piece in pieces]
        return [(parts[0][0], gap)] if long == "cut" else [*parts[:-1], (parts[-1][0], parts[-1][1] + gap)]

    def pieces(self, text: str, lead: str) -> list[str]:
        """A text in pieces that the model can read, parted between words, or within a word that is too long itself.

        lead: its instruction, with which each piece begins.
        """
        tokenizer, longest = self.needs_tokenizer(), self.model.config.length

        def is_long(text: str) -> bool:
            return len(tokenizer.encode([lead + text])[0]) > longest

        pieces, text = [], text[len(lead) :]
        while text:
            ends = [word.end() for word in islice(WORD.finditer(text), longest)] or [len(text)]
            room = bisect_left(range(len(ends)), True, key=lambda n: is_long(text[: ends[n]]))
            if not room:  # one word is too long
                ends = list(range(1, min(ends[0], 16 * longest) + 1))
                room = bisect_left(range(len(ends)), True, key=lambda n: is_long(text[: ends[n]]))
            end = ends[max(1, room) - 1]
            pieces.append(lead + text[:end])
            text = text[end:]
        return pieces or [lead]

    @property
    def has_tasks(self) -> bool:
        """Whether the model is told its task in words."""
        return "t5" in (self.family or "")

    def forced(self, prefix: str) -> list[int]:
        """The tokens of how a translation must begin."""
        if prefix and isinstance(self.tokenizer, LanguageTokenizer):
            return self.tokenizer.beginning(prefix)
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
