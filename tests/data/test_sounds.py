"""Tables of sounds: folders, tables of paths, Parquet, tar, what is built in; broken files counted, folds, waves."""

import io
import sys
import tarfile

import numpy as np
import pytest

from formers.data.builtin.dialtones import HIGH, KEYS, LOW, dialled
from formers.data.sound_report import sound_lines
from formers.data.sounds import by_fold, read_sounds
from formers.data.waves import Waves
from formers.decoding.ctc import frames_needed
from formers.errors import DataError, PackageError


def test_dialtones_have_the_frequencies_of_their_keys():
    table = read_sounds("builtin:dialtones", columns=["label"], count=40)
    for row in range(40):
        sound, key = table.sound(row), table.table.columns["label"][row]
        power = np.abs(np.fft.rfft(sound.samples, 1 << 16)) ** 2
        hertz = np.fft.rfftfreq(1 << 16, 1 / sound.rate)
        best = [max(group, key=lambda f: power[abs(hertz - f) < 0.016 * f].max()) for group in (LOW, HIGH)]
        assert KEYS[LOW.index(best[0]) * 4 + HIGH.index(best[1])] == key
    assert {*read_sounds("builtin:dialtones", columns=["label"]).table.columns["label"]} == {*KEYS}


def test_dialled_strings_have_their_text_and_times():
    row = dialled("train", 3, several=True)
    assert row == dialled("train", 3, several=True) != dialled("test", 3, several=True)
    assert len(row.times) == len(row.text.replace(" ", "")) and row.times[-1][1] < row.seconds
    table = read_sounds("builtin:dialled", columns=["text"], text=["text"], count=4)
    np.testing.assert_array_equal(table.sound(2).samples, read_sounds("builtin:dialled", count=4).sound(2).samples)
    soundfile = pytest.importorskip("soundfile")
    stored = soundfile.read(io.BytesIO(table.content(2)), dtype="float32")[0]
    assert np.abs(stored - table.sound(2).samples).max() < 1e-4


@pytest.fixture
def clips(tmp_path):
    """Two class folders of three sounds each, and a table of them."""
    soundfile = pytest.importorskip("soundfile")
    lines = ["audio,label,fold,text"]
    for label, key in (("one", "1"), ("two", "2")):
        (tmp_path / "clips" / label).mkdir(parents=True)
        for number in range(3):
            samples = dialled("train", number, several=False).sound().samples
            kind = ("wav", "flac", "ogg")[number]
            soundfile.write(tmp_path / "clips" / label / f"{number}.{kind}", samples, 8000)
            lines.append(f"clips/{label}/{number}.{kind},{label},{number},{key * (number + 1)}")
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_folders_tables_and_tar_files_of_sounds(clips):
    folder = read_sounds(clips / "clips", columns=["label"])
    assert folder.table.columns["label"] == ["one"] * 3 + ["two"] * 3
    assert folder.where(4).endswith("clips/two/1.flac") and folder.sound(4).rate == 8000
    table = read_sounds(clips / "clips.csv", columns=["label", "text"], text=["text"])
    assert table.table.columns["text"][2] == "111" and table.content(1) == folder.content(1)
    with tarfile.open(clips / "clips.tar", "w") as archive:
        for number in range(3):
            kind = ("wav", "flac", "ogg")[number]
            archive.add(clips / "clips" / "one" / f"{number}.{kind}", f"{number}.{kind}")
            (clips / "a.txt").write_text(f"row {number}")
            archive.add(clips / "a.txt", f"{number}.txt")
    packed = read_sounds(clips / "clips.tar", columns=["text"])
    assert packed.table.columns["text"] == ["row 0", "row 1", "row 2"] and packed.content(2) == folder.content(2)


def test_parquet_as_datasets_writes_it(clips):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    contents = [{"bytes": (clips / "clips" / "one" / "0.wav").read_bytes(), "path": None}] * 2
    parquet.write_table(arrow.table({"audio": contents, "label": [0, 1]}), clips / "a.parquet")
    assert read_sounds(clips / "a.parquet", columns=["label"]).sound(1).seconds > 0.1


def test_spoken_digits(shared):
    table = read_sounds(shared / "spoken_digits" / "test.parquet", columns=["label", "speaker"])
    assert len(table) == 300 and table.sound(7).rate == 8000
    rows, waves = Waves(table, 16_000).read([3, 0])
    assert rows.tolist() == [3, 0] and len(waves[1]) == 2 * len(table.sound(0).samples)


