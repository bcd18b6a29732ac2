"""Features in the forms of the families: as transformers and onnx-asr compute them, and the files that keep them."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from formers.errors import CheckpointError
from formers.sound.features import FILE, NESTED, load_extractor, mel_filters, usual_extractor

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


@pytest.mark.parametrize(("kind", "name", "mels"), [(k, f"{k}{m}", m) for k in ("whisper", "nemo") for m in (80, 128)])
def test_features_are_those_of_onnx_asr(kind, name, mels):
    """An independent implementation, as graphs."""
    onnxruntime = pytest.importorskip("onnxruntime")
    package = importlib.util.find_spec("onnx_asr")
    if package is None:
        pytest.skip("onnx-asr is not installed")
    graph = Path(package.origin).parent / "preprocessors" / "data" / f"{name}.onnx"
    if not graph.exists():
        pytest.skip(f"onnx-asr ships no {graph.name}")
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    wave = speech(3.0, 5) + 0.1 * np.random.default_rng(5).standard_normal(48_000).astype(np.float32)
    theirs, lengths = session.run(None, {"waveforms": wave[None], "waveforms_lens": np.array([len(wave)])})
    values, (ours,) = usual_extractor(kind, mels=mels, frames=3000 if kind == "whisper" else None)(wave)
    error = np.abs(theirs.mT - values.numpy())
    # Whisper's graph multiplies by a Fourier matrix in float32: a few quiet bands are its rounding errors.
    assert (error > 1e-4).mean() < (1e-4 if kind == "whisper" else 1e-9) and error.max() < 1e-3
    assert kind == "whisper" or lengths.tolist() == [int(ours)]


def test_mel_filters_are_those_of_whisper(shared):
    filters = np.load(shared / "assets" / "mel_filters.npz")
    for mels in (80, 128):
        ours = mel_filters(mels, 400, 16_000, 0.0, 8000.0, False).numpy().T
        np.testing.assert_allclose(ours, filters[f"mel_{mels}"], atol=1e-6)


@pytest.mark.parametrize("length", [100, 399, 400, 401, 4_000, 16_000 * 3 + 77])
def test_frames_of_a_stream_are_those_of_the_whole(length):
    """The whole followed by silence, as openai's whisper reads long files."""
    wave = speech(4.0, 7)[:length]
    extractor = usual_extractor("whisper", mels=128)
    whole = extractor.log_mels(torch.from_numpy(np.concatenate([wave, np.zeros(16_000, np.float32)])))
    for size in (100, 777, 20_000):
        pieces = (wave[start : start + size] for start in range(0, length, size))
        frames = torch.cat([torch.empty(0, 128), *extractor.stream(pieces)])
        assert len(frames) == length // 160
        torch.testing.assert_close(frames, whole[: len(frames)], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["fbank", "nemo", "whisper", "wave"])
def test_a_row_is_the_same_alone_and_in_a_batch(kind):
    short, long = speech(0.4, 8), speech(1.1, 9)
    extractor = usual_extractor(kind)
    values, lengths = extractor([short, long])
    alone, (length,) = extractor(short)
    torch.testing.assert_close(values[0, : int(length)], alone[0, : int(length)])
    assert int(lengths[0]) == int(length) <= alone.shape[1] and lengths[1] > length


def test_sounds_of_a_few_samples_have_a_frame():
    for kind in ("fbank", "nemo"):
        values, lengths = usual_extractor(kind)(np.full(7, 0.1, np.float32))
        assert lengths.tolist() == [1] and values.isfinite().all()
    assert usual_extractor("nemo")(np.zeros(4_000, np.float32)).values.abs().max() < 1e-3  # silence


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("kind", CLASSES)
def test_files_are_read_by_both(kind, tmp_path):
    options = {
        "whisper": {"feature_size": 128, "chunk_length": 20},
        "fbank": {"max_length": 512, "mean": -6.6, "std": 5.4, "num_mel_bins": 64},
        "nemo": {"feature_size": 128, "preemphasis": 0.9},
        "wave": {"do_normalize": False, "return_attention_mask": True},
    }[kind]
    CLASSES[kind](**options).save_pretrained(tmp_path)
    extractor = load_extractor(tmp_path, {})
    assert extractor.kind == kind
    wave = speech(1.3, 10)
    expected = reference(kind, wave, **options)
    expected = expected.get("input_features", expected.get("input_values"))
    expected = expected.mT if kind == "whisper" else expected
    assert (extractor(wave).values - expected).abs().max() < 1e-4
    (tmp_path / FILE).write_bytes(extractor.files()[FILE])
    assert load_extractor(tmp_path, {}) == extractor
    theirs = CLASSES[kind].from_pretrained(tmp_path)(wave, sampling_rate=16_000, return_tensors="pt")
    theirs = theirs.get("input_features", theirs.get("input_values"))
    assert ((theirs.mT if kind == "whisper" else theirs) - expected).abs().max() < 1e-6


def test_the_extractor_inside_a_processor_and_what_is_none(tmp_path):
    assert load_extractor(tmp_path, {}) is None
    (tmp_path / FILE).write_text('{"image_processor_type": "ViTImageProcessor", "size": 224}')
    assert load_extractor(tmp_path, {}) is None
    nested = {"feature_extractor": {"feature_extractor_type": "ParakeetFeatureExtractor", "feature_size": 128}}
    (tmp_path / NESTED).write_text(json.dumps(nested))
    assert load_extractor(tmp_path, {}) == usual_extractor("nemo", mels=128)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dither": 0.1}, "dither is 0.1, which is not computed here; if it changes nothing .* --ignore-key dither"),
        ({"feature_extractor_type": "ASTFeatureExtracter"}, "is not computed here; did you mean .ASTFeatureExtractor"),
        ({"hop_length": 0}, "hop_length"),
    ],
)
def test_what_is_not_computed_is_refused(settings, message, tmp_path):
    plain = {"feature_extractor_type": "WhisperFeatureExtractor", "sampling_rate": 16_000}
    (tmp_path / FILE).write_text(json.dumps({**plain, **settings}))
    with pytest.raises(CheckpointError, match=message):
        load_extractor(tmp_path, {})


def test_mean_and_deviation_of_sounds_are_measured_and_stored(tmp_path):
    sounds = [speech(1.0, seed) for seed in range(3)]
    extractor = usual_extractor("fbank", mels=64).measured(sounds)
    values = torch.cat([extractor.log_mels(torch.from_numpy(wave)) for wave in sounds])
    assert extractor.mean == pytest.approx(float(values.mean()), abs=1e-3)
    assert extractor.std == pytest.approx(float(values.std()), abs=1e-3)
    (tmp_path / FILE).write_bytes(replace(extractor, frames=200).files()[FILE])
    assert load_extractor(tmp_path, {}) == replace(extractor, frames=200)
