"""Direct preference optimisation: a language model learns which of two answers to prefer.

    chosen, rejected -> log-probability of each answer -> against those of the model at the beginning -> logistic loss

Paper: Rafailov et al. 2023 (DPO). What is particular:
  * The log-probabilities of the beginning, the reference, are computed once before training and kept in the run's
    folder; no second model is held.
  * `label_smoothing` is the share of pairs that may be the wrong way round (conservative DPO, Mitchell 2023).
  * `likelihood` adds the chosen answers' own cross-entropy (Pang et al. 2024), for a model that cannot answer yet.
"""

from __future__ import annotations

import hashlib
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from formers.blocks.mode import inference
from formers.data.sources import Table
from formers.decoding.log_probabilities import token_log_probabilities
from formers.errors import ConfigError
from formers.fields import Between, Count, Natural, check
from formers.files import replace_file
from formers.models.causal import CausalLM
from formers.systems.begin import Beginning, Prepared
from formers.systems.conversing import encoder_of, obtain_model, prepared, sample_answers, texts_of
from formers.systems.language_model import LanguageModel
from formers.systems.measure import means
from formers.systems.next_token import row_length
from formers.systems.preferences.data import SIDES, PreferenceBatch, Preferences
from formers.systems.system import Report, Score, cost, share
from formers.text.chat import ChatEncoder
from formers.training.task import Loss

REFERENCE = "reference.npz"


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig:
    """How strongly the preferences are followed, and how the model is judged while it learns."""

    beta: Annotated[float, Between(above=0)] = 0.1
    """How dear it is to leave the model of the beginning: larger stays nearer to it."""
    label_smoothing: Annotated[float, Between(0, below=0.5)] = 0.0
    """Share of the pairs that are thought to be the wrong way round."""
    likelihood: Annotated[float, Between(0)] = 0.0
    """Weight of the chosen answers' own cross-entropy per token beside the preference loss."""
    evaluated: Count = 0
    """Validation pairs read at each evaluation (0: all)."""
    samples: tuple[str, ...] = ()
    """Questions to answer now and then while training; empty: two of the validation questions."""
    sample_tokens: Natural = 100
    """Most tokens of an answer."""

    def __post_init__(self) -> None:
        check(self, "task")


class PreferenceTask:
    """What the trainer sees: the DPO loss of pairs, with how often and how far the better answer is preferred."""

    def __init__(
        self, language: LanguageModel, encoder: ChatEncoder, validation: Preferences, config: PreferenceConfig
    ) -> None:
        """validation: with its reference."""
        self.language, self.encoder, self.validation, self.config = language, encoder, validation, config
        self.model: CausalLM = language.model
        self.save = language.save

    def loss(self, batch: PreferenceBatch) -> Loss:
        """Summed over pairs. Its parts: `preference` (the DPO loss alone), `right` (whether the chosen answer gained
        more than the rejected one), `margin` (by how much, times beta), `likelihood` (of the chosen, per token).
        """
        assert batch.reference is not None  # prepare computes it
        config = self.config
        scores = answer_log_probabilities(self.model, batch)
        chosen, rejected = (scores - batch.reference.to(scores)).chunk(2)
        margin = config.beta * (chosen - rejected)
        loss = preference_loss(margin, config.label_smoothing)
        tokens = batch.counted.sum(1).chunk(2)[0].to(scores)
        likelihood = scores.chunk(2)[0] / tokens
        total = (loss - config.likelihood * likelihood).sum()
        parts = {"preference": loss, "right": (margin > 0).float(), "margin": margin, "likelihood": likelihood}
        return Loss(
            total,
            len(margin),
            {"tokens": batch.tokens.numel(), **{name: value.detach().sum() for name, value in parts.items()}},
        )

    @torch.no_grad()
    def evaluate(self) -> Report:
        """The loss, its parts as means over pairs; `right` is the reward accuracy of the paper."""
        rows_read = some_rows(self.validation, self.config.evaluated)
        parts = means(self.loss(self.validation.collate(rows)) for rows in rows_read)
        return Report(
            [
                cost("loss", parts["loss"]),
                cost("preference", parts["preference"]),
                share("right", parts["right"]),
                Score("margin", parts["margin"]),
                Score("likelihood", parts["likelihood"], "nats"),
            ]
        )

    def sample(self) -> list[tuple[str, str]]:
        """Questions with the model's answers, the likeliest token each time."""
        table, rows = self.validation.table, self.validation.rows[:2]
        usual = [table.columns["messages"][row] for row in rows]
        return sample_answers(self.language, self.encoder, self.config, lambda: usual)

    def set_recompute(self) -> None:
        self.model.stack.recompute = True


def preference_loss(margin: Tensor, smoothing: float = 0.0) -> Tensor:
    """-log sigmoid(margin), where a share `smoothing` of the pairs is thought to be the wrong way round."""
    return -(1 - smoothing) * F.logsigmoid(margin) - smoothing * F.logsigmoid(-margin)


def answer_log_probabilities(model: CausalLM, batch: PreferenceBatch) -> Tensor:
    """The log-probability of each row's answer, (rows,), with gradients; the logits exist a piece at a time."""
    device = model.embedding.weight.device
    counted = batch.counted.to(device)
    x = model.features(batch.tokens.to(device))[counted]
    labels, row = batch.labels.to(device)[counted], counted.nonzero()[:, 0]
    scores = token_log_probabilities(model.logits, x, labels, model.config.vocab)
    return torch.zeros(len(counted), device=device).index_add(0, row, scores)


