"""Recordings become clips: joined and masked as a pure function of epoch and row, refused where CTC cannot align."""

import wave

import numpy as np
import pytest
import torch

from formers.blocks.stack import StackConfig
from formers.data.builtin.dialtones import strings
from formers.data.sounds import read_sounds
from formers.errors import ConfigError, DataError
from formers.models.conformer import ConformerEncoderConfig
from formers.sound.features import usual_extractor
from formers.systems.speech.data import ClipBatches, ClipRows, frames_of
from formers.text.training import characters

STACK = StackConfig(dim=16, layers=1, heads=2, hidden=24, activation="silu")
ENCODER = ConformerEncoderConfig(stack=STACK, mels=16, channels=4, halvings=2)
EXTRACTOR = usual_extractor("nemo", mels=16)


def batches(rows: ClipRows, count: int = 12, source="builtin:dialled", **options) -> ClipBatches:
    table = read_sounds(source, columns=["text"], **({"count": count} if source == "builtin:dialled" else {}))
    tokenizer = options.pop("tokenizer", None) or characters([*rows.texts(table), " "])
    return ClipBatches(table, EXTRACTOR, tokenizer, rows, ENCODER, seed=1)


def test_a_batch_is_what_the_rows_hold():
    made = batches(ClipRows(seconds_per_batch=8))
    numbers = made.epoch(0)
    assert sorted(np.concatenate(numbers).tolist()) == list(range(12))
    for batch in numbers:
        seconds = made.seconds[batch]
        assert len(batch) == 1 or len(batch) * seconds.max() <= 8.01
        collated = made.collate(batch)
        assert collated.texts == [made.texts[row] for row in batch]
        assert collated.counts.tolist() == [len(text) for text in collated.texts]
        features, lengths = EXTRACTOR([made.table.sound(int(row)).samples for row in batch])
        torch.testing.assert_close(collated.features, features)
        assert collated.lengths.tolist() == lengths.tolist()


def test_joined_clips_hold_every_recording_once_an_epoch():
    rows = ClipRows(join=(2, 3), gap=(0.1, 0.2), noise=(10, 20), time_masks=2, frequency_masks=1)
    made = batches(rows)
    for epoch in (0, 1):
        clips = made.clips(epoch)
        used = np.concatenate([clip.rows for clip in clips])
        assert len(set(used.tolist())) == len(used) > 12 - 3 and all(len(clip.rows) in (2, 3) for clip in clips)
    assert any((a.rows != b.rows).any() for a, b in zip(made.clips(0), made.clips(1), strict=False)
               if len(a.rows) == len(b.rows))  # fmt: skip
    first = made.epoch(1)[0]
    again = batches(rows)
    one, other = made.collate(first), again.collate(first)
    torch.testing.assert_close(one.features, other.features, atol=0, rtol=0)
    clip = made.clips(1)[int(first[0]) % (1 << 32)]
    assert one.texts[0] == " ".join(made.texts[row] for row in clip.rows)
    seconds = made.seconds[clip.rows].sum() + clip.gaps.sum()
    assert int(one.lengths[0]) == pytest.approx(100 * seconds, abs=2)
    plain = made.collate(first, plain=True)
    assert (one.features == 0).sum() > (plain.features == 0).sum()


def test_frames_are_those_of_the_model():
    from formers.models.conformer import ConformerEncoder

    encoder = ConformerEncoder(ENCODER).eval()
    for samples in (1, 200, 1600, 8000, 16001):
        features, lengths = EXTRACTOR([np.random.default_rng(0).standard_normal(samples).astype(np.float32)])
        with torch.no_grad():
            _, frames = encoder(features, lengths=lengths)
        assert int(frames[0]) == int(frames_of(np.array([samples]), ENCODER, EXTRACTOR)[0])


@pytest.fixture
def short(tmp_path):
    """Three recordings, the second of which is shorter than its text."""
    lines = ["audio,text"]
    for number, ((sound, text), seconds) in enumerate(zip(strings("train", 3), (None, 0.3, None), strict=True)):
        samples = sound.sound().samples[: None if seconds is None else int(seconds * 16000)]
        with wave.open(str(tmp_path / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes((samples * 32767).astype("<i2").tobytes())
        lines.append(f"{number}.wav,{text if seconds is None else '11 22 33'}")
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    return str(tmp_path / "clips.csv")


def test_a_text_that_ctc_cannot_align_is_refused_with_both_lengths(short):
    with pytest.raises(DataError, match=r"clips.csv, line 3: its text of 8 tokens needs 11 frames, but the recording "
                       r"has 8 \(0.30 s\).*1 of 3 rows.*rows.misfits"):  # fmt: skip
        batches(ClipRows(), source=short)
    assert batches(ClipRows(misfits=1), source=short).rows.tolist() == [0, 2]


def test_characters_outside_the_vocabulary_are_named(short):
    with pytest.raises(DataError, match=r"line 2: its text has '3', outside the vocabulary"):
        batches(ClipRows(misfits=0), source=short, tokenizer=characters(["0123456789ABCD*# ".replace("3", "")]))


@pytest.mark.parametrize("settings", [{"join": (3,)}, {"join": (4, 2)}, {"gap": (1.0,)}, {"noise": (10.0,)}])
def test_ranges_are_two_numbers(settings):
    with pytest.raises(ConfigError, match="must be two numbers, least and most"):
        ClipRows(**settings)
