"""Pre-training of language models: the next token of packed text; evaluation, samples, the report before training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from formers.data.language import Corpus, Packed, Stream, TextBatch, report_on, rows_of
from formers.decoding.settings import Settings
from formers.errors import ConfigError
from formers.models.causal import CausalLM
from formers.pretrained.files import write_folder
from formers.pretrained.load import load_model
from formers.systems.language import LanguageModel, open_language
from formers.systems.report import memory_line, parameters_of
from formers.systems.sizes import CausalSizes
from formers.text.open import load_tokenizer
from formers.text.tokenizer import Tokenizer
from formers.text.training import characters, train_byte_bpe
from formers.training.task import Loss


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """How the model is judged while it learns."""

    evaluated: int = 0
    """Rows of the validation text read at each evaluation, spread evenly over it (0: all)."""
    samples: tuple[str, ...] = ()
    """Beginnings to continue now and then while training ("": from nothing); empty: nothing, and a validation text."""
    sample_tokens: int = 60
    """Tokens of such a continuation."""
    temperature: float = 0.8
    """Temperature of such a continuation (0: always the likeliest token)."""

    def __post_init__(self) -> None:
        for name, least in (("evaluated", 0), ("sample_tokens", 1), ("temperature", 0)):
            if not getattr(self, name) >= least:
                raise ConfigError(f"task.{name} ({getattr(self, name)}) must be at least {least}")


class LanguageTask:
    """What the trainer sees: the cross-entropy of every token after those before it in its document or window."""

    def __init__(self, language: LanguageModel, validation: Packed | Stream, config: LanguageConfig) -> None:
        self.language, self.validation, self.config = language, validation, config
        self.model: CausalLM = language.model

    def loss(self, batch: TextBatch) -> Loss:
        """Summed cross-entropy over the real labels; the logits never exist whole, those of padding not at all."""
        x, labels = learned(self.model, batch)
        return Loss(self.model.output.cross_entropy(x, labels), labels.numel())

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Cross-entropy in nats per token, its exponential (perplexity), and bits per character of the text.

        The end of a text is a token too, which has no characters. Of some rows only, the characters of a token are
        those of the average token of the whole validation text.
        """
        total, count, corpus = 0.0, 0, self.validation.corpus
        for rows in self.validation.spread(self.config.evaluated):
            loss = self.loss(self.validation.collate(rows))
            total, count = total + loss.total.item(), count + int(loss.count)
        mean = total / count
        bits = mean / math.log(2) * corpus.labels / max(1, corpus.characters)
        return {"loss": mean, "perplexity": math.exp(min(50.0, mean)), "bits_per_character": bits}

    def sample(self) -> list[tuple[str, str]]:
        """Continuations to look at, the same random numbers every time."""
        prompts = list(self.config.samples) or ["", self.beginning()]
        found = self.language.generate(
            prompts, max_tokens=self.config.sample_tokens, seed=0, temperature=self.config.temperature, truncate=True
        )
        return [(prompt, str(each)) for prompt, each in zip(prompts, found, strict=True)]

    def beginning(self) -> str:
        """The first words of the validation text."""
        table = self.validation.corpus.table
        text: str = next(iter(table.columns.values()))[0]
        return " ".join(text[:200].split()[:6])

    def save(self, folder: Path) -> None:
        self.language.save(folder)

    def set_recompute(self) -> None:
        self.model.stack.recompute = True


def learned(model: CausalLM, batch: TextBatch) -> tuple[Tensor, Tensor]:
    """What the head reads, (labels, dim), where a label is to be said, and these labels."""
    device = model.embedding.weight.device
    documents = None if batch.documents is None else batch.documents.to(device)
    x = model.features(batch.tokens.to(device), documents=documents)
    labels = batch.labels.to(device)
    if batch.real is None:
        return x.flatten(0, 1), labels.flatten()
    real = batch.real.to(device)
    return x[real], labels[real]


