"""Sounds: parts of a long one count by their length, seconds stand for themselves, a run goes from data to answers."""

from __future__ import annotations

import csv
import json
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import formers
from formers.blocks.stack import StackConfig
from formers.cli import app
from formers.data.labels import Labels
from formers.data.sounds import read_sounds
from formers.errors import ConfigError, DataError
from formers.models.picture_classifier import PictureClassifier, PictureHeadConfig
from formers.models.spectrogram import SpectrogramConfig, SpectrogramTransformer
from formers.models.vit import ViTConfig
from formers.pretrained.load import save_model
from formers.sound.augment import SoundAugmentation, mixed_waves
from formers.sound.features import usual_extractor
from formers.systems.labelling import row_weights
from formers.systems.shuffled import EPOCH
from formers.systems.sound_sizes import SoundSizes
from formers.systems.sounds.data import LabelledSounds, SoundBatches
from formers.systems.sounds.system import SoundModel

NAMES = ("high", "low")
SIZES = SoundSizes(seconds=0.5, mels=32, dim=16, layers=2, heads=2, hidden=32)
RATE = 16_000
SETTINGS = [f"model.{name}={getattr(SIZES, name)}" for name in ("seconds", "mels", "dim", "layers", "heads", "hidden")]


def tone(label: str, number: int, seconds: float = 0.3) -> np.ndarray:
    dice = np.random.default_rng([NAMES.index(label), number])
    hertz = (2000 if label == "high" else 300) * dice.uniform(0.9, 1.1)
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * hertz * time) + 0.01 * dice.standard_normal(len(time))).astype(np.float32)