def some_rows(choices: Preferences, most: int) -> Iterator[NDArray[np.int64]]:
    """Batches of about `most` rows (0: all), evenly over the data."""
    wanted = np.arange(len(choices.rows))
    if 0 < most < len(wanted):
        wanted = np.unique(np.linspace(0, len(wanted) - 1, most).astype(np.int64))
    for rows in choices.epoch(0):
        if len(kept := np.intersect1d(rows, wanted)):
            yield kept


# ---- the reference -----------------------------------------------------------------------------------------


def add_reference(model: CausalLM, parts: dict[str, Preferences], folder: Path) -> str:
    """Give every part the log-probabilities of its answers under `model` as it is now, from the run's folder if they
    were computed before; a line for the report.
    """
    mark = digest_of(model, parts)
    place = folder / REFERENCE
    kept = read_reference(place, mark)
    begun = time.perf_counter()
    if kept is None:
        kept = {name: reference_of(model, choices) for name, choices in parts.items()}
        arrays: dict[str, Any] = {**kept, "mark": np.array(mark)}
        replace_file(place, lambda path: np.savez(path, **arrays))
        how = f"computed once in {time.perf_counter() - begun:.1f} s"
    else:
        how = "computed before"
    for name, choices in parts.items():
        choices.reference = kept[name]
    return f"reference: log-probabilities of {2 * sum(map(len, kept.values())):,} answers, {how}, in {place}"


def judged_task(language: LanguageModel, beginning: Beginning) -> PreferenceTask:
    """The task of a run's model with its test pairs, else those that it was watched on, and their reference, which
    the run has kept.
    """
    table, part = beginning.judged(), "test" if beginning.source.test else "validation"
    encoder, place = encoder_of(language), beginning.folder / REFERENCE
    pairs = preferences_of(table, language, encoder, beginning)
    reference = read_arrays(place).get(part)
    if reference is None or len(reference) != len(pairs.rows):
        raise ConfigError(f"{place} has no reference for {len(pairs.rows):,} pairs of {table.name}; train again")
    pairs.reference = reference
    return PreferenceTask(language, encoder, pairs, beginning.task)


def read_reference(place: Path, mark: str) -> dict[str, NDArray[np.float32]] | None:
    """What was computed before for the same model and data."""
    arrays = read_arrays(place)
    return arrays if str(arrays.pop("mark", "")) == mark else None


def read_arrays(place: Path) -> dict[str, Any]:
    """The arrays of a file; none where there is no whole one."""
    if not place.is_file():
        return {}
    try:
        with place.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # cut short: computed anew
        return {}


@torch.no_grad()
def reference_of(model: CausalLM, choices: Preferences) -> NDArray[np.float32]:
    """(rows, 2): the log-probabilities of the chosen and the rejected answers."""
    reference = np.zeros((len(choices.rows), 2), np.float32)
    with inference(model):
        for rows in choices.epoch(0):
            batch = choices.collate(rows)
            reference[rows] = answer_log_probabilities(model, batch).cpu().numpy().reshape(2, -1).T
    return reference


def digest_of(model: CausalLM, parts: dict[str, Preferences]) -> str:
    """Says whether model and data are those of before."""
    digest = hashlib.sha256()
    for name, weight in model.state_dict().items():
        digest.update(name.encode())
        digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    for name, choices in parts.items():
        digest.update(name.encode())
        for side in (*choices.ids, *choices.spoken):
            digest.update(side.lengths.tobytes())
            digest.update(side.flat.tobytes())
    return digest.hexdigest()


def preferences_of(table: Table, language: LanguageModel, encoder: ChatEncoder, beginning: Beginning) -> Preferences:
    """The batches of a table, still without the reference."""
    rows, filler = beginning.rows, language.settings.pad
    length = row_length(rows.length, language.model.config.length)
    return Preferences(table, encoder, rows, length=length, filler=filler, seed=beginning.source.seed)


def beginnings(beginning: Beginning) -> tuple[LanguageModel, ChatEncoder, Preferences, Preferences]:
    """Model, template and the batches of training and validation, still without the reference."""
    tables = beginning.tables()
    texts = texts_of(messages for side in SIDES for messages in tables[0].columns[side])
    language, encoder = obtain_model(beginning, "preferences", texts)
    train, validation = (preferences_of(table, language, encoder, beginning) for table in tables)
    return language, encoder, train, validation


def prepare(beginning: Beginning) -> Prepared:
    """Preferences, model, task and reference of a recipe, and the lines of the report on them.

    The model of model.start is what training begins with, and the reference too.
    """
    language, encoder, batches, validation = beginnings(beginning)
    parts = {"train": batches, "validation": validation}
    if beginning.source.test:  # judged when the model of the beginning is no longer there
        parts["test"] = preferences_of(beginning.judged(), language, encoder, beginning)
    reference = add_reference(language.model, parts, beginning.folder)
    lines = [
        f"training data: {batches.table.described}",
        *batches.report(encoder.tokenizer.unk).lines(),
        f"validation: {validation.table.name}, {len(validation.rows):,} pairs",
    ]
    task = PreferenceTask(language, encoder, validation, beginning.task)
    whole = prepared(beginning, task, batches, lines, language, encoder, sides=2)
    return replace(whole, report=[*whole.report, reference])
