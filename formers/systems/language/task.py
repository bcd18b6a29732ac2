"""Pre-training of language models: the next token of packed text; evaluation, samples, the report before training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from formers.data.packing import PackedRows, TextBatch
from formers.data.sources import Table
from formers.fields import Between, Count, Natural, check
from formers.models.causal import CausalLM
from formers.systems.begin import Beginning, Prepared, on_device
from formers.systems.language.data import Corpus, Stream, TextRows, report_on, rows_of
from formers.systems.language_model import LanguageModel, open_language
from formers.systems.measure import means
from formers.systems.next_token import features_and_labels, new_language, obtain_tokenizer, row_length, special_ids
from formers.systems.system import Report, cost, perplexity
from formers.training.task import Loss


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """How the model is judged while it learns."""

    evaluated: Count = 0
    """Rows of the validation text read at each evaluation, spread evenly over it (0: all)."""
    samples: tuple[str, ...] = ()
    """Beginnings to continue now and then while training ("": from nothing); empty: nothing, and a validation text."""
    sample_tokens: Natural = 60
    """Tokens of such a continuation."""
    temperature: Annotated[float, Between(0)] = 0.8
    """Temperature of such a continuation (0: always the likeliest token)."""

    def __post_init__(self) -> None:
        check(self, "task")


class LanguageTask:
    """What the trainer sees: the cross-entropy of every token after those before it in its document or window."""

    def __init__(
        self, language: LanguageModel, validation: PackedRows[Corpus] | Stream, config: LanguageConfig
    ) -> None:
        self.language, self.validation, self.config = language, validation, config
        self.model: CausalLM = language.model
        self.save = language.save

    def loss(self, batch: TextBatch) -> Loss:
        """Summed cross-entropy over the real labels; the logits never exist whole, those of padding not at all."""
        x, labels = features_and_labels(self.model, batch)
        return Loss(self.model.output.cross_entropy(x, labels), labels.numel())

    @torch.no_grad()
    def evaluate(self) -> Report:
        """Cross-entropy in nats per token, its exponential, and bits per character of the text.

        A token sees what is before it in its row, which is less than in `LanguageModel.score`. The end of a text is a
        token too, which has no characters. Of some rows only, the characters of a token are those of the average token
        of the whole validation text.
        """
        corpus, spread = self.validation.corpus, self.validation.spread(self.config.evaluated)
        mean = means(self.loss(self.validation.collate(rows)) for rows in spread)["loss"]
        bits = mean / math.log(2) * corpus.labels / max(1, corpus.characters)
        return Report([cost("loss", mean), perplexity(mean, "row_perplexity"), cost("bits_per_character", bits, "")])

    def sample(self) -> list[tuple[str, str]]:
        """Continuations to look at, the same random numbers every time."""
        prompts = list(self.config.samples) or ["", self.first_words()]
        continuations = self.language.generate(
            prompts, max_tokens=self.config.sample_tokens, seed=0, temperature=self.config.temperature, truncate=True
        )
        return [(prompt, str(text)) for prompt, text in zip(prompts, continuations, strict=True)]

    def first_words(self) -> str:
        """The first words of the validation text."""
        table = self.validation.corpus.table
        text: str = next(iter(table.columns.values()))[0]
        return " ".join(text[:200].split()[:6])

    def set_recompute(self) -> None:
        self.model.stack.recompute = True


def corpus_of(table: Table, rows: TextRows, language: LanguageModel) -> Corpus:
    """The documents of a table as tokens."""
    tokenizer = language.needs_tokenizer()
    first, last = special_ids(tokenizer)
    return Corpus(table, rows.column, tokenizer, start=first, end=last)


def task_of(language: LanguageModel, held_out: Table, beginning: Beginning) -> LanguageTask:
    """The task of a model with the rows that it is watched on."""
    rows: TextRows = beginning.rows
    length = row_length(rows.length, language.model.config.length)
    corpus = corpus_of(held_out, rows, language)
    validation = rows_of(corpus, rows, length, seed=beginning.source.seed, windows="consecutive")
    return LanguageTask(language, validation, beginning.task)


def prepare(beginning: Beginning) -> Prepared:
    """Text, tokenizer, model and task of a recipe, and the lines of the report on them."""
    rows, source = beginning.rows, beginning.source
    table, held_out = beginning.tables()
    if beginning.start is not None:
        language = open_language(beginning.loaded(), "language")
    else:
        texts = table.columns[rows.column]
        tokenizer = obtain_tokenizer(beginning, texts, opening=rows.packing != "stream")
        language = new_language(beginning.sizes, tokenizer)
    on_device(language.model)
    tokenizer = language.needs_tokenizer()
    length = row_length(rows.length, language.model.config.length)
    corpus = corpus_of(table, rows, language)
    batches = rows_of(corpus, rows, length, seed=source.seed)
    task = task_of(language, held_out, beginning)
    watched = task.validation.corpus
    used = len(np.unique(corpus.tokens))
    missed = 0.0 if tokenizer.unk is None else float((watched.tokens == tokenizer.unk).mean())
    lines = [
        f"training data: {table.described}",
        *report_on(corpus, batches, rows.column, tokenizer.unk).lines(),
        f"validation: {held_out.name}, {len(held_out):,} documents, {watched.labels:,} tokens, unknown {missed:.3%}",
    ]
    besides = f", {used:,} of them in the training text"
    return beginning.prepared(task, batches, lines, tokenizer, besides=besides, beside=language.beside)
