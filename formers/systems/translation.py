"""Translation: train an encoder-decoder on sentence pairs, translate with it, look at what it attends to.

text -> tokens -> Transformer.begin (encode) -> generate (greedy or beam) -> tokens -> text
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from formers.blocks.attention import recording
from formers.blocks.stack import Stack
from formers.blocks.weight import packed
from formers.data.batching import pad
from formers.data.parallel import PairBatch, PairBatches, ParallelData
from formers.data.sentences import split_spans
from formers.data.sources import Table
from formers.decoding.generate import Hypothesis, complete
from formers.decoding.settings import Settings
from formers.decoding.strategies import Beam, Greedy, Strategy
from formers.errors import ConfigError, DataError
from formers.metrics.translation import translation_scores
from formers.models.transformer import Transformer
from formers.pretrained.files import write_folder
from formers.pretrained.load import Loaded, load_model, save_model
from formers.systems.report import memory_line, parameters_of
from formers.text.tokenizer import Tokenizer, load_tokenizer, train_bpe
from formers.training.task import Loss


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
        was_training = self.model.training
        self.model.eval()
        done: list[list[Hypothesis]] = [[] for _ in ids]
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        with torch.no_grad(), packed(self.model):
            for chosen in _chunks(order, [len(x) for x in ids], tokens_per_batch // strategy.width):
                source, keep = pad([ids[i] for i in chosen], self.settings.pad)
                source, keep = source.to(self.device), None if keep is None else keep.to(self.device)
                prompt = torch.tensor([[self.settings.start, *forced]] * len(chosen), device=self.device)
                most = min(limit or 2 * source.shape[1] + 50, self.model.config.length - prompt.shape[1])
                cache = self.model.begin(source, keep, capacity=prompt.shape[1] + most)
                found = complete(
                    self.model,
                    prompt,
                    cache,
                    strategy,
                    stop=self.settings.stop,
                    limit=most,
                    filters=self.settings.filters(),
                    pad=self.settings.pad,
                )
                for i, hypotheses in zip(chosen, found, strict=True):
                    done[i] = hypotheses
        self.model.train(was_training)
        return done

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
    ) -> tuple[dict[str, float], dict[str, str], list[str]]:
        """(scores, signatures, translations): BLEU, chrF and exact match of translating `sources`."""
        found = self.candidates(sources, beams=beams, length_penalty=length_penalty)
        hypotheses = [best[0].text for best in found]
        return *translation_scores(hypotheses, targets), hypotheses

    def attention(self, source: str, target: str | None = None) -> AttentionMaps:
        """The attention of every layer and head while `target` (default: the model's own translation) is read."""
        tokenizer = self.needs_tokenizer()
        target = self.translate(source, split=False) if target is None else target
        ids, said = tokenizer.encode([source])[0], tokenizer.encode_target([target])[0]
        read = [self.settings.start, *said[:-1]]
        self.model.eval()
        with torch.no_grad(), recording() as notes:
            self.model(torch.tensor([ids], device=self.device), torch.tensor([read], device=self.device))

        def maps(stack: Stack, cross: bool) -> NDArray[np.float32]:
            parts = [block.cross_attention if cross else block.attention for block in stack.blocks]
            return torch.cat([notes.of(part) for part in parts]).float().cpu().numpy()  # type: ignore[arg-type]

        return AttentionMaps(
            tokenizer.pieces(ids, source=True),
            tokenizer.pieces(said),
            maps(self.model.encoder, False),
            maps(self.model.decoder, False),
            maps(self.model.decoder, True),
        )

    def save(self, folder: str | Path) -> None:
        """Write a folder in the Hugging Face layout."""
        save_model(folder, self.model, tokenizer=self.tokenizer, generation=self.settings.raw(), family=self.family)


@dataclass(frozen=True, kw_only=True)
class TranslationConfig:
    """What is learned and how it is judged."""

    label_smoothing: float = 0.1
    """Share of the probability that is spread over all tokens (Szegedy et al. 2016; 0.1 in the 2017 paper)."""
    decoded: int = 0
    """Validation sentences that are translated greedily at each evaluation for BLEU and exact match (0: none)."""
    samples: tuple[str, ...] = ()
    """Sentences to translate now and then while training; empty: from the validation data."""
    beams: int = 1
    """Beams that the saved model uses unless told otherwise."""
    length_penalty: float = 1.0
    """Length penalty that the saved model uses unless told otherwise."""


class TranslationTask:
    """What the trainer sees: teacher forcing with label smoothing, scores on held-out pairs."""

    def __init__(self, translator: Translator, validation: PairBatches, config: TranslationConfig) -> None:
        self.translator, self.validation, self.config = translator, validation, config
        self.model = translator.model

    def loss(self, batch: PairBatch, smoothing: float | None = None) -> Loss:
        """Summed cross-entropy over the real target tokens; the logits of padding are never computed."""
        device = self.translator.device
        x = self.model.features(
            batch.source.to(device),
            batch.target.to(device),
            source_keep=None if batch.source_keep is None else batch.source_keep.to(device),
        )
        labels = batch.labels.to(device)
        if batch.real is None:
            x, labels = x.flatten(0, 1), labels.flatten()
        else:
            real = batch.real.to(device)
            x, labels = x[real], labels[real]
        smoothing = self.config.label_smoothing if smoothing is None else smoothing
        return Loss(self.model.output.cross_entropy(x, labels, smoothing=smoothing), labels.numel())

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Cross-entropy per token (no smoothing), perplexity; BLEU and exact match of the first `decoded` pairs."""
        total, count = 0.0, 0
        for rows in self.validation.epoch(0):
            loss = self.loss(self.validation.collate(rows), smoothing=0.0)
            total, count = total + loss.total.item(), count + int(loss.count)
        scores = {"loss": total / count, "perplexity": math.exp(min(50.0, total / count))}
        if self.config.decoded:
            sources, targets = self.pairs(self.config.decoded)
            found, _, _ = self.translator.evaluate(sources, targets, beams=1)
            scores |= found
        return scores

    def pairs(self, count: int) -> tuple[list[str], list[str]]:
        """The first validation pairs as text."""
        columns, config = self.validation.table.columns, self.validation.config
        return columns[config.source][:count], columns[config.target][:count]

    def sample(self) -> list[tuple[str, str]]:
        """Translations to look at."""
        texts = list(self.config.samples) or self.pairs(2)[0]
        return list(zip(texts, self.translator.translate(texts, beams=1), strict=True))

    def save(self, folder: Path) -> None:
        self.translator.save(folder)

    def set_recompute(self) -> None:
        self.model.encoder.recompute = self.model.decoder.recompute = True


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


def prepare(
    sections: dict[str, Any], folder: Path, start: Path | None = None
) -> tuple[TranslationTask, PairBatches, list[str]]:
    """Data, tokenizer, model and task of a recipe, and the lines of the report on them.

    start: the model folder whose weights to begin with. The tokenizer of a run is kept in its folder:
    going on with a run must not depend on training it again.
    """
    sizes, data, config, train = (sections[name] for name in ("model", "data", "task", "train"))
    torch.manual_seed(train.seed)
    table, held_out = data.tables()
    if start is not None:
        translator = open_translator(load_model(start))
        tokenizer = translator.needs_tokenizer()
    else:
        tokenizer = obtain_tokenizer(data, table, folder)
        filler, end = special_ids(tokenizer)
        settings = Settings(
            start=filler if tokenizer.start is None else tokenizer.start,
            stop=(end,),
            pad=filler,
            forbidden=(filler,),
            beams=config.beams,
            length_penalty=config.length_penalty,
        )
        translator = Translator(Transformer(sizes.config(tokenizer.vocab)), tokenizer, settings)
    if torch.cuda.is_available():
        translator.model.cuda()
    length, first, filler = translator.model.config.length, translator.settings.start, translator.settings.pad
    batches = PairBatches(table, tokenizer, data, length=length, start=first, filler=filler)
    validation = PairBatches(held_out, tokenizer, data, length=length, start=first, filler=filler)
    task = TranslationTask(translator, validation, config)
    return (
        task,
        batches,
        [
            f"training data: {table.name}",
            *batches.report.lines(),
            f"validation: {held_out.name}, {len(validation.rows):,} examples",
            f"vocabulary: {tokenizer.vocab:,} tokens; model: {parameters_of(translator.model):,} parameters",
            memory_line(translator.model, train, data.tokens_per_batch, len(batches.epoch(0))),
        ],
    )


def special_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """(padding, end of text), which training cannot do without."""
    if tokenizer.pad is None or tokenizer.eos is None:
        raise ConfigError(
            "the tokenizer must have a padding and an end-of-text token (pad_token, eos_token in tokenizer_config.json)"
        )
    return tokenizer.pad, tokenizer.eos


def obtain_tokenizer(data: ParallelData, table: Table, folder: Path) -> Tokenizer:
    """The run's own tokenizer, the one that the recipe names, or a joint BPE trained now on both sides."""
    kept = folder / "tokenizer"
    for place in (kept, Path(data.tokenizer) if data.tokenizer else None):
        if place is not None and (place != kept or kept.is_dir()):
            tokenizer = load_tokenizer(place, {})
            if tokenizer is None:
                raise ConfigError(
                    f"{place}: there is no tokenizer here; give a folder with tokenizer.json, or leave "
                    "data.tokenizer empty to train one"
                )
            return tokenizer
    tokenizer = train_bpe(chain(table.columns[data.source], table.columns[data.target]), data.vocab)
    write_folder(kept, tokenizer.files())
    return tokenizer