def write(path: Path, samples: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def folder(root: Path, each: int = 6) -> Path:
    for label in NAMES:
        for number in range(each):
            write(root / label / f"{number}.wav", tone(label, number, 0.2 + 0.1 * number))
    return root


@torch.no_grad()
def model(kind="one") -> SoundModel:
    torch.manual_seed(3)
    network = SpectrogramTransformer(SpectrogramConfig(body=SIZES.config(), labels=NAMES, kind=kind))
    for weight in network.parameters():
        weight.add_(0.2 * torch.randn_like(weight))
    return SoundModel(network.eval(), usual_extractor("fbank", mels=32, frames=50))


def test_parts_of_a_long_sound_count_by_their_length():
    system, long = model(), np.concatenate([tone("high", 0, 1.0), tone("low", 1, 0.3)])
    part = 50 * 160  # samples from one to the next
    cut = [long[start : start + 49 * 160 + 400] for start in range(0, len(long), part)]
    alone = np.concatenate([system.classify([[piece]]) for piece in cut])
    (whole,) = system.classify([[long]])
    weights = np.array([len(piece) for piece in cut])
    assert len(cut) == 3
    np.testing.assert_allclose(whole, (alone * weights[:, None]).sum(0) / weights.sum(), atol=1e-6)
    blocks = np.split(long, [100, 7000, 20_000])  # however it arrives
    np.testing.assert_allclose(system.classify([blocks, [cut[0]]]), np.stack([whole, alone[0]]), atol=1e-6)
    assert system.encode([[long], [cut[0]]]).shape == (2, 16)


def test_a_short_sound_may_be_read_as_long_as_it_is():
    system, short = model(), tone("low", 2, 0.2)
    (part,) = system.parts(0, [short], True)
    assert part.frames == 26 and next(system.parts(0, [short])).frames == 50  # a patch and a step, of 18 frames
    features = usual_extractor("fbank", mels=32, frames=26)(short).values
    with torch.no_grad():
        expected = system.model(features).softmax(-1)
    np.testing.assert_allclose(system.classify([[short]], fit=True), expected, atol=1e-6)
    with pytest.raises(DataError, match="no samples"):
        system.classify([[]])


def test_a_timeline_has_the_seconds_of_the_sound():
    system = model()
    sound = np.concatenate([tone("high", 0, 2.0), tone("low", 1, 1.5)])
    rows = system.timeline([sound])
    assert rows.shape == (4, 2)
    halves = system.classify([[sound[: 49 * 160 + 400]], [sound[8000 : 8000 + 49 * 160 + 400]]])
    np.testing.assert_allclose(rows[0], halves.mean(0), atol=1e-6)


def test_batches_are_a_pure_function_of_their_rows(tmp_path):
    table = read_sounds(folder(tmp_path), columns=["label"])
    changes = SoundAugmentation(speed=0.1, loudness=6, noise=10, bands=4, frames=6)
    rows = LabelledSounds(batch=4, augmentation=changes)
    extractor = usual_extractor("fbank", mels=32, frames=50)
    one, two = (SoundBatches(table, extractor, rows, Labels("one", NAMES), seed=5) for _ in range(2))
    batch = one.epoch(2)[1]
    first, again, alone = one.collate(batch), two.collate(batch), two.collate(batch[2:3])
    assert first.features.shape == (4, 50, 32) and torch.equal(first.features, again.features)
    assert torch.equal(first.features[2:3], alone.features)
    assert not torch.equal(first.features, one.collate([row + (1 << 32) for row in batch]).features)
    mixing = SoundBatches(table, extractor, rows, Labels("one", NAMES), mixup=10.0)
    assert torch.allclose(mixing.collate(batch).labels.sum(1), torch.ones(4))


def test_rare_labels_are_drawn_as_often_as_common_ones(tmp_path):
    for label, count in (("high", 2), ("low", 30)):
        for number in range(count):
            write(tmp_path / label / f"{number}.wav", tone(label, number, 0.1))
    table, kind = read_sounds(tmp_path, columns=["label"]), Labels("one", NAMES)
    batches = SoundBatches(table, model().extractor, LabelledSounds(batch=8, balanced=True), kind)
    drawn = [batches.labels[rows % EPOCH] for epoch in range(1, 30) for rows in batches.epoch(epoch)]
    assert [len(rows) for rows in batches.epoch(1)] == [8] * 4
    assert np.concatenate(drawn).mean() == pytest.approx(0.5, abs=0.08)
    first, again = batches.epoch(3), batches.epoch(3)
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    marks = [rows[0] // EPOCH for epoch in (1, 2) for rows in batches.epoch(epoch)]
    assert len(set(marks)) == len(marks)  # a row that comes again is changed in another way
    several = np.array([[1, 0], [1, 0], [1, 1], [0, 0]])
    assert row_weights(several) == pytest.approx([1 / 3, 1 / 3, 4 / 3, 1 / 3])


def test_a_silent_sound_is_said_to_be(tmp_path):
    model().save(tmp_path / "model")
    write(tmp_path / "silent.wav", np.zeros(8000, np.float32))
    write(tmp_path / "tone.wav", tone("low", 0))
    for more in ((), ("--timeline",)):
        done = run("classify", tmp_path / "model", tmp_path / "silent.wav", tmp_path / "tone.wav", "--json", *more)
        assert done.exit_code == 0 and len(done.stdout.splitlines()) == 2
        assert f"{tmp_path / 'silent.wav'} is silent" in done.stderr and "tone.wav is silent" not in done.stderr


def test_vectors_are_judged_by_labels(tmp_path):
    pytest.importorskip("sklearn")
    model().save(tmp_path / "model")
    data = ["--data", folder(tmp_path / "test", 3), "--probe"]
    done = run("evaluate", tmp_path / "model", *data, "--train", folder(tmp_path / "train", 12), "--json")
    report = json.loads(done.stdout)
    assert report["linear_probe"] == 1.0 and report["nearest"] > 0.5 and report["training_sounds"] == 24
    done = run("evaluate", tmp_path / "model", *data)
    assert done.exit_code == 2 and "--probe learns from labelled sounds: give --train SOURCE" in done.stderr


def test_mixed_waves_keep_their_shares():
    waves = [tone("high", 0), tone("low", 0, 0.5) * 0.1]
    sums, others, shares = mixed_waves(waves, np.random.default_rng(4), 10.0)
    assert sorted(others) == [0, 1] and all(0 < share < 1 for share in shares)
    assert [len(total) for total in sums] == [max(len(waves[i]), len(waves[other])) for i, other in enumerate(others)]


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def trained(root: Path, data: Path, *more: str):
    pairs = [*SETTINGS, f"data.train={data}", "data.held_out=4", "rows.batch=8", "train.steps=6", "train.rate=0.003"]
    settings = [word for pair in [*pairs, *more] for word in ("--set", pair)]
    done = run("train", "sounds", *settings, "--set", "train.warmup=1", "--run", root)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_run_goes_from_class_folders_to_answers(tmp_path):
    output = trained(tmp_path / "run", folder(tmp_path / "data"), "task.mixup=1")
    assert "model reads 0.5 s (50 frames, 32 mels, 2 x 4 patches): a new spectrogram transformer" in output
    clip = tmp_path / "data" / "low" / "5.wav"
    system = formers.load(tmp_path / "run", system="sounds")
    assert system.extractor.frames == 50 and system.labels == NAMES
    assert system.family == "audio-spectrogram-transformer"
    said = run("classify", tmp_path / "run", clip, "--json").output
    assert '"sound"' in said and '"label"' in said
    picture = tmp_path / "seconds.png"
    assert run("classify", tmp_path / "run", clip, "--timeline", "--out", picture).exit_code == 0
    assert picture.stat().st_size > 1000
    for look in ("attention", "sound"):
        assert run("inspect", tmp_path / "run", look, clip, "--out", picture).exit_code == 0
    assert "accuracy" in run("evaluate", tmp_path / "run", "--data", tmp_path / "data").output
    wrong = run("classify", tmp_path / "run", Path(__file__))
    assert wrong.exit_code == 2 and "is no sound that is read here" in wrong.output


def test_a_start_from_pictures_and_from_sounds(tmp_path):
    stack = StackConfig(dim=16, layers=2, heads=2, hidden=32)
    body = ViTConfig(stack=stack, height=32, width=32, patch=8)
    save_model(tmp_path / "vit", PictureClassifier(PictureHeadConfig(body=body, labels=("a", "b"))))
    data = folder(tmp_path / "data")
    output = trained(tmp_path / "one", data, f"model.start={tmp_path / 'vit'}", "model.stride=6")
    assert "(50 frames, 32 mels, 5 x 8 patches): the PictureClassifier of" in output
    output = trained(tmp_path / "two", data, f"model.start={tmp_path / 'one'}", "model.seconds=0.3")
    assert "(30 frames, 32 mels, 5 x 4 patches)" in output and "head of 2 label(s) kept" in output


def test_several_labels_and_official_folds(tmp_path):
    root = folder(tmp_path / "data")
    with (root / "sounds.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["audio", "label", "fold"])
        for number in range(6):
            table.writerow([f"high/{number}.wav", "high;loud" if number % 2 else "high", number % 3])
            table.writerow([f"low/{number}.wav", "low", number % 3])
    more = ("rows.separator=;", "rows.folds=fold", "rows.fold=2")
    output = trained(tmp_path / "run", root / "sounds.csv", *more)
    assert "examples: 8" in output and "4 examples" in output and "several of 3" in output
    system = formers.load(tmp_path / "run", system="sounds")
    assert system.kind == "several"


def test_faults():
    body = SpectrogramTransformer(SpectrogramConfig(body=SIZES.config()))
    with pytest.raises(ConfigError, match="without labels"):
        SoundModel(body, usual_extractor("fbank", mels=32)).classify([[tone("low", 0)]])
    with pytest.raises(ConfigError, match=r"no preprocessor_config\.json"):
        _ = SoundModel(body, None).extractor
    with pytest.raises(ConfigError, match="gives 64 mels, but the model reads 32"):
        _ = SoundModel(body, usual_extractor("fbank", mels=64)).extractor
    with pytest.raises(ConfigError, match=r"model\.stride \(12\) must be at most model\.patch"):
        SoundSizes(patch=8, stride=12)
