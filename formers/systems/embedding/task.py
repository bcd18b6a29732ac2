"""Training of sentence vectors: one encoder reads every side; validation by rank correlation with what people say.

    rows -> tokens of all sides -> Encoder -> pool (-> length 1) -> objective

What is particular: with `task.chunk` only so many texts' activations exist at a time; several processes share a batch
and each compares its rows with those of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from formers.adapters.config import AdapterConfig
from formers.blocks.pooling import pool
from formers.data.sources import Table
from formers.errors import ConfigError
from formers.models.encoder import Encoder
from formers.models.sentence import Normalise, SentenceHead
from formers.pretrained.sentence_folder import SentenceSettings, read_modules, read_sentence_folder
from formers.systems.begin import Beginning, Prepared
from formers.systems.embedding.data import Likeness, LikenessBatch, LikenessRows, classes_of
from formers.systems.embedding.objective import OBJECTIVES, TOGETHER, EmbeddingConfig, objective
from formers.systems.embedding.system import SentenceEncoder
from formers.systems.encoders import begin
from formers.systems.measure import means
from formers.systems.system import Report, Score, cost, share
from formers.text.reader import Inputs
from formers.training.contrastive import ALL, chunked
from formers.training.distributed import gather
from formers.training.task import Loss


class Siamese(nn.Module):
    """An encoder with the matrix of its softmax: what learns, in one module."""

    def __init__(self, encoder: Encoder, matrix: nn.Linear) -> None:
        super().__init__()
        self.encoder, self.matrix = encoder, matrix

    def forward(self, tokens: Tensor, *, segments: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """The encoder's hidden states."""
        return self.encoder(tokens, segments=segments, keep=keep)


class EmbeddingTask:
    """What the trainer sees: the objective on the vectors of a batch. `model` is the encoder, or a `Siamese`."""

    def __init__(
        self,
        sentences: SentenceEncoder,
        config: EmbeddingConfig,
        rows: LikenessRows,
        *,
        aside: Likeness | None = None,
        scored: Table | None = None,
        classes: int = 0,
    ) -> None:
        """aside: rows to watch the loss on; scored: pairs to correlate with; classes: of the softmax."""
        self.sentences, self.encoder, self.save = sentences, sentences.model, sentences.save
        self.config, self.rows, self.aside, self.scored = config, rows, aside, scored
        self.model: nn.Module = self.encoder
        self.matrix: nn.Linear | None = None
        if config.objective == "softmax":
            parts = len(config.concatenation.split(","))
            self.matrix = nn.Linear(parts * self.encoder.config.stack.dim, classes, bias=False)
            self.matrix.to(sentences.device)
            self.model = Siamese(self.encoder, self.matrix)

    def loss(self, batch: LikenessBatch) -> Loss:
        """Summed over rows; the vectors are compared in fp32."""
        device = self.sentences.device
        vectors = self.embed(batch.texts.to(device)).unflatten(0, (batch.sides, -1)).float()
        same, groups = batch.same.to(device), batch.groups.to(device)
        values, own = None if batch.values is None else batch.values.to(device), ALL
        if self.config.objective in TOGETHER:
            rows, own = gather(vectors.transpose(0, 1))
            vectors, same, groups = rows.transpose(0, 1), gather(same.T)[0].T, gather(groups)[0]
            values = None if values is None else gather(values)[0]
        whole = LikenessBatch(batch.texts, batch.sides, same, groups, values)
        with torch.autocast(device.type, enabled=False):
            losses = objective(self.config, whole, self.matrix, own)(vectors)
        return losses.sum(
            tokens=batch.texts.tokens.numel() if batch.texts.keep is None else int(batch.texts.keep.sum())
        )

    def embed(self, texts: Inputs) -> Tensor:
        """The vectors of texts, (rows, dim), a chunk at a time where gradients are wanted and `task.chunk` says so."""
        return chunked(self.vectors, self.config.chunk, texts.tokens, texts.keep)

    def vectors(self, tokens: Tensor, keep: Tensor | None = None) -> Tensor:
        """(rows, dim) of tokens (rows, length)."""
        x = pool(self.model(tokens, keep=keep), keep, self.config.pooling)
        return F.normalize(x, dim=-1) if self.config.normalise else x

    @torch.no_grad()
    def evaluate(self) -> Report:
        """The loss of the rows that were set aside, with its parts, such as the accuracy of the classes or of finding a
        positive in its batch; Spearman and Pearson of cosines with the scores of validation pairs.
        """
        scores: list[Score] = []
        if self.aside is not None:
            parts = means(self.loss(self.aside.collate(rows)) for rows in self.aside.epoch(0))
            scores = [share(name, mean) if name == "accuracy" else cost(name, mean, "") for name, mean in parts.items()]
        if self.scored is not None:
            columns = self.scored.columns
            scores += self.sentences.evaluate(
                *(columns[name] for name in (self.rows.first, self.rows.second, self.rows.score))
            ).scores
        return Report(scores)

    def sample(self) -> list[tuple[str, str]]:
        """Sentences, each with the nearest of the validation sentences that are not the same."""
        texts = self.validation_texts()
        samples = list(self.config.samples) or texts[:4]
        if len(texts) < 2:
            return []
        x = self.sentences.encode([*samples, *texts], normalise=True)
        cosines = x[: len(samples)] @ x[len(samples) :].T
        cosines[[[sample == text for text in texts] for sample in samples]] = -2.0
        places = cosines.argmax(1)
        return [
            (sample, f"{row[place]:.3f} {texts[place]}")
            for sample, row, place in zip(samples, cosines, places, strict=True)
        ]

    def validation_texts(self, most: int = 500) -> list[str]:
        """Different sentences of the validation pairs, else of the rows that were set aside."""
        texts: list[str] = []
        if self.scored is not None:
            columns = [self.scored.columns[name] for name in (self.rows.first, self.rows.second)]
            texts = [text for row in zip(*columns, strict=True) for text in row]
        elif self.aside is not None:
            texts = self.rows.texts(self.aside.table)
        return list(dict.fromkeys(texts))[:most]

    def set_recompute(self) -> None:
        self.encoder.stack.recompute = True