def test_official_folds(clips):
    table = read_sounds(clips / "clips.csv", columns=["label", "fold"])
    train, validation = by_fold(table, "fold", "1")
    assert [row.table.columns["fold"] for row in (train, validation)] == [["0", "2"] * 2, ["1", "1"]]
    assert validation.where(0).endswith("clips.csv, line 3")
    with pytest.raises(DataError, match="no row is of the fold 7 in the column fold, which has 0, 1, 2"):
        by_fold(table, "fold", "7")


def test_broken_sounds_are_left_out_up_to_a_limit(clips):
    (clips / "clips" / "one" / "1.flac").write_bytes(b"no sound")
    table = read_sounds(clips / "clips", columns=["label"])
    rows, waves = Waves(table, 16_000, unreadable=1).read(range(6))
    assert rows.tolist() == [0, 2, 3, 4, 5] and len(waves) == 5
    with pytest.raises(DataError, match=r"1.flac is no sound that is read here .* rows.unreadable=10"):
        Waves(table, 16_000).read(range(6))
    with pytest.raises(DataError, match="none of these 1 sounds can be read"):
        Waves(table, 16_000, unreadable=1).read([1])


def test_without_the_extra_no_sound_counts_as_broken(clips, monkeypatch):
    table = read_sounds(clips / "clips", columns=["label"])
    monkeypatch.setitem(sys.modules, "soundfile", None)
    waves = Waves(table, 16_000, unreadable=100)
    with pytest.raises(PackageError, match="needs the package soundfile"):
        waves.read(range(6))
    with pytest.raises(PackageError, match="needs the package soundfile"):
        sound_lines(table)


def test_the_same_sound_is_kept(clips):
    waves = Waves(read_sounds(clips / "clips"), 16_000)
    assert waves.read([1])[1][0] is waves.read([2, 1])[1][1]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("empty", r"a folder without a file that ends in \.wav, \.flac"),
        ("clips/one/9.wav", "9.wav"),
        ("missing.csv", "missing.csv"),
        ("lost.csv", r"lost.csv, line 2: there is no sound \"x.wav\", neither in"),
        ("web.csv", r"is an address, expected the path of a sound; fetch the sounds first"),
    ],
)
def test_wrong_sources(clips, source, message):
    (clips / "empty").mkdir()
    (clips / "lost.csv").write_text("audio,label\nx.wav,a\n")
    (clips / "web.csv").write_text("audio,label\nhttps://a.b/x.wav,a\n")
    with pytest.raises(DataError, match=message):
        read_sounds(clips / source).content(0)


def test_report(clips):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(clips / "clips" / "one" / "0.wav", np.zeros(4000), 16_000)
    soundfile.write(clips / "clips" / "one" / "2.ogg", 2 * np.sin(np.arange(8000)), 8000)
    soundfile.write(clips / "clips" / "two" / "2.ogg", np.ones((400, 2)) / 3, 8000)
    (clips / "clips" / "one" / "1.flac").write_bytes(b"no sound")
    (clips / "clips" / "two" / "0.wav").write_bytes((clips / "clips" / "one" / "0.wav").read_bytes())
    table = read_sounds(clips / "clips.csv", columns=["label", "text"])
    report = "\n".join(sound_lines(table, table.select([4]), label="label", text="text", frames_needed=frames_needed))
    for part in (
        "sounds: 0.05 to 1.29 s, median 0.25",
        "8,000 Hz 60.0%, 16,000 Hz 40.0%; mono 80.0%, 2 channels 20.0%; ",
        "silent: 2, the first: ",
        "clipped: 1, the first: ",
        "unreadable: 1, the first: ",
        "characters of text: 2 kinds, the most frequent: 1 2",
        "too short for their text at 25 frames a second: 1, the first: ",
        'clips/two/2.ogg") (0.05 s, 1 frames, 5 needed)',
        "the same sound again in training: 1 (by files), the first: ",
        "the same sound with another label: 1 (by files), the first: ",
        "the same sound in training and held out: 1 of 1",
        "classes with fewer than 5 sounds: one (3), two (3)",
    ):
        assert part in report, (part, report)
