"""Learning to write speech down: a few recordings by heart, all of it or a few weights, and what cannot be learned."""

from __future__ import annotations

import pytest
import torch

from formers.adapters.config import AdapterConfig, adapt
from formers.data.sounds import read_sounds
from formers.errors import DataError
from formers.models.whisper import Whisper
from formers.pretrained.load import load_model
from formers.systems.shuffled import EPOCH
from formers.systems.whisper.data import SpeechBatches, SpeechRows
from formers.systems.whisper.sizes import WhisperSizes
from formers.systems.whisper.system import open_whisper
from formers.systems.whisper.task import WhisperTask, WhisperTaskConfig, begun
from formers.text.speech_tokens import train_speech_tokens

ROWS = SpeechRows(normalise="none", batch=4)


@pytest.fixture(scope="module")
def table():
    return read_sounds("builtin:dialled", columns=["text"], count=4, split="train", seed=1)


def new_task(table, **config):
    torch.manual_seed(0)
    sizes = WhisperSizes(
        dim=32, encoder_layers=1, decoder_layers=1, heads=2, hidden=64, seconds=4, length=24, dropout=0.0
    )
    tokenizer = train_speech_tokens(table.table.columns["text"], 256, sizes.positions)
    transcriber = begun(Whisper(sizes.config(tokenizer.vocab)), tokenizer)
    batches = SpeechBatches(table, transcriber.tokens, transcriber.extractor, ROWS, length=24)
    return WhisperTask(transcriber, batches, WhisperTaskConfig(**config)), batches


def test_recordings_are_learned_by_heart(table, tmp_path):
    task, batches = new_task(table)
    batch = batches.collate(batches.epoch(0)[0])
    optimizer = torch.optim.Adam([weight for weight in task.model.parameters() if weight.requires_grad], lr=4e-3)
    for _ in range(150):
        loss = task.loss(batch)
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
    report = task.evaluate()
    assert report.value("loss") < 0.1 and report.value("wer") == 0
    assert all(said == written for said, written in task.sample())
    task.save(tmp_path / "model")
    again = open_whisper(load_model(tmp_path / "model"))
    written = again.transcribe(table.sound(0).samples, vad="none").text
    assert written.replace(" ", "") == batches.texts[0].replace(" ", "")


def test_the_loss_is_of_what_is_to_be_said(table):
    task, batches = new_task(table)
    batch = batches.collate([0, 1, 2])
    texts = [batches.texts[row] for row in (0, 1, 2)]
    loss = task.loss(batch)
    assert loss.count == sum(len(task.transcriber.tokens.encode(f" {text}")) + 1 for text in texts)
    logits = task.model(batch.mels, batch.tokens).log_softmax(-1)
    wanted = batch.labels >= 0
    expected = -logits[wanted].gather(1, batch.labels[wanted][:, None]).sum()
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-4)
    alone = sum(task.loss(batches.collate([row])).total.item() for row in (0, 1, 2))
    assert alone == pytest.approx(loss.total.item(), rel=1e-4)


def test_the_order_is_a_function_of_seed_and_epoch(table):
    _, batches = new_task(table)
    assert sorted(row % EPOCH for rows in batches.epoch(3) for row in rows) == [0, 1, 2, 3]
    assert [*map(list, batches.epoch(3))] == [*map(list, batches.epoch(3))]


def test_a_transcript_without_room_is_refused(table):
    task, _ = new_task(table)
    table.table.columns["text"][2] += " 1" * 30
    try:
        with pytest.raises(DataError, match=r"row 3 has .* tokens, but this model writes at most"):
            SpeechBatches(table, task.transcriber.tokens, task.transcriber.extractor, ROWS, length=24)
    finally:
        table.table.columns["text"][2] = table.table.columns["text"][2].removesuffix(" 1" * 30)


def test_few_weights_of_a_model_learn(table):
    task, batches = new_task(table)
    adapt(task.model, AdapterConfig(kind="lora"))
    loss = task.loss(batches.collate([0]))
    loss.total.backward()
    learned = [
        name for name, weight in task.model.named_parameters() if weight.requires_grad and weight.grad is not None
    ]
    assert learned and all("attention" in name for name in learned)