# ---- a recipe's ---------------------------------------------------------------------------------------------


def prepare(beginning: Beginning) -> Prepared:
    """Rows, encoder and task of a recipe, and the lines of the report on them."""
    rows, config, source, start = beginning.rows, beginning.task, beginning.source, beginning.start
    refuse(rows, config, beginning.sections["adapter"])
    table, aside, scored = rows.tables(source)
    classes = classes_of(table, rows.label) if rows.rows == "labelled" else []
    if aside is not None and classes:
        check_classes(aside, rows.label, classes)
    begun = begin(beginning, rows.texts(table), pooler=False)
    dim = begun.encoder.config.stack.dim
    check_dims(config, dim)
    reader = begun.reader(rows.length)
    batches, watched = (
        None if part is None else Likeness(part, rows, reader, classes, seed=source.seed) for part in (table, aside)
    )
    assert batches is not None
    head = SentenceHead((config.pooling,), [Normalise()] if config.normalise else [])
    sentences = SentenceEncoder(begun.encoder, begun.tokenizer, head, SentenceSettings(length=reader.length))
    task = EmbeddingTask(sentences, config, rows, aside=watched, scored=scored, classes=len(classes))
    plan = batches.epoch(0)
    lines = [
        f"training data: {table.described}",
        *batches.report(begun.tokenizer.unk).lines(),
        f"batches: {len(plan):,} an epoch, of {min(map(len, plan)):,} to {max(map(len, plan)):,} rows",
    ]
    if aside is not None:
        lines.append(f"held out: {aside.name}, {len(aside):,} rows, whose loss is watched")
    if scored is not None:
        lines.append(f"validation: {scored.name}, {len(scored):,} scored pairs")
    lines += warnings(config, beginning.sections["train"].accumulate, scored)
    lines += departures(config, start, dim)
    return beginning.prepared(
        task,
        batches,
        lines,
        begun.tokenizer,
        besides=f", {config.pooling} pooling",
        tokens=batches.collate(plan[0]).texts.tokens.numel(),
        beside=sentences.head_files,
    )


def refuse(rows: LikenessRows, config: EmbeddingConfig, adapter: AdapterConfig) -> None:
    """Refuse rows that the objective cannot learn from. Raises ConfigError."""
    kinds = OBJECTIVES[config.objective]
    if rows.rows not in kinds:
        fits = [name for name, others in OBJECTIVES.items() if rows.rows in others]
        raise ConfigError(
            f'task.objective "{config.objective}" learns from rows of {" or ".join(kinds)}, but '
            f'rows.rows is "{rows.rows}", which {" and ".join(fits)} learn from; change one of the two'
        )
    if config.objective == "in_batch" and rows.tokens_per_batch:
        raise ConfigError(
            f"rows.tokens_per_batch is {rows.tokens_per_batch}, but must be 0 for task.objective in_batch"
            ", whose negatives are the other rows of a batch: set rows.rows_per_batch"
        )
    if config.objective == "triplet" and len(rows.negatives) != 1:
        raise ConfigError(
            f"rows.negatives has {len(rows.negatives)} columns, but triplets have one negative; "
            'take one, or task.objective = "in_batch"'
        )
    if config.objective == "softmax" and adapter.kind != "none":
        raise ConfigError(
            f'adapter.kind "{adapter.kind}" saves no softmax matrix: use another task.objective, or '
            'adapter.kind = "none"'
        )


def check_dims(config: EmbeddingConfig, dim: int) -> None:
    if config.dims and max(config.dims) >= dim:
        raise ConfigError(
            f"task.dims {list(config.dims)} must be less than the width of the vectors, {dim}, which is learned anyway"
        )


def check_classes(table: Table, column: str, classes: Sequence[Any]) -> None:
    """Refuse held-out rows of a class that no training row has."""
    row = next((row for row, value in enumerate(table.columns[column]) if value not in classes), None)
    if row is not None:
        raise ConfigError(
            f"{table.where(row)}: the class {table.columns[column][row]!r} occurs in no other row; give "
            "it more rows, or set data.held_out = 0"
        )


def warnings(config: EmbeddingConfig, accumulate: int, scored: Table | None) -> list[str]:
    """What a reader of the report should know before the first step."""
    lines = []
    if config.objective == "in_batch" and accumulate > 1:
        lines.append(
            f"warning: train.accumulate ({accumulate}) adds gradients but no negatives: each batch sees only "
            "its own rows; for more negatives in the same memory raise rows.rows_per_batch and set "
            "task.chunk (cached gradients)"
        )
    if scored is None:
        lines.append("warning: no scored validation pairs, so no Spearman correlation: name some in data.validation")
    return lines


def departures(config: EmbeddingConfig, start: Path | None, dim: int) -> list[str]:
    """Where the vectors that are trained differ from those of the sentence encoder to begin with."""
    if start is None or not start.is_dir() or read_modules(start) is None:
        return []
    head, _, _ = read_sentence_folder(start, dim)
    kinds = [type(step).__name__ for step in head.steps]
    given = " and ".join((", ".join(head.poolings) + " pooling", *kinds))
    if head.poolings == (config.pooling,) and kinds == ["Normalise"] * config.normalise:
        return []
    return [
        f"warning: {start} has {given}; now trained are vectors of {config.pooling} pooling"
        f"{', normalised' if config.normalise else ''} (task.pooling, task.normalise)"
    ]
