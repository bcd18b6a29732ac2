"""Training of sentence vectors: one encoder reads every side; validation by rank correlation with what people say.

    rows -> tokens of all sides -> Encoder -> pool (-> length 1) -> objective (systems/embedding.py)

What is particular: with `task.chunk` only so many texts' activations exist at a time; several processes share a batch
and each compares its rows with those of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from formers.blocks.pooling import Pooling, pool
from formers.data.batching import pad
from formers.data.likeness import Likeness, LikenessBatch, LikenessData, classes_of
from formers.data.sources import Table
from formers.errors import ConfigError
from formers.files import Content
from formers.metrics.correlation import pearson, spearman
from formers.models.encoder import Encoder
from formers.models.sentence import Normalise, SentenceHead
from formers.pretrained.load import save_model
from formers.pretrained.sentence_folder import SentenceSettings, read_modules, read_sentence_folder, sentence_files
from formers.systems.embedding import OBJECTIVES, TOGETHER, EmbeddingConfig, objective
from formers.systems.encoders import Begun, begin
from formers.systems.report import memory_line, parameters_of
from formers.text.reader import Inputs, Reader
from formers.training.contrastive import ALL, chunked
from formers.training.distributed import gather
from formers.training.task import Loss

EVALUATED = 8192  # tokens of a batch that needs no gradients


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
        begun: Begun,
        reader: Reader,
        config: EmbeddingConfig,
        *,
        held: Likeness | None = None,
        scored: Table | None = None,
        data: LikenessData,
        classes: int = 0,
    ) -> None:
        """held: rows to watch the loss on; scored: pairs to correlate with; classes: of the softmax."""
        self.encoder, self.tokenizer, self.family = begun.encoder, begun.tokenizer, begun.family
        self.reader, self.config, self.data, self.held, self.scored = reader, config, data, held, scored
        self.model: nn.Module = self.encoder
        self.matrix: nn.Linear | None = None
        if config.objective == "softmax":
            parts = len(config.concatenation.split(","))
            self.matrix = nn.Linear(parts * self.encoder.config.stack.dim, classes, bias=False)
            self.matrix.to(self.device)
            self.model = Siamese(self.encoder, self.matrix)

    @property
    def device(self) -> torch.device:
        return self.encoder.embedding.weight.device

    def loss(self, batch: LikenessBatch) -> Loss:
        """Summed over rows; the vectors are compared in fp32."""
        device = self.device
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
        x = pool(self.model(tokens, keep=keep), keep, cast(Pooling, self.config.pooling))
        return F.normalize(x, dim=-1) if self.config.normalise else x

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """The vectors of texts, (texts, dim), in fp32 on the CPU; texts of similar length are read together."""
        read = [encoding.ids for encoding in self.reader.read(texts, length=self.data.length, offsets=False)]
        order = sorted(range(len(read)), key=lambda row: -len(read[row]))
        out = torch.empty(len(read), self.encoder.config.stack.dim)
        start = 0
        while start < len(order):
            rows = order[start : start + max(1, EVALUATED // len(read[order[start]]))]
            tokens, keep = pad([read[row] for row in rows], self.reader.pad)
            keep = None if keep is None else keep.to(self.device)
            out[rows] = self.vectors(tokens.to(self.device), keep).float().cpu()
            start += len(rows)
        return out

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Spearman and Pearson, times 100, of cosines with the scores of validation pairs; the loss of held-out rows,
        with its parts, such as the accuracy of the classes or of finding a positive in its batch.
        """
        scores: dict[str, float] = {}
        if self.held is not None:
            sums: dict[str, float] = {}
            count = 0
            for rows in self.held.epoch(0):
                loss = self.loss(self.held.collate(rows))
                for name, value in {"loss": loss.total, **loss.parts}.items():
                    sums[name] = sums.get(name, 0.0) + float(value)
                count += int(loss.count)
            scores.update({name: value / count for name, value in sums.items() if name != "tokens"})
        if self.scored is not None:
            columns = self.scored.columns
            scores.update(
                correlations(self, columns[self.data.first], columns[self.data.second], columns[self.data.score])
            )
        return scores

    def sample(self) -> list[tuple[str, str]]:
        """Sentences, each with the nearest of the validation sentences that are not the same."""
        texts = self.sentences()
        asked = list(self.config.samples) or texts[:4]
        if len(texts) < 2:
            return []
        x = F.normalize(self.encode([*asked, *texts]), dim=-1)
        cosines = x[: len(asked)] @ x[len(asked) :].T
        same = torch.tensor([[one == other for other in texts] for one in asked])
        best, place = cosines.masked_fill(same, -2.0).max(1)
        return [(one, f"{best[row]:.3f} {texts[int(place[row])]}") for row, one in enumerate(asked)]

    def sentences(self, most: int = 500) -> list[str]:
        """Different sentences of the validation pairs, else of the held-out rows."""
        if self.scored is not None:
            columns = [self.scored.columns[name] for name in (self.data.first, self.data.second)]
            found = [text for row in zip(*columns, strict=True) for text in row]
        elif self.held is not None:
            found = texts_of(self.held.table, self.data)
        else:
            return []
        return list(dict.fromkeys(found))[:most]

    def save(self, folder: Path) -> None:
        """A folder of sentence-transformers: the encoder, its pooling, its length."""
        save_model(folder, self.encoder, tokenizer=self.tokenizer, extra=self.beside())

    def beside(self) -> dict[str, Content]:
        """The files that say how a vector is made of the encoder's."""
        head = SentenceHead((self.config.pooling,), [Normalise()] if self.config.normalise else [])
        settings = SentenceSettings(length=self.data.length or self.reader.length)
        return sentence_files(head, self.encoder.config.stack.dim, settings)

    def set_recompute(self) -> None:
        self.encoder.stack.recompute = True


