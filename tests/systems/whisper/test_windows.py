"""The windows of a long recording: what is looked at, and the spectrogram of each."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from formers.errors import ConfigError
from formers.sound.features import usual_extractor
from formers.systems.whisper.windows import Frames, WindowReader, clips_of, packed, spoken, survey

RATE = 16_000


@pytest.fixture(scope="module")
def recording():
    """Nine seconds: noise, with tones from 2 to 3 and from 7 to 8 seconds."""
    dice = np.random.default_rng(0)
    samples = 0.001 * dice.standard_normal(9 * RATE)
    for start in (2, 7):
        samples[start * RATE : (start + 1) * RATE] += 0.1 * np.sin(np.arange(RATE) * 0.3) * dice.uniform(0.5, 1, RATE)
    return samples.astype(np.float32)


def pieces_of(samples, size):
    return (samples[start : start + size] for start in range(0, len(samples), size))


@pytest.mark.parametrize("size", [701, 16_000, 10**6])
def test_windows_are_those_of_the_whole(recording, size):
    extractor = usual_extractor("whisper")
    whole = torch.cat(list(extractor.stream([recording])))
    found = survey(pieces_of(recording, size), extractor)
    assert found.frames == len(whole) == 900 and found.loudest == pytest.approx(float(whole.max()), abs=1e-5)
    expected = extractor.scaled(whole, found.loudest)
    reader = WindowReader(pieces_of(recording, size), extractor, found.loudest, 300)
    for start, end in [(0, 300), (100, 250), (450, 750), (800, 1100)]:
        window = reader.window(Frames(start, end))
        real = min(end, 900) - start
        assert window.shape == (1, 80, 300)
        assert (window[0, :, :real].T - expected[start : start + real]).abs().max() < 1e-4
        assert len(window[0, :, real:].unique()) <= 1  # silence
        assert len(reader.held) < 300 + size / 160 + 2  # no more than a window and a piece


def test_voice_is_found(recording):
    found = survey([recording], usual_extractor("whisper"))
    first, second = found.voice
    assert first == (pytest.approx(200, abs=40), pytest.approx(300, abs=40))
    assert second == (pytest.approx(700, abs=40), pytest.approx(800, abs=40))
    assert survey([np.zeros(RATE * 60, np.float32)], usual_extractor("whisper")).voice == []


def test_clips():
    assert clips_of([], 100, 900) == [Frames(0, 900)]
    assert clips_of(["7-", "1-2.5", "8-100", "50-60"], 100, 900) == [
        Frames(100, 250),
        Frames(700, 900),
        Frames(800, 900),
    ]
    for wrong in ("60", "x-3", "3-1", "-", "1-nan"):
        with pytest.raises(ConfigError, match="expected seconds such as 60-120"):
            clips_of([wrong] if wrong != "-" else ["--"], 100, 900)


def test_parts_with_a_voice():
    voice = [Frames(0, 100), Frames(150, 200), Frames(400, 450)]
    assert spoken([Frames(0, 1000)], voice, 0) == voice
    assert spoken([Frames(0, 1000)], voice, 60) == [Frames(0, 200), Frames(400, 450)]
    assert spoken([Frames(50, 160), Frames(420, 1000)], voice, 60) == [Frames(50, 160), Frames(420, 450)]


def test_parts_in_windows():
    parts = [Frames(0, 50), Frames(60, 90), Frames(100, 400), Frames(410, 420)]
    assert list(packed(parts, 100)) == [
        Frames(0, 90),
        Frames(100, 200),
        Frames(200, 300),
        Frames(300, 400),
        Frames(410, 420),
    ]
    assert list(packed([], 100)) == []
