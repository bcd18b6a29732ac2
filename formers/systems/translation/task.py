"""Learning to translate: teacher forcing with label smoothing on sentence pairs, scores on held-out ones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Annotated

import torch

from formers.decoding.settings import Settings
from formers.errors import ConfigError
from formers.fields import Between, Count, Natural, check
from formers.models.transformer import Transformer
from formers.systems.begin import Beginning, Prepared, on_device
from formers.systems.measure import means
from formers.systems.memory import new_model
from formers.systems.system import Report, Score, cost, perplexity
from formers.systems.translation.data import PairBatch, PairBatches
from formers.systems.translation.system import Translator, open_translator, scores_of
from formers.text.language_tokenizer import LanguageTokenizer
from formers.text.open import train_bpe
from formers.text.tokenizer import Tokenizer
from formers.training.task import Loss


@dataclass(frozen=True, kw_only=True)
class TranslationConfig:
    """What is learned and how it is judged."""

    label_smoothing: Annotated[float, Between(0, below=1)] = 0.1
    """Share of the probability that is spread over all tokens (Szegedy et al. 2016; 0.1 in the 2017 paper)."""
    decoded: Count = 0
    """Validation sentences that are translated greedily at each evaluation for BLEU and exact match (0: none)."""
    samples: tuple[str, ...] = ()
    """Sentences to translate now and then while training; empty: from the validation data."""
    beams: Natural = 1
    """Beams that the saved model uses unless told otherwise."""
    length_penalty: float = 1.0
    """Length penalty that the saved model uses unless told otherwise."""

    def __post_init__(self) -> None:
        check(self, "task")


class TranslationTask:
    """What the trainer sees: teacher forcing with label smoothing, scores on held-out pairs."""

    def __init__(self, translator: Translator, validation: PairBatches, config: TranslationConfig) -> None:
        self.translator, self.validation, self.config = translator, validation, config
        self.model, self.save = translator.model, translator.save

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
    def evaluate(self) -> Report:
        """Cross-entropy per token (no smoothing), perplexity; BLEU and exact match of the first `decoded` pairs."""
        losses = (self.loss(self.validation.collate(rows), smoothing=0.0) for rows in self.validation.epoch(0))
        mean = means(losses)["loss"]
        scores: list[Score] = [cost("loss", mean), perplexity(mean)]
        if self.config.decoded:
            sources, targets = self.pairs(self.config.decoded)
            best = self.translator.candidates(sources, beams=1)
            scores += scores_of([candidates[0].text for candidates in best], targets)[0]
        return Report(scores)

    def pairs(self, count: int) -> tuple[list[str], list[str]]:
        """The first validation pairs as text."""
        columns, config = self.validation.table.columns, self.validation.config
        return columns[config.source][:count], columns[config.target][:count]

    def sample(self) -> list[tuple[str, str]]:
        """Translations to look at."""
        texts = list(self.config.samples) or self.pairs(2)[0]
        return list(zip(texts, self.translator.translate(texts, beams=1), strict=True))

    def set_recompute(self) -> None:
        self.model.encoder.recompute = self.model.decoder.recompute = True


def prepare(beginning: Beginning) -> Prepared:
    """Sentence pairs, tokenizer, model and task of a recipe, and the lines of the report on them."""
    rows, config, source = beginning.rows, beginning.task, beginning.source
    table, held_out = beginning.tables()
    if beginning.start is not None:
        whole = open_translator(beginning.loaded())
        translator = whole.speaking(to=rows.to, source_language=rows.source_language)
        tokenizer = translator.needs_tokenizer()
        if isinstance(tokenizer, LanguageTokenizer):
            tokenizer.languages.check_target()
    elif asked := rows.to or rows.source_language:
        raise ConfigError(f'rows: "{asked}" is for a model that tells languages apart; name one in model.start')
    else:
        texts = chain(table.columns[rows.source], table.columns[rows.target])
        tokenizer = beginning.tokenizer(lambda: train_bpe(texts, rows.vocab), files="tokenizer.json")
        filler, end = special_ids(tokenizer)
        settings = Settings(
            start=filler if tokenizer.start is None else tokenizer.start,
            stop=(end,),
            pad=filler,
            forbidden=(filler,),
            beams=config.beams,
            length_penalty=config.length_penalty,
        )
        translator = Translator(new_model(Transformer, beginning.sizes.config(tokenizer.vocab)), tokenizer, settings)
    on_device(translator.model)
    batches, validation = (
        PairBatches(
            part,
            tokenizer,
            rows,
            length=translator.model.config.length,
            start=translator.settings.start,
            filler=translator.settings.pad,
            seed=source.seed,
        )
        for part in (table, held_out)
    )
    lines = [
        f"training data: {table.described}",
        *batches.report.lines(),
        f"validation: {held_out.name}, {len(validation.rows):,} examples",
    ]
    task = TranslationTask(translator, validation, config)
    return beginning.prepared(task, batches, lines, tokenizer)


def special_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """(padding, end of text), which training cannot do without."""
    if tokenizer.pad is None or tokenizer.eos is None:
        raise ConfigError(
            "the tokenizer must have a padding and an end-of-text token (pad_token, eos_token in tokenizer_config.json)"
        )
    return tokenizer.pad, tokenizer.eos