def prepare(
    sections: dict[str, Any], folder: Path, start: Path | None = None
) -> tuple[LanguageTask, Packed | Stream, list[str]]:
    """Text, tokenizer, model and task of a recipe, and the lines of the report on them.

    start: the model folder whose weights and tokenizer to begin with. The tokenizer of a run is kept in its folder:
    going on with a run must not depend on training it again.
    """
    sizes, data, config, train = (sections[name] for name in ("model", "data", "task", "train"))
    torch.manual_seed(train.seed)
    table, held_out = data.tables()
    if start is not None:
        language = open_language(load_model(start))
        tokenizer = language.needs_tokenizer()
    else:
        tokenizer = obtain_tokenizer(data, table.columns[data.column], folder, opening=data.packing != "stream")
        language = new_language(sizes, tokenizer)
    if torch.cuda.is_available():
        language.model.cuda()
    first, last = special_ids(tokenizer)
    length = row_length(data.length, language.model.config.length)
    corpus = Corpus(table, data.column, tokenizer, start=first, end=last)
    heard = Corpus(held_out, data.column, tokenizer, start=first, end=last)
    rows, watched = rows_of(corpus, data, length), rows_of(heard, data, length, windows="consecutive")
    used = len(np.unique(corpus.tokens))
    missed = 0.0 if tokenizer.unk is None else float((heard.tokens == tokenizer.unk).mean())
    return (
        LanguageTask(language, watched, config),
        rows,
        [
            f"training data: {table.name}",
            *report_on(corpus, rows, data.column, tokenizer.unk).lines(),
            f"validation: {held_out.name}, {len(held_out):,} documents, {heard.labels:,} tokens, unknown {missed:.3%}",
            f"vocabulary: {tokenizer.vocab:,} tokens, {used:,} of them in the training text; "
            f"model: {parameters_of(language.model):,} parameters",
            memory_line(language.model, train, data.tokens_per_batch, len(rows.epoch(0))),
        ],
    )


def new_language(sizes: CausalSizes, tokenizer: Tokenizer) -> LanguageModel:
    """A model of these sizes that has learned nothing, and writes until its tokenizer's end of text."""
    first, last = special_ids(tokenizer)
    filler = last if tokenizer.pad is None else tokenizer.pad
    settings = Settings(start=first, stop=(last,), pad=filler, bos=first)
    return LanguageModel(CausalLM(sizes.config(tokenizer.vocab)), tokenizer, settings)


def row_length(length: int, longest: int) -> int:
    """Tokens of a row, which the model must be able to see at once."""
    if length > longest:
        raise ConfigError(f"data.length ({length}) must not be more than the model's length ({longest})")
    return length or longest


def special_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """(start of text, end of text); the end token also begins texts where there is no other."""
    if tokenizer.eos is None:
        raise ConfigError("the tokenizer must have an end-of-text token (eos_token in tokenizer_config.json)")
    return tokenizer.eos if tokenizer.bos is None else tokenizer.bos, tokenizer.eos


class TokenizerChoice(Protocol):
    """What a [data] section says of the tokenizer."""

    @property
    def tokenizer(self) -> str: ...
    @property
    def vocab(self) -> int: ...


def obtain_tokenizer(data: TokenizerChoice, texts: list[str], folder: Path, *, opening: bool = True) -> Tokenizer:
    """The run's own tokenizer, the one that the recipe names, or one trained now on the training text.

    opening: a new one puts its start token before a text: whole documents begin with it, so prompts must.
    """
    kept = folder / "tokenizer"
    named = None if data.tokenizer in ("bpe", "characters") else Path(data.tokenizer).expanduser()
    for place in (kept, named):
        if place is not None and (place != kept or kept.is_dir()):
            tokenizer = load_tokenizer(place, {}) if place.is_dir() else None
            if tokenizer is None:
                raise ConfigError(
                    f'data.tokenizer "{place}": there is no tokenizer here; give a folder with '
                    'tokenizer.json, or "bpe" or "characters" to train one'
                )
            return tokenizer
    if data.tokenizer == "characters":
        tokenizer = characters(texts, opening=opening)
    else:
        tokenizer = train_byte_bpe(texts, data.vocab, opening=opening)
    write_folder(kept, tokenizer.files())
    return tokenizer
