"""Tables of sounds: folders, tables of paths, Parquet, tar, what is built in; broken files counted, folds, waves."""

import io

import numpy as np
import pytest

from formers.data.builtin.dialtones import HIGH, KEYS, LOW, dialled
from formers.data.sounds import read_sounds


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