def correlations(
    task: EmbeddingTask, firsts: Sequence[str], seconds: Sequence[str], scores: Sequence[float]
) -> dict[str, float]:
    """Spearman and Pearson, times 100, of the cosines of pairs with their scores (SBERT reports the first)."""
    texts = list(dict.fromkeys([*firsts, *seconds]))
    place = {text: number for number, text in enumerate(texts)}
    x = F.normalize(task.encode(texts), dim=-1)
    u, v = (x[[place[text] for text in side]] for side in (firsts, seconds))
    cosines = (u * v).sum(1).double().numpy()
    return {"spearman": 100 * spearman(cosines, scores), "pearson": 100 * pearson(cosines, scores)}


def texts_of(table: Table, data: LikenessData) -> list[str]:
    """All texts of the training rows, row by row."""
    columns = [table.columns[name] for name in data.sides]
    members = columns[0] if data.rows == "groups" else zip(*columns, strict=True)
    return [text for row in members for text in row]


# ---- a recipe's ---------------------------------------------------------------------------------------------


def prepare(
    sections: dict[str, Any], folder: Path, start: Path | None = None
) -> tuple[EmbeddingTask, Likeness, list[str]]:
    """Rows, encoder and task of a recipe, and the lines of the report on them.

    start: the model folder whose encoder and tokenizer to begin with.
    """
    sizes, data, config, train = (sections[name] for name in ("model", "data", "task", "train"))
    check(data, config, sections.get("adapter"))
    torch.manual_seed(train.seed)
    table, held_out, scored = data.tables()
    classes = classes_of(table, data.label) if data.rows == "labelled" else []
    if held_out is not None and classes:
        check_classes(held_out, data.label, classes)
    begun = begin(sizes, data, texts_of(table, data), folder, start, pooler=False)
    check_dims(config, begun.encoder.config.stack.dim)
    reader = begun.reader(data.length)
    batches = Likeness(table, data, reader, classes)
    held = None if held_out is None else Likeness(held_out, data, reader, classes)
    task = EmbeddingTask(begun, reader, config, held=held, scored=scored, data=data, classes=len(classes))
    plan = batches.epoch(0)
    longest = batches.collate(plan[0]).texts.tokens.numel()
    lines = [
        f"training data: {table.name}",
        *batches.report(begun.tokenizer.unk).lines(),
        f"batches: {len(plan):,} an epoch, of {min(map(len, plan)):,} to {max(map(len, plan)):,} rows",
    ]
    if held is not None:
        lines.append(f"held out: {held.table.name}, {len(held.table):,} rows, whose loss is watched")
    if scored is not None:
        lines.append(f"validation: {scored.name}, {len(scored):,} scored pairs")
    lines += [
        f"vocabulary: {begun.tokenizer.vocab:,} tokens; model: {parameters_of(task.model):,} parameters, "
        f"{config.pooling} pooling",
        memory_line(task.model, train, longest, len(plan)),
        *warnings(config, train.accumulate, scored),
        *departures(config, start, begun.encoder.config.stack.dim),
    ]
    return task, batches, lines


def check(data: LikenessData, config: EmbeddingConfig, adapter: Any) -> None:
    """Refuse rows that the objective cannot learn from. Raises ConfigError."""
    wanted = OBJECTIVES[config.objective]
    if data.rows not in wanted:
        fits = [name for name, rows in OBJECTIVES.items() if data.rows in rows]
        raise ConfigError(
            f'task.objective "{config.objective}" learns from rows of {" or ".join(wanted)}, but '
            f'data.rows is "{data.rows}", which {" and ".join(fits)} learn from; change one of the two'
        )
    if config.objective == "in_batch" and data.tokens_per_batch:
        raise ConfigError(
            f"data.tokens_per_batch is {data.tokens_per_batch}, but must be 0 for task.objective in_batch"
            ", whose negatives are the other rows of a batch: set data.rows_per_batch"
        )
    if config.objective == "triplet" and len(data.negatives) != 1:
        raise ConfigError(
            f"data.negatives has {len(data.negatives)} columns, but triplets have one negative; "
            'take one, or task.objective = "in_batch"'
        )
    if config.objective == "softmax" and adapter is not None and adapter.kind != "none":
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
            "its own rows; for more negatives in the same memory raise data.rows_per_batch and set "
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
