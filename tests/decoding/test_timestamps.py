"""Whisper's timestamps: which tokens may come, as transformers says, and the segments that they mark."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from formers.decoding.timestamps import TimedTokens, spans_of, timestamp_rules

END, SILENT, BEGIN, VOCAB = 20, 24, 25, 60  # text below END, times from BEGIN on
AT = 3


def test_rules_are_those_of_the_reference():
    transformers = pytest.importorskip("transformers")
    settings = SimpleNamespace(
        no_timestamps_token_id=SILENT, eos_token_id=END, bos_token_id=END, max_initial_timestamp_index=7
    )
    theirs = transformers.WhisperTimeStampLogitsProcessor(settings, begin_index=AT)
    ours = timestamp_rules(BEGIN, END, SILENT, at=AT, first=7)
    generator = torch.Generator().manual_seed(0)
    texts = [[], [26], [26, 5], [26, 5, 9], [26, 5, 30], [26, 5, 30, 30], [26, 5, 30, 30, 7], [26, 27], [5], [5, 7]]
    texts += [[26, 5, 30, 31, 6, 7, 40], [26, 5, 59], [26, 5, 59, 59]]
    for text in texts:
        tokens = torch.tensor([[21, 22, 23, *text]] * 8)
        logits = torch.randn(8, VOCAB, generator=generator) * 2
        expected = theirs(tokens, logits.clone())
        assert torch.equal(ours(logits.clone(), tokens), expected), text


def test_segments_and_the_next_window():
    time = BEGIN.__add__
    whole = [time(0), 1, 2, time(5), time(6), 3, time(9), time(9)]
    assert spans_of(whole, BEGIN, 100) == (
        [TimedTokens(0, 5, whole[:4]), TimedTokens(6, 9, whole[4:7])],
        9,  # the next window begins where the last whole segment ends
    )
    ended = [time(0), 1, time(5), time(6), 3, time(9)]
    assert spans_of(ended, BEGIN, 100) == ([TimedTokens(0, 5, ended[:3]), TimedTokens(6, 9, ended[3:])], 100)
    cut = [time(0), 1, time(5), time(6), 3, 4]
    assert spans_of(cut, BEGIN, 100) == ([TimedTokens(0, 5, cut[:3])], 5)
    assert spans_of([time(2), 1, 2], BEGIN, 100) == ([TimedTokens(0, 2, [time(2), 1, 2])], 100)
    assert spans_of([1, 2], BEGIN, 100) == ([TimedTokens(0, 100, [1, 2])], 100)
    assert spans_of([], BEGIN, 100) == ([], 100)
    stuck = [time(0), time(0), 1]
    assert spans_of(stuck, BEGIN, 100)[1] == 100  # it goes on, whatever a model says
