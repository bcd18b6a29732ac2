"""Where somebody speaks: real speech with gaps, silence, noise; Silero's network as its package runs it."""

import numpy as np
import pytest
import torch

from formers.errors import PackageError
from formers.sound.decode import decode, resampled
from formers.sound.features import usual_extractor
from formers.sound.voice import silero_shares, silero_voiced, silero_weights, spans, voiced


def level(wave: np.ndarray) -> np.ndarray:
    return usual_extractor("whisper").log_mels(torch.from_numpy(wave)).mean(1).numpy()


@pytest.fixture(scope="module")
def speech(shared) -> np.ndarray:
    """Four seconds of silence, eleven of speech, four of silence, with a little noise."""
    pytest.importorskip("soundfile")
    words = resampled(decode(shared / "assets" / "jfk.flac", "jfk"), 16_000).samples
    wave = np.concatenate([np.zeros(64_000, np.float32), words, np.zeros(64_000, np.float32)])
    return wave + 1e-4 * np.random.default_rng(0).standard_normal(len(wave)).astype(np.float32)


def test_speech_between_silence(speech):
    for parts in (voiced(level(speech)), silero_voiced([speech])):
        assert 370 <= parts[0][0] <= 450 and 1400 <= parts[-1][1] <= 1550
        assert sum(end - start for start, end in parts) > 500


@pytest.mark.parametrize("loudness", [0.0, 1e-3, 0.1])
def test_silence_and_steady_noise_have_no_voice(loudness):
    noise = (loudness * np.random.default_rng(1).standard_normal(16_000 * 20)).astype(np.float32)
    assert voiced(level(noise)) == [] and voiced(np.zeros(0, np.float32)) == []
    pytest.importorskip("silero_vad")
    assert silero_voiced([noise]) == [] == silero_voiced([])


def test_spans():
    assert spans(np.array([1, 1, 0, 0, 1], bool)) == [(0, 2), (4, 5)] and spans(np.zeros(3, bool)) == []


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_silero_is_what_its_package_computes(speech, monkeypatch):
    """With the weights of its compiled form, which are of another training than those of its file."""
    package = pytest.importorskip("silero_vad")
    threads = torch.get_num_threads()
    model = package.load_silero_vad()
    torch.set_num_threads(threads)
    theirs = (value for name, value in model.state_dict().items() if "8k" not in name)
    weights = dict(zip(silero_weights(), theirs, strict=True))
    monkeypatch.setattr("formers.sound.voice.silero_weights", lambda: weights)
    expected = model.audio_forward(torch.from_numpy(speech[None]), sr=16_000)[0].detach().numpy()
    for size in (len(speech), 10_000, 100):
        shares = np.concatenate([*silero_shares(np.array_split(speech, len(speech) // size))])
        np.testing.assert_allclose(shares, expected, atol=1e-4)


def test_silero_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("formers.sound.voice.find_spec", lambda name: None)
    with pytest.raises(PackageError, match=r'needs the package silero-vad: pip install "formers\[vad\]"'):
        silero_voiced([np.zeros(100, np.float32)])
