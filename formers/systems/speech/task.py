"""Learning to write down speech: CTC over a Conformer's frames, and beside it a decoder where one is wanted.

clips -> features, masked at random -> Conformer -> logits of frames -> CTC
                                    frames, tokens of the text -> decoder -> cross-entropy
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from formers.data.batching import pad
from formers.data.sound_report import sound_lines
from formers.decoding.ctc import frames_needed
from formers.errors import ConfigError
from formers.fields import Between, check
from formers.models.conformer import Conformer, keep_of
from formers.models.hybrid import HybridConformer
from formers.notes import note
from formers.sound.features import usual_extractor
from formers.systems.begin import Beginning, Prepared, on_device
from formers.systems.memory import new_model
from formers.systems.speech.data import ClipBatch, ClipBatches, ClipRows
from formers.systems.speech.stuck import STUCK, Deaf, deaf, explanation
from formers.systems.speech.system import Reading, Recogniser, open_speech
from formers.systems.system import Report
from formers.text.open import train_bpe
from formers.text.tokenizer import Tokenizer
from formers.text.training import characters
from formers.training.task import Loss

SAMPLES = 3  # clips of the validation data that are shown


@dataclass(frozen=True, kw_only=True)
class CtcConfig:
    """What is learned of speech."""

    decoder_weight: Annotated[float, Between(0, 1)] = 0.7
    """How much the decoder's loss counts beside that of CTC, which has the rest (model.decoder_layers)."""
    label_smoothing: Annotated[float, Between(0, below=1)] = 0.1
    """Share of the decoder's probability that is spread over all tokens."""

    def __post_init__(self) -> None:
        check(self, "task")


class CtcTask:
    """What the trainer sees: the loss of a batch, error rates of held-out clips; says once why nothing is learned."""

    def __init__(self, speech: Recogniser, validation: ClipBatches, config: CtcConfig) -> None:
        self.speech, self.validation, self.config = speech, validation, config
        self.model, self.save = speech.model, speech.save
        self.evaluations, self.explained = 0, False

    def loss(self, batch: ClipBatch) -> Loss:
        """Summed over the tokens; CTC in fp32."""
        read = self.speech.read(batch.features, batch.lengths)
        with torch.autocast(read.logits.device.type, enabled=False):
            total = self.speech.ctc(read.logits.float().log_softmax(-1), read.frames, batch)
        parts = {"tokens": int(batch.counts.sum())}
        if isinstance(self.model, HybridConformer):
            weight = self.config.decoder_weight
            total = (1 - weight) * total + weight * self.dictation(self.model, read, batch)
        return Loss(total, parts["tokens"], parts)

    def dictation(self, model: HybridConformer, read: Reading, batch: ClipBatch) -> Tensor:
        """The summed cross-entropy of what the decoder writes, the end included."""
        rows = [row.numpy() for row in batch.targets.split(batch.counts.tolist())]
        targets, real = pad([[*row, self.speech.blank] for row in rows], self.speech.blank)
        targets = targets.to(read.memory.device)
        inputs = torch.cat([torch.full_like(targets[:, :1], self.speech.blank), targets[:, :-1]], 1)
        keep = keep_of(read.frames, read.memory.shape[1])
        logits = model.decode(inputs, read.memory, keep).float()
        counted = torch.ones_like(targets, dtype=torch.bool) if real is None else real.to(targets.device)
        smoothing = self.config.label_smoothing
        return F.cross_entropy(logits[counted], targets[counted], reduction="sum", label_smoothing=smoothing)

    def evaluate(self) -> Report:
        """Loss and error rates of the validation clips."""
        report = self.speech.evaluate(self.validation)
        self.evaluations += 1
        why = "" if self.explained or self.evaluations < 2 else self.stuck(report.value("loss"), report.facts["blank"])
        if why:
            self.explained = True
            note(why)
        return report

    @cached_property
    def unheard(self) -> tuple[ClipBatch, Tensor, Deaf]:
        """The first clips that are judged with, how many frames each has, and what a model that hears nothing says."""
        batch = self.validation.collate(self.validation.epoch(0)[0], plain=True)
        with torch.no_grad():
            frames = self.speech.read(batch.features, batch.lengths).frames.cpu()
        return batch, frames, deaf(frames, batch.targets, batch.counts, self.model.config.vocab, self.speech.blank)

    def stuck(self, loss: float, silent: float) -> str:
        """Why nothing is learned, where that is so: the loss beside that of a model that hears nothing."""
        batch, frames, floor = self.unheard
        if loss < STUCK * floor.loss:
            return ""
        rows = batch.targets.split(batch.counts.tolist())
        needed = torch.tensor([frames_needed(row.numpy()) for row in rows])
        return explanation(loss, silent, floor, frames, batch.counts, needed)

    def sample(self) -> Sequence[tuple[str, str]]:
        """What some clips say, and what is written down of them."""
        batch = self.validation.collate(self.validation.epoch(0)[0][:SAMPLES], plain=True)
        read = self.speech.read(batch.features, batch.lengths)
        rows = zip(read.logits.log_softmax(-1).cpu(), read.frames.tolist(), strict=True)
        written = [self.speech.decode(self.speech.hypothesis(row[:count]).tokens) for row, count in rows]
        return list(zip(batch.texts, written, strict=True))

    def set_recompute(self) -> None:
        self.model.encoder.stack.recompute = True


def prepare(beginning: Beginning) -> Prepared:
    """Recordings, tokens, model and task of a recipe, and the lines of the report on them."""
    rows, source, sizes = beginning.rows, beginning.source, beginning.sizes
    table, held_out = beginning.tables()
    if beginning.start is not None:
        speech = open_speech(beginning.loaded())
        tokenizer, words = speech.tokenizer, f"model and vocabulary of {sizes.start}"
        if isinstance(speech.model, Conformer) and sizes.decoder_layers:
            raise ConfigError(
                f"model.decoder_layers ({sizes.decoder_layers}): {sizes.start} has no decoder; set it to 0"
            )
    else:
        texts = rows.texts(table)
        words = f"a new model; a frame every {10 * 2**sizes.halvings} ms"
        tokenizer = beginning.tokenizer(lambda: vocabulary(texts, rows), files="tokenizer.json or a .model")
        network: Any = HybridConformer if sizes.decoder_layers else Conformer
        model: Conformer | HybridConformer = new_model(network, sizes.config(tokenizer.vocab))
        speech = Recogniser(model, tokenizer, usual_extractor("nemo", mels=sizes.mels))
    on_device(speech.model)
    batches, validation = (
        ClipBatches(part, speech.extractor, tokenizer, rows, speech.model.config.encoder, seed=source.seed)
        for part in (table, held_out)
    )
    lines = [
        f"training data: {table.described}",
        f"examples: {len(batches):,}",
        *sound_lines(
            table,
            held_out,
            text="" if rows.join else rows.text,
            frames_needed=frames_needed,
            frames_per_second=1 / speech.second,
        ),
        *batches.lines(),
        f"validation: {held_out.name}, {len(validation):,} examples",
        words,
    ]
    task = CtcTask(speech, validation, beginning.task)
    batch = f"{rows.seconds_per_batch:g} seconds of sound"
    return beginning.prepared(task, batches, lines, tokenizer, besides=" and the blank", batch=batch)


def vocabulary(texts: Sequence[str], rows: ClipRows) -> Tokenizer:
    """The tokens of new texts: their characters, or pieces of their words."""
    if rows.vocabulary == "pieces":
        return train_bpe(texts, rows.vocab)
    return characters([*texts, " "] if rows.join else texts)
