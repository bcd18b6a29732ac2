"""Sound files as numbers: every format, many channels, any rate, long files in pieces, and files that are none."""

import io

import numpy as np
import pytest

from formers.sound.decode import decode

soundfile = pytest.importorskip("soundfile")


def tone(seconds: float = 0.5, rate: int = 16_000, hertz: float = 440.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def written(samples: np.ndarray, rate: int = 16_000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "error"), [("WAV", 1e-4), ("FLAC", 1e-4), ("OGG", 0.05), ("MP3", 0.05), ("AIFF", 1e-4)]
)
def test_formats(kind, error):
    sound = decode(written(tone(), kind=kind), "a")
    assert sound.rate == 16_000 and sound.samples.dtype == np.float32 and abs(sound.seconds - 0.5) < 0.01
    assert np.abs(sound.samples[:4000] - tone()[:4000]).max() < error
