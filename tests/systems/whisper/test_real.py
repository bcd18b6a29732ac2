"""Whisper's tiny.en on a real speech: the words, their times, silence, and a long recording."""

from __future__ import annotations

import re

import numpy as np
import pytest

SAID = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"


def bare(text):
    return re.sub(r"[^a-z ]", "", text.lower()).strip()


def test_a_speech_and_its_words(tiny, speech):
    transcript = tiny.transcribe(speech, words=True)
    assert bare(transcript.text) == SAID
    words = [word for segment in transcript.segments for word in segment.words]
    assert bare("".join(word.text for word in words)) == SAID
    starts, ends = [word.start for word in words], [word.end for word in words]
    assert starts == sorted(starts) and ends == sorted(ends)
    assert all(0 <= word.start <= word.end <= 11 and 0 < word.confidence <= 1 for word in words)
    assert [word.text.strip() for word in words if 7.5 < word.start < 8.9][:2] == ["ask", "what"]
    country = next(word for word in words if word.text.strip().startswith("country"))
    assert country.end == pytest.approx(6.4, abs=0.4)
    begins = {word.text.strip(): word.start for word in reversed(words)}
    assert begins["ask"] == pytest.approx(3.25, abs=0.1) and begins["what"] == pytest.approx(5.4, abs=0.1)


def test_what_was_said_stays_where_odd_words_are_left_out(tiny, speech):
    transcript = tiny.transcribe(speech, hallucination_silence_threshold=1.0)
    assert bare(transcript.text) == SAID and not transcript.segments[0].words


def test_without_times_and_with_beams(tiny, speech):
    from formers.systems.system import result_of
    from formers.systems.whisper.options import ListenOptions, WindowOptions

    options = ListenOptions(window=WindowOptions(beams=3))
    transcript = result_of(tiny.listen(lambda: [speech], options, timestamps=False))
    assert bare(transcript.text) == SAID and len(transcript.segments) == 1


def test_silence_says_nothing(tiny):
    silence = np.zeros(60 * 16_000, np.float32)
    noise = 0.003 * np.random.default_rng(0).standard_normal(60 * 16_000).astype(np.float32)
    assert tiny.transcribe(silence).text == ""
    assert tiny.transcribe(noise).text == ""


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "times"), [(1, 6), (4, 30)])  # two minutes, ten minutes
def test_every_repetition(tiny, speech, batch, times):
    gap = np.zeros(9 * 16_000, np.float32)
    pieces = [part for _ in range(times) for part in (speech, gap)]
    transcript = tiny.transcribe(lambda: iter(pieces), batch=batch, words=True)
    assert bare(transcript.text).split() == (SAID.split() * times)
    words = [word for segment in transcript.segments for word in segment.words]
    assert all(word.start % 20 < 11.5 for word in words)
