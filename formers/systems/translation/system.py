"""Translation: train an encoder-decoder on sentence pairs, translate with it, look at what it attends to.

text -> tokens -> Transformer.begin (encode) -> generate (greedy or beam) -> tokens -> text
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from formers.data.batching import pad
from formers.data.sentences import split_spans
from formers.decoding.generate import Hypothesis, complete
from formers.decoding.settings import Settings
from formers.decoding.strategies import Beam, Greedy, Strategy
from formers.errors import ConfigError, DataError
from formers.metrics.translation import translation_scores
from formers.models.transformer import Transformer
from formers.pretrained.load import save_model
from formers.pretrained.loaded import Loaded
from formers.systems.inspection import attention_maps
from formers.systems.reading import read_in_order
from formers.systems.system import Report, Score, share
from formers.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Translation:
    """One candidate; `score` ranks, `scores` are the log-probabilities of `pieces` (the stop token's last)."""

    text: str
    score: float
    pieces: list[str]
    scores: list[float]


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

    def translate(
        self,
        texts: str | Sequence[str],
        *,
        beams: int | None = None,
        length_penalty: float | None = None,
        prefix: str = "",
        split: bool = True,
        limit: int | None = None,
    ) -> Any:
        """The best translation of a text (str) or of each of several (list of str).

        beams: 1 is greedy; None is what the checkpoint asks for. prefix: how every translation must begin.
        split: translate long texts sentence by sentence, keeping what stands between the sentences.
        """
        listed = [texts] if isinstance(texts, str) else texts
        spans = [split_spans(t) if split and not prefix else [(t, "")] for t in listed]
        flat = [sentence for text in spans for sentence, _ in text]
        found = iter(self.candidates(flat, beams=beams, length_penalty=length_penalty, prefix=prefix, limit=limit))
        out = ["".join(next(found)[0].text + gap for _, gap in text) for text in spans]
        return out[0] if isinstance(texts, str) else out

    def candidates(
        self,
        texts: Sequence[str],
        *,
        beams: int | None = None,
        length_penalty: float | None = None,
        nbest: int = 1,
        prefix: str = "",
        limit: int | None = None,
        tokens_per_batch: int = 4096,
    ) -> list[list[Translation]]:
        """For each text its `nbest` translations, best first, with scores; texts are not split into sentences."""
        tokenizer = self.needs_tokenizer()
        beams = max(nbest, self.settings.beams) if beams is None else beams
        if beams < nbest:
            raise ConfigError(f"nbest ({nbest}) must not be larger than beams ({beams})")
        penalty = self.settings.length_penalty if length_penalty is None else length_penalty
        strategy: Strategy = Greedy() if beams == 1 else Beam(beams, penalty, self.settings.early_stopping, nbest)  # type: ignore[arg-type]
        forced = tokenizer.encode_target([prefix])[0] if prefix else []
        forced = forced[:-1] if forced and forced[-1] in self.settings.stop else forced
        blank = [not t.strip() for t in texts]
        ids = tokenizer.encode([t for t, empty in zip(texts, blank, strict=True) if not empty])
        places = [i for i, empty in enumerate(blank) if not empty]
        for i, sentence in zip(places, ids, strict=True):
            self.check_length(sentence, i, texts[i])
        found = iter(self.decode(ids, strategy, forced, limit, tokens_per_batch))
        empty = [Translation("", 0.0, [], [])]
        return [empty if b else [self.describe(h, forced) for h in next(found)] for b in blank]

    def decode(
        self,
        ids: list[list[int]],
        strategy: Strategy,
        forced: Sequence[int] = (),
        limit: int | None = None,
        tokens_per_batch: int = 4096,
    ) -> list[list[Hypothesis]]:
        """Token ids in, hypotheses out, in order; batched by length."""
        settings = self.settings

        def search(rows: NDArray[np.int64]) -> list[list[Hypothesis]]:
            source, keep = pad([ids[row] for row in rows], settings.pad)
            source, keep = source.to(self.device), None if keep is None else keep.to(self.device)
            prompt = torch.tensor([[settings.start, *forced]] * len(rows), device=self.device)
            most = min(limit or 2 * source.shape[1] + 50, self.model.config.length - prompt.shape[1])
            return complete(
                self.model,
                prompt,
                self.model.begin(source, keep, capacity=prompt.shape[1] + most),
                strategy,
                stop=settings.stop,
                limit=most,
                filters=settings.filters(),
                pad=settings.pad,
            )

        return read_in_order(self.model, [len(x) for x in ids], search, tokens=tokens_per_batch // strategy.width)

    def describe(self, hypothesis: Hypothesis, forced: Sequence[int]) -> Translation:
        tokenizer = self.needs_tokenizer()
        tokens = [*forced, *hypothesis.tokens]
        return Translation(
            tokenizer.decode(tokens), hypothesis.score, tokenizer.pieces(hypothesis.tokens), hypothesis.scores
        )

    def needs_tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise ConfigError(
                "this model folder has no tokenizer files, so text cannot be read; add tokenizer.json, "
                "or source.spm + target.spm + vocab.json, or spiece.model (the .model itself works)"
            )
        return self.tokenizer

    def check_length(self, ids: list[int], place: int, text: str) -> None:
        longest = self.model.config.length
        if len(ids) > longest:
            raise DataError(
                f'sentence {place + 1} ("{text[:40]}...") has {len(ids)} tokens, but this model reads at '
                f"most {longest}; shorten it, or put full stops where it may be split"
            )

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
        ids, said = tokenizer.encode([source])[0], tokenizer.encode_target([target])[0]
        read = [self.settings.start, *said[:-1]]
        maps = attention_maps(self.model, ids, target=read)
        return AttentionMaps(tokenizer.pieces(ids, source=True), tokenizer.pieces(said), **maps)

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


def _chunks(order: list[int], lengths: list[int], tokens: int) -> Iterator[list[int]]:
    """Neighbours in `order` (longest first) together, at most `tokens` with padding."""
    chunk: list[int] = []
    for i in order:
        if chunk and lengths[chunk[0]] * (len(chunk) + 1) > tokens:
            yield chunk
            chunk = []
        chunk.append(i)
    if chunk:
        yield chunk


def open_translator(loaded: Loaded) -> Translator:
    """The system of a loaded checkpoint."""
    assert isinstance(loaded.model, Transformer)  # the registry names this opener for families of it only
    return Translator(loaded.model, loaded.tokenizer, Settings.of(loaded.config), family=loaded.family)
