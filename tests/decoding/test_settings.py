"""A checkpoint's generation settings: read, kept, written back."""

import pytest

from formers.decoding.options import DecodingOptions
from formers.decoding.settings import Settings
from formers.errors import CheckpointError, ConfigError

LLAMA = {
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "do_sample": True,
    "temperature": 0.6,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.05,
    "repetition_penalty": 1.1,
}
MARIAN = {
    "decoder_start_token_id": 59,
    "eos_token_id": 0,
    "forced_eos_token_id": 0,
    "pad_token_id": 59,
    "num_beams": 4,
    "bad_words_ids": [[59]],
    "bos_token_id": 0,
}


def test_language_models():
    found = Settings.of(LLAMA)
    assert found.stop == (128001, 128008, 128009) and found.start == found.bos == 128000
    assert (found.sample, found.temperature, found.top_k, found.top_p, found.min_p) == (True, 0.6, 40, 0.9, 0.05)
    raw = found.raw()
    assert {key: raw[key] for key in LLAMA} == LLAMA
    assert Settings.of(raw) == found


def test_what_is_not_said_is_not_written():
    found = Settings.of({"bos_token_id": 1, "eos_token_id": 2})
    assert not {"do_sample", "temperature", "top_k", "top_p", "min_p", "forced_eos_token_id"} & found.raw().keys()
    assert "eos_token_id" not in Settings.of({}).raw()


def test_rows_are_filled_with_the_end_where_there_is_no_padding():
    assert Settings.of({"eos_token_id": [7, 8]}).pad == 7
    assert Settings.of({"eos_token_id": 7, "pad_token_id": -1}).pad == 7  # Llama 1
    assert Settings.of({"eos_token_id": 7, "pad_token_id": 0}).pad == 0
    assert Settings.of({}).pad == 0


def test_encoder_decoders():
    found = Settings.of(MARIAN)
    assert (found.start, found.pad, found.forced_last, found.beams, found.forbidden) == (59, 59, 0, 4, (59,))
    assert {key: found.raw()[key] for key in MARIAN} == MARIAN


@pytest.mark.parametrize("penalty", [2**63, -1e9, 51])
def test_an_exponent_that_makes_no_score_is_refused(penalty):
    with pytest.raises(CheckpointError, match=r"length_penalty is .*, expected in \[-50, 50\]"):
        Settings.of({**MARIAN, "length_penalty": penalty})
    with pytest.raises(ConfigError, match=r"length_penalty \(.*\) must be in \[-50, 50\]"):
        DecodingOptions(length_penalty=penalty)
