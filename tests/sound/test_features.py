"""Features in the forms of the families: as transformers and onnx-asr compute them, and the files that keep them."""

import numpy as np
import pytest

from formers.sound.features import usual_extractor

transformers = pytest.importorskip("transformers")
CLASSES = {
    "whisper": transformers.WhisperFeatureExtractor,
    "fbank": transformers.ASTFeatureExtractor,
    "nemo": transformers.ParakeetFeatureExtractor,
    "wave": transformers.Wav2Vec2FeatureExtractor,
}


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    """Something with loud and quiet passages, tones and noise."""
    dice = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16_000)) / 16_000
    tones = sum(np.sin(2 * np.pi * f * time + f) / k for k, f in enumerate(dice.uniform(80, 6000, 6), 1))
    loudness = np.clip(np.sin(2 * np.pi * 1.3 * time), 0, 1) ** 2
    noise = dice.standard_normal(len(time)) * (0.02 + 0.05 * loudness[::-1])
    return (0.1 * tones * loudness + noise).astype(np.float32)


def reference(kind, sounds, **options):
    theirs = CLASSES[kind](**options)
    return theirs(sounds, sampling_rate=16_000, return_tensors="pt", **({"padding": True} if kind == "wave" else {}))


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("kind", CLASSES)
def test_features_are_those_of_transformers(kind):
    sounds = [speech(2.3), speech(0.71, 1), speech(3.0, 2)]
    options = {"fbank": {"max_length": 256}, "wave": {"return_attention_mask": True}}.get(kind, {})
    theirs = reference(kind, sounds, **options)
    frames = {"whisper": 3000, "fbank": 256}.get(kind)
    values, lengths = usual_extractor(kind, frames=frames)(sounds)
    expected = theirs.get("input_features", theirs.get("input_values"))
    expected = expected.mT if kind == "whisper" else expected
    assert values.shape == expected.shape
    assert (values - expected).abs().max() < 1e-4
    if kind in ("nemo", "wave"):
        assert lengths.tolist() == theirs["attention_mask"].sum(1).tolist()


def test_whisper_features_near_and_beyond_the_end():
    for seconds in (29.99, 30.0, 31.0, 0.01):
        wave = speech(seconds, 3)
        theirs = reference("whisper", wave, feature_size=128)["input_features"].mT
        assert (usual_extractor("whisper", mels=128, frames=3000)(wave).values - theirs).abs().max() < 1e-4
