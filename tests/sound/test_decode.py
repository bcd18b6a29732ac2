"""Sound files as numbers: every format, many channels, any rate, long files in pieces, and files that are none."""

import io
import struct
import sys

import numpy as np
import pytest

from formers.errors import DataError, PackageError
from formers.sound.decode import BLOCK, decode, resampled, stream

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


def test_channels_are_mixed_and_rates_kept():
    many = np.stack([tone(hertz=200 * k) for k in range(1, 9)], 1)
    sound = decode(written(many, 44_100), "a")
    assert sound.rate == 44_100
    np.testing.assert_allclose(sound.samples, many.mean(1), atol=1e-4)


def test_resampling_keeps_the_tone():
    sound = resampled(decode(written(tone(1.0, 44_100), 44_100), "a"), 16_000)
    assert sound.rate == 16_000 and len(sound.samples) == 16_000
    assert np.abs(sound.samples[500:-500] - tone(1.0)[500:-500]).max() < 1e-3
    assert resampled(sound, 16_000) is sound


@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_films_through_the_extra(kind, tmp_path):
    av = pytest.importorskip("av")
    file = tmp_path / f"a.{kind}"
    with av.open(str(file), "w") as container:
        track = container.add_stream("aac" if kind == "mp4" else "libopus", rate=48_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.stack([tone(1.0, 48_000)] * 2), format="fltp", layout="stereo")
        frame.sample_rate = 48_000
        for packet in [*track.encode(frame), *track.encode(None)]:
            container.mux(packet)
    sound = decode(file, "a")
    assert sound.rate == 48_000 and abs(sound.seconds - 1) < 0.05
    assert 0.15 < np.sqrt(np.mean(sound.samples**2)) < 0.25
    later = np.concatenate([*stream(file, "a", 16_000, start=0.75)])
    assert abs(len(later) - 4_000) < 1_000


def test_an_extra_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(
        PackageError, match=r'clip is M4A or MP4, which needs the package av: pip install "formers\[media'
    ):
        decode(b"\0\0\0\x20ftypM4A " + bytes(100), "clip")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(PackageError, match=r'sound needs the package soundfile: pip install "formers\[audio\]"'):
        decode(written(tone()), "clip")


@pytest.mark.parametrize("tag", [b"", b"ID3\4\0\0\0\0\2\1" + bytes(257)])
def test_an_mp3_that_is_cut_off_is_said_to_be(tag):
    whole = tag + written(tone(3.0), kind="MP3")
    assert len(decode(whole, "clip").samples) == 48_000
    with pytest.raises(DataError, match=r"clip is cut off: 1\.\d\d of 3\.00 seconds are there; get it again"):
        decode(whole[: len(whole) // 2], "clip")
    with pytest.raises(DataError, match=r"clip is cut off: 2\.\d\d of 3\.00 seconds"):
        list(stream(whole[: -len(whole) // 5], "clip", 16_000, start=1.0))


def changed(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


WAV = written(tone())
HOLE = tone()
HOLE[8000 - 1] = np.nan


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "clip is empty (0 bytes), expected a sound"),
        (b"<html>no sound</html>" * 9, "clip is no sound that is read here (WAV, FLAC, OGG, MP3"),
        (written(tone(0)), "clip is a sound of zero length (no samples), expected some"),
        (written(HOLE, subtype="FLOAT"), "clip holds NaN or infinity (the first at 0.500 s)"),
        (written(tone() * 32768, subtype="FLOAT"), "clip has samples of 9,830, expected -1 to 1"),
        (changed(WAV, 24, struct.pack("<I", 7)), "clip: its header says 7 samples a second, expected 1,000 to"),
        (changed(WAV, 24, struct.pack("<I", 0)), "clip: its header says a rate or a number of channels that no sound"),
        (
            changed(WAV, 24, struct.pack("<I", 8000)),
            "clip: a wrong rate in its header (8,000 samples a second, but as many bytes a second as 16,000 samples",
        ),
        (WAV[:5000], "clip is cut off: 4,956 of 16,000 bytes of sound are there; get it again"),
        (written(tone(3.0), kind="FLAC")[:9000], "clip is cut off or damaged (Error : flac decoder lost sync"),
    ],
)
def test_what_is_no_sound_is_one_line(content, message):
    with pytest.raises(DataError) as error:
        decode(content, "clip")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_damaged_film_says_why_in_words():
    pytest.importorskip("av")
    with pytest.raises(DataError, match=r"^clip is cut off or damaged \(Invalid data found .{0,40}\); get it again$"):
        decode(b"\0\0\0\x20ftypM4A " + bytes(500), "clip")


def test_a_file_that_was_written_to_a_pipe_is_read():
    sizes_unknown = changed(WAV, WAV.find(b"data") + 4, b"\xff" * 4)
    assert len(decode(sizes_unknown, "clip").samples) == 8000


def test_paths(tmp_path):
    with pytest.raises(DataError, match=r"a.wav cannot be read: No such file"):
        decode(tmp_path / "a.wav", "a.wav")
    with pytest.raises(DataError, match="is a folder, expected a file"):
        decode(tmp_path, "a.wav")


def test_a_stream_is_the_whole_in_pieces_and_stays_small(tmp_path):
    """Three minutes as three hours: no piece is longer than a block, whatever the file's length."""
    file = tmp_path / "long.flac"
    samples = np.tile(tone(1.0, 22_050), 180)
    soundfile.write(file, samples, 22_050)
    pieces = [*stream(file, "long", 16_000)]
    whole = resampled(decode(file, "long"), 16_000).samples
    assert len(pieces) > 10 and max(map(len, pieces)) <= BLOCK
    np.testing.assert_allclose(np.concatenate(pieces), whole[: sum(map(len, pieces))], atol=1e-4)
    assert abs(sum(map(len, pieces)) - len(whole)) <= 1
    part = np.concatenate([*stream(file, "long", 22_050, start=60.5, end=61.25)])
    np.testing.assert_allclose(part, samples[round(60.5 * 22_050) :][: len(part)], atol=1e-4)
    assert len(part) == round(0.75 * 22_050)
    with pytest.raises(DataError, match=r"long has no samples between 200 and 300 seconds; it is 180.00 seconds long"):
        list(stream(file, "long", 16_000, start=200, end=300))


def test_a_real_recording(shared):
    sound = resampled(decode(shared / "assets" / "jfk.flac", "jfk"), 16_000)
    assert sound.rate == 16_000 and abs(sound.seconds - 11) < 0.01 and 0.1 < np.abs(sound.samples).max() <= 1
