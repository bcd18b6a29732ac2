"""Learning to write speech down: teacher forcing on recordings and their transcripts, word errors on held-out ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from formers.errors import ConfigError
from formers.fields import Count, check
from formers.models.whisper import Whisper
from formers.sound.features import usual_extractor
from formers.systems.begin import Beginning, Prepared, on_device
from formers.systems.memory import new_model
from formers.systems.system import Report
from formers.systems.whisper.data import SpeechBatch, SpeechBatches
from formers.systems.whisper.system import Transcriber, open_whisper
from formers.text.speech_tokens import SpeechTokens, train_speech_tokens
from formers.text.tokenizer import Tokenizer
from formers.training.task import Loss


@dataclass(frozen=True, kw_only=True)
class WhisperTaskConfig:
    """How it is judged, and what of a checkpoint learns."""

    decoded: Count = 64
    """Validation recordings that are written down at each evaluation for the word error rate."""
    freeze_encoder: bool = False
    """Only the decoder learns."""

    def __post_init__(self) -> None:
        check(self, "task")
        if not self.decoded:
            raise ConfigError("task.decoded (0) must be at least 1: word errors are what a model is judged by")


class WhisperTask:
    """What the trainer sees: the loss of a batch, word errors of held-out recordings."""

    def __init__(self, transcriber: Transcriber, validation: SpeechBatches, config: WhisperTaskConfig) -> None:
        self.transcriber, self.validation, self.config = transcriber, validation, config
        self.model, self.save = transcriber.model, transcriber.save

    def loss(self, batch: SpeechBatch) -> Loss:
        """Summed over the tokens that are to be said."""
        mels = batch.mels.to(self.transcriber.device)
        if not self.config.freeze_encoder:
            return self.transcriber.loss(batch, self.model.encode(mels))
        with torch.no_grad():
            memory = self.model.encode(mels)
        return self.transcriber.loss(batch, memory)

    def evaluate(self) -> Report:
        return self.transcriber.evaluate(self.validation)

    def sample(self) -> Sequence[tuple[str, str]]:
        """What is said in some recordings, and what is written."""
        report = self.transcriber.evaluate(self.validation, count=2)
        return [(example["said"], example["written"]) for example in report.examples]

    def set_recompute(self) -> None:
        self.model.encoder.recompute = self.model.decoder.recompute = True


def prepare(beginning: Beginning) -> Prepared:
    """Recordings, tokenizer, model and task of a recipe, and the lines of the report on them."""
    rows, config, source, sizes = beginning.rows, beginning.task, beginning.source, beginning.sizes
    table, held_out = beginning.tables()
    held_out = held_out.select(range(min(config.decoded, len(held_out))))
    if beginning.start is not None:
        transcriber = open_whisper(beginning.loaded())
    else:
        texts = table.table.columns[rows.text]
        tokenizer = beginning.tokenizer(
            lambda: train_speech_tokens(texts, rows.vocab, sizes.positions), files="tokenizer.json"
        )
        transcriber = begun(new_model(Whisper, sizes.config(tokenizer.vocab)), tokenizer)
    on_device(transcriber.model)
    if config.freeze_encoder:
        transcriber.model.encoder.requires_grad_(False)
        transcriber.model.convolutions.requires_grad_(False)
    tokens, extractor, length = transcriber.tokens, transcriber.extractor, transcriber.model.config.length
    batches, validation = (
        SpeechBatches(part, tokens, extractor, rows, length=length, seed=source.seed) for part in (table, held_out)
    )
    lines = [
        f"training data: {table.described}",
        f"examples: {len(table):,}",
        *batches.lines(),
        f"validation: {held_out.name}, {len(held_out):,} examples",
    ]
    task = WhisperTask(transcriber, validation, config)
    return beginning.prepared(
        task, batches, lines, transcriber.tokens.tokenizer, batch=f"{rows.batch:,} windows of sound"
    )


def begun(model: Whisper, tokenizer: Tokenizer) -> Transcriber:
    """A new model with its tokens and its extractor."""
    config, tokens = model.config, SpeechTokens.of(tokenizer, model.config.vocab)
    generation: dict[str, Any] = dict.fromkeys(("eos_token_id", "pad_token_id", "bos_token_id"), tokens.end)
    generation |= {"decoder_start_token_id": tokens.start, "no_timestamps_token_id": tokens.no_timestamps}
    generation |= {"suppress_tokens": [], "begin_suppress_tokens": [tokens.end]}
    return Transcriber(
        model, tokens, usual_extractor("whisper", mels=config.bands, frames=2 * config.frames), generation
    )
