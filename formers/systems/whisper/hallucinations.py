"""Segments that nobody said: words that are unlikely, or too short or too long to be said, with silence around them.

Source: OpenAI's rules for `hallucination_silence_threshold`.
"""

from __future__ import annotations

from collections.abc import Sequence

from formers.systems.transcripts import Segment, Word
from formers.text.speech_tokens import AHEAD, BEHIND

WORDS, ODD = 8, 3.0  # words of a segment that are looked at; the oddness of a segment that nobody said
UNLIKELY, SHORT, LONG = 0.15, 0.133, 2.0  # the probability of a word; seconds of one
NEAR = 2.0  # seconds from a window's edge, where its texts are made up most often


def oddness(word: Word) -> float:
    """How far a word is from what is said: 0 of most."""
    length = word.end - word.start
    return float((word.confidence or 0) < UNLIKELY) + max(0.0, 15 * (SHORT - length)) + max(0.0, length - LONG)


def is_odd(segment: Segment) -> bool:
    """Whether its words are odd together, or nearly each of a few."""
    words = [word for word in segment.words if word.text.strip() not in AHEAD + BEHIND][:WORDS]
    total = sum(map(oddness, words))
    return bool(words) and total + 0.01 >= min(ODD + 0.01, len(words))


def believed(
    segments: Sequence[Segment], threshold: float, *, before: float, window: tuple[float, float], end: float
) -> tuple[list[Segment], float | None]:
    """The segments up to one that nobody said, and the second from which to listen again; None where all were said.

    threshold: seconds that are a silence; before: when speech ended last; window, end: of the window, of the recording.
    """
    spoken = [segment for segment in segments if segment.words]
    if spoken and is_odd(spoken[0]) and spoken[0].start - window[0] > threshold:
        return [], spoken[0].start
    for place, segment in enumerate(spoken):
        if is_odd(segment):
            behind = spoken[place + 1 : place + 2]
            begins = behind[0].start if behind else window[1]
            alone = segment.start - before > threshold or segment.start < max(threshold, window[0] + NEAR)
            silent = begins - segment.end > threshold or window[1] - segment.end < NEAR or any(map(is_odd, behind))
            if alone and silent:
                rest = end if end - segment.end < threshold else max(window[0] + 1, segment.start)
                return [*segments[: segments.index(segment)]], rest
        before = segment.end
    return [*segments], None
