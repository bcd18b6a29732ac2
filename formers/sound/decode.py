"""A sound file as numbers: one channel of float32 in -1..1 at the file's rate, or one clear line on why not."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from formers.errors import CheckpointError, DataError, one_line, shown
from formers.extras import optional
from formers.files import regular

Samples = NDArray[np.float32]  # (n,)

MOST_SAMPLES = 2**28  # of a sound that is read whole: 1.5 hours at 48 kHz, 4.6 at 16; `stream` has no bound
BLOCK = 2**18  # frames that are decoded at a time
LOUDEST = 16.0  # numbers beyond it are no sound in -1..1 but integers written as fractions
RATES = (1_000, 768_000)  # samples a second
MP3_FRAMES = 2 * 1152  # samples of two frames, which an encoder may count beside those of the sound
STREAMED = 0x7FFFF000  # sizes from here on stand for "not known yet" in a WAV file that was written to a pipe
FORMATS = "WAV, FLAC, OGG, MP3, AIFF"
# What only PyAV reads, by the bytes that such files have at a place.
OF_MEDIA = (
    (4, b"ftyp", "M4A or MP4"), (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska"), (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"), (0, b"0&\xb2u\x8ef\xcf\x11", "WMA"), (8, b"AVI ", "AVI"),
)  # fmt: skip


@dataclass(frozen=True)
class Sound:
    """One channel of sound."""

    samples: Samples
    """(n,), in -1..1 but where it is clipped."""
    rate: int
    """Samples a second."""

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


class SoundFile(NamedTuple):
    """A sound file that is open: what its header says, and its samples a block at a time."""

    rate: int
    channels: int
    seconds: float
    """As the header says; 0 where it does not."""
    format: str
    blocks: Iterator[Samples]
    """One channel, the mean of all. Raises DataError where the file is damaged."""


def decode(content: bytes | Path, name: str) -> Sound:
    """A sound, given as the bytes of a file or its place: all channels mixed to one, at the rate that the file has.

    Raises DataError, one line with `name`: no sound, damaged, without samples, with NaN, or hours long.
    """
    pieces, count = [], 0
    with opened(content, name) as recording:
        for block in recording.blocks:
            pieces.append(block)
            if (count := count + len(block)) > MOST_SAMPLES:
                hours = MOST_SAMPLES / recording.rate / 3600
                raise DataError(
                    f"{name} is longer than {hours:.1f} hours, too long to be read whole; cut it into clips"
                )
        if not count:
            raise DataError(
                f"{name} is a sound of zero length (no samples), expected some; remove it or record it again"
            )
        return Sound(np.concatenate(pieces), recording.rate)


def stream(
    content: bytes | Path, name: str, rate: int, *, start: float = 0.0, end: float = math.inf
) -> Iterator[Samples]:
    """A sound of any length a piece at a time, at `rate`, so that hours of it take no more memory than seconds.

    start, end: the seconds that are wanted. Raises DataError as `decode` does.
    """
    with opened(content, name, start) as recording:
        wanted = _first(recording.blocks, (end - start) * recording.rate)
        empty = True
        for piece in _resampled(wanted, recording.rate, rate):
            empty = empty and not len(piece)
            yield piece
    if empty:
        span = f" between {start:g} and {end:g} seconds" if start or end < math.inf else ""
        raise DataError(f"{name} has no samples{span}; it is {recording.seconds:.2f} seconds long")


def resampled(sound: Sound, rate: int) -> Sound:
    """The same sound with so many samples a second, as soxr's high quality makes it (below half of the lower rate)."""
    if sound.rate == rate:
        return sound
    return Sound(optional("soxr", "audio", "another rate of a sound").resample(sound.samples, sound.rate, rate), rate)


def _first(blocks: Iterable[Samples], most: float) -> Iterator[Samples]:
    """The first `most` samples."""
    for block in blocks:
        if len(block) >= most:
            yield block[: max(0, round(most))]
            return
        yield block
        most -= len(block)


def _resampled(blocks: Iterable[Samples], old: int, new: int) -> Iterator[Samples]:
    if old == new:
        yield from blocks
        return
    resampler = optional("soxr", "audio", "another rate of a sound").ResampleStream(old, new, 1, dtype="float32")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


@contextmanager
def opened(content: bytes | Path, name: str, start: float = 0.0) -> Iterator[SoundFile]:
    """A sound file from its second `start` on, read as its blocks are asked for. Raises DataError as `decode` does."""
    soundfile = optional("soundfile", "audio", "sound")
    with ExitStack() as stack:
        file = stack.enter_context(_file(content, name))
        head = file.read(16)
        file.seek(0)
        if not head:
            raise DataError(f"{name} is empty (0 bytes), expected a sound")
        counted = _counts_frames(file)
        if kind := next((kind for at, mark, kind in OF_MEDIA if head[at : at + len(mark)] == mark), ""):
            yield _of_media(file, name, kind, start, stack)
            return
        try:
            sound = stack.enter_context(soundfile.SoundFile(file))
        except soundfile.LibsndfileError as fault:
            raise DataError(_refused(head, name, fault)) from fault
        _check_header(sound, name)
        try:
            sound.seek(min(sound.frames, round(start * sound.samplerate)))
        except soundfile.LibsndfileError as fault:
            raise DataError(_damaged(name, fault)) from fault
        blocks = _blocks(sound, name, soundfile.LibsndfileError, sound.frames if counted else 0)
        blocks = _checked(blocks, sound.samplerate, name, start)
        yield SoundFile(sound.samplerate, sound.channels, sound.frames / sound.samplerate, sound.format, blocks)


