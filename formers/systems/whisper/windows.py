"""The windows of a long recording: which of it is looked at, and its spectrogram a window at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from formers.sound.decode import Samples
from formers.sound.features import QUIETEST, FeatureExtractor
from formers.sound.voice import Span, voiced
from formers.systems.transcripts import seconds_of

Open = Callable[[], Iterable[Samples]]
PAUSE = 5.0  # seconds without a voice that are not looked at; shorter ones help to tell sentences apart

EDGE = 15  # frames of silence at least that voice activity takes for voice, before and behind one


class Frames(NamedTuple):
    """Frames of a spectrogram, from one to before another."""

    start: int
    end: int


class WindowReader:
    """The spectrogram of a recording as the model reads it, for windows that only go on: no more is held than one."""

    def __init__(self, pieces: Iterable[Samples], extractor: FeatureExtractor, loudest: float, size: int) -> None:
        """loudest: the largest log-mel of all; size: frames of a window."""
        self.extractor, self.loudest, self.size = extractor, loudest, size
        self.blocks: Iterator[Tensor] = iter(extractor.stream(pieces))
        self.held, self.first = torch.empty(0, extractor.mels), 0

    def window(self, part: Frames) -> Tensor:
        """(1, mels, size): these frames, at most so many, and the recording goes on; silence behind its end."""
        rows = [self.held]
        end = self.first + len(self.held)
        while end < part.start + self.size and (block := next(self.blocks, None)) is not None:
            rows.append(block)
            end += len(block)
            if end <= part.start:  # all of it is passed over
                rows, self.first = [rows[-1][:0]], end
        held = torch.cat(rows)[max(0, part.start - self.first) :]
        self.held, self.first = held, max(part.start, self.first)
        own = held[: min(self.size, part.end - part.start)]
        silent = own.new_full((self.size - len(own), own.shape[1]), QUIETEST)
        return self.extractor.scaled(torch.cat([own, silent]), self.loudest).T[None]


def clips_of(texts: Sequence[str], second: float, frames: int) -> list[Frames]:
    """What `--clip` names, in frames: "60-120", "60-" to the end; everything where nothing is named.

    second: frames of one. Raises ConfigError.
    """
    spans = map(seconds_of, texts)
    parts = [Frames(min(frames, round(begins * second)), round(min(frames, ends * second))) for begins, ends in spans]
    return sorted(part for part in parts if part.start < part.end) if texts else [Frames(0, frames)]


def spoken(parts: Iterable[Frames], voice: Sequence[Span], pause: int) -> list[Frames]:
    """What of these parts has a voice, neighbours joined whose pause is shorter."""
    done: list[Frames] = []
    for part in parts:
        within = (Frames(max(part.start, start), min(part.end, end)) for start, end in voice)
        last = len(done)
        for own in within:
            if own.start >= own.end:
                continue
            if len(done) > last and own.start - done[-1].end < pause:
                own = Frames(done.pop().start, own.end)
            done.append(own)
    return done


def packed(parts: Iterable[Frames], size: int) -> Iterator[Frames]:
    """Parts that stand alone as windows: neighbours together while they fit into one, longer ones cut."""
    last: Frames | None = None
    for part in parts:
        if last is not None and part.end - last.start <= size:
            last = Frames(last.start, part.end)
            continue
        if last is not None:
            yield last
        while part.end - part.start > size:
            yield Frames(part.start, part.start + size)
            part = Frames(part.start + size, part.end)
        last = part
    if last is not None:
        yield last


class Survey(NamedTuple):
    """What is known of a whole recording before it is listened to."""

    frames: int
    loudest: float
    """The largest log-mel."""
    voice: list[Span]
    """Where somebody may speak, in frames."""


def pauses_of(found: Survey, second: float) -> list[tuple[float, float]]:
    """The seconds of a recording before, between and behind spans with a voice, whose margin is none."""
    edges = [(start + EDGE, end - EDGE) for start, end in found.voice if end - start > 2 * EDGE]
    begins, ends = [0, *(end for _, end in edges)], [*(start for start, _ in edges), found.frames]
    return [(begin / second, end / second) for begin, end in zip(begins, ends, strict=True) if begin < end]


def survey(pieces: Iterable[Samples], extractor: FeatureExtractor) -> Survey:
    """One pass over a recording, of which only the level of each frame is held."""
    levels, loudest = [], QUIETEST
    for block in extractor.stream(pieces):
        levels.append(block.mean(1).numpy())
        loudest = max(loudest, float(block.max()))
    level = np.concatenate(levels) if levels else np.zeros(0, np.float32)
    return Survey(len(level), loudest, voiced(level))