def _file(content: bytes | Path, name: str) -> Any:
    if isinstance(content, bytes):
        return io.BytesIO(content)
    try:
        return open(regular(content), "rb")
    except (CheckpointError, OSError) as fault:
        why = (fault.strerror or str(fault)) if isinstance(fault, OSError) else str(fault)
        raise DataError(f"{name} cannot be read: {why}") from fault


def _refused(head: bytes, name: str, fault: Any) -> str:
    """Why a file is not opened."""
    if fault.code == 1:  # no format that is known
        return f"{name} is no sound that is read here ({FORMATS}; with formers[media] also M4A, MP4, WebM)"
    if head[:4] == b"RIFF" and "SF_INFO" in str(fault):
        return f"{name}: its header says a rate or a number of channels that no sound has; write the file again"
    return _damaged(name, fault)


def _damaged(name: str, fault: Exception) -> str:
    why = getattr(fault, "strerror", None) or str(fault)  # without the number and the path
    return f"{name} is cut off or damaged ({shown(one_line(why))[1:-1]}); get it again"


def _check_header(sound: Any, name: str) -> None:
    """Refuse what the header of a file says wrongly, where that shows."""
    if not RATES[0] <= sound.samplerate <= RATES[1]:
        got = f"{sound.samplerate:,} samples a second"
        raise DataError(f"{name}: its header says {got}, expected {RATES[0]:,} to {RATES[1]:,}; write the file again")
    log = sound.extra_info  # of libsndfile, which goes on where numbers contradict each other
    if (wrong := re.search(r"Bytes/sec\s*: (\d+) \(should be (\d+)\)", log)) and int(wrong[2]) and int(wrong[1]):
        other = sound.samplerate * int(wrong[1]) // int(wrong[2])
        both = f"{sound.samplerate:,} samples a second, but as many bytes a second as {other:,} samples have"
        raise DataError(f"{name}: a wrong rate in its header ({both}); write the file again with its true rate")
    if (cut := re.search(r"^data : (\d+) \(should be (\d+)\)", log, re.MULTILINE)) and int(cut[1]) < STREAMED:
        raise DataError(f"{name} is cut off: {int(cut[2]):,} of {int(cut[1]):,} bytes of sound are there; get it again")


def _counts_frames(file: Any) -> bool:
    """Whether an MP3 file's first frame says how many there are; else libsndfile guesses, by its size."""
    tag = file.read(10)
    size = sum(byte << 7 * (3 - place) for place, byte in enumerate(tag[6:10]))  # seven bits of each
    file.seek(10 + size if tag[:3] == b"ID3" else 0)
    frame = file.read(200)
    file.seek(0)
    return frame[:1] == b"\xff" and (b"Xing" in frame or b"Info" in frame)


def _blocks(sound: Any, name: str, damaged: type[Exception], frames: int) -> Iterator[Samples]:
    """frames: so many there are to be; 0: that is not known, or the header is checked."""
    try:
        while len(block := sound.read(BLOCK, dtype="float32", always_2d=True)):
            yield _mixed(block)
    except damaged as fault:
        raise DataError(_damaged(name, fault)) from fault
    if sound.tell() < frames - MP3_FRAMES:
        there, whole = (count / sound.samplerate for count in (sound.tell(), frames))
        raise DataError(f"{name} is cut off: {there:.2f} of {whole:.2f} seconds are there; get it again")


def _mixed(block: NDArray[np.float32]) -> Samples:
    """The mean of all channels, (frames, channels) -> (frames,)."""
    return block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)


def _checked(blocks: Iterator[Samples], rate: int, name: str, start: float) -> Iterator[Samples]:
    """The same blocks, of numbers that can be a sound."""
    at = round(start * rate)
    for block in blocks:
        peak = float(np.abs(block).max(initial=0.0))  # NaN where there is one
        if not peak <= LOUDEST:
            bad = ~np.isfinite(block)
            place = (at + int(np.argmax(bad))) / rate
            if bad.any():
                raise DataError(f"{name} holds NaN or infinity (the first at {place:.3f} s); write the file again")
            raise DataError(f"{name} has samples of {peak:,.0f}, expected -1 to 1; divide them (by 32,768, likely)")
        at += len(block)
        yield block


def _of_media(file: Any, name: str, kind: str, start: float, stack: ExitStack) -> SoundFile:
    """What PyAV reads: M4A, MP4, WebM and others."""
    av = optional("av", "media", f"{name} is {kind}, which")
    try:
        container = stack.enter_context(av.open(file))
        if not container.streams.audio:
            raise DataError(f"{name} ({kind}) has no sound in it, expected an audio track")
        track = container.streams.audio[0]
        rate, channels = track.rate, track.channels
        seconds = float(track.duration * track.time_base) if track.duration else (container.duration or 0) / 1e6
    except av.FFmpegError as fault:
        raise DataError(_damaged(name, fault)) from fault
    blocks = _from(_frames(av, container, track, name), round(start * rate))
    return SoundFile(rate, channels, seconds, kind, _checked(blocks, rate, name, start))


def _frames(av: Any, container: Any, track: Any, name: str) -> Iterator[Samples]:
    planes = av.AudioResampler(format="fltp", rate=track.rate)  # the layout stays: the mean is taken here, as elsewhere
    try:
        for frame in container.decode(track):
            for part in planes.resample(frame):
                yield _mixed(part.to_ndarray().T)
    except av.FFmpegError as fault:
        raise DataError(_damaged(name, fault)) from fault


def _from(blocks: Iterable[Samples], skipped: int) -> Iterator[Samples]:
    """All but the first samples."""
    for block in blocks:
        if skipped < len(block):
            yield block[skipped:]
        skipped = max(0, skipped - len(block))
