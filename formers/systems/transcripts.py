"""Speech as text with times: words, segments, transcripts, and the forms that they are written in."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from formers.errors import ConfigError
from formers.fields import Natural, check
from formers.files import expanded, replace_file
from formers.systems.system import Event, Remark, Typed

Format = Literal["txt", "srt", "vtt", "tsv", "json"]


@dataclass(frozen=True)
class Word:
    """A word as its text has it, blanks before it too, and when it is said, in seconds."""

    text: str
    start: float
    end: float
    confidence: float | None = None
    """Its probability, 0 to 1."""

    def record(self) -> dict[str, Any]:
        """Its JSON, with OpenAI's keys."""
        times = {"word": self.text, "start": round(self.start, 3), "end": round(self.end, 3)}
        return times if self.confidence is None else {**times, "probability": round(self.confidence, 6)}


@dataclass(frozen=True)
class Segment:
    """Some words that are said together, in seconds from the beginning of the recording."""

    start: float
    end: float
    text: str
    words: Sequence[Word] = ()
    """Where words have times."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else its JSON says: tokens, temperature, avg_logprob ..."""


@dataclass(frozen=True)
class Transcript:
    """What is said in a recording."""

    segments: Sequence[Segment]
    language: str = ""
    """Its code, as "en"; "" where nobody has told."""
    languages: Mapping[str, float] = field(default_factory=dict)
    """The probability of each, where the model was asked which it is."""
    seconds: float = 0.0
    """How long the recording is."""

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments).strip()

    def record(self) -> dict[str, Any]:
        """Its JSON, with OpenAI's keys."""
        segments = []
        for i, segment in enumerate(self.segments):
            times = {"id": i, "start": round(segment.start, 3), "end": round(segment.end, 3), "text": segment.text}
            words = {"words": [word.record() for word in segment.words]} if segment.words else {}
            segments.append({**times, **segment.facts, **words})
        return {"text": self.text, "segments": segments, **({"language": self.language} if self.language else {})}


@dataclass(frozen=True, kw_only=True)
class TranscriptForm:
    """How transcripts are written."""

    format: Format = "txt"
    """Lines of text, subtitles, a table in milliseconds, or JSON with OpenAI's keys."""
    timestamps: Annotated[bool | None, Typed(negatable=True)] = None
    """Text with the times of its segments (--no-timestamps: a model that writes times is told not to)."""
    words: bool = False
    """The time of every word too."""
    highlight: bool = False
    """Subtitles underline each word while it is said."""
    max_line_width: Natural | None = None
    """Characters of a line of subtitles."""
    max_line_count: Natural | None = None
    """Lines of one subtitle; what is longer becomes several where words have times."""
    folder: Annotated[str, Typed("FOLDER", file=True)] = ""
    """Write the transcript of each recording into this folder, as NAME.FORMAT."""

    def __post_init__(self) -> None:
        check(self)
        for name in ("highlight", "max_line_count"):
            if getattr(self, name) and not self.words:
                raise ConfigError(f"--{name.replace('_', '-')} is for words that have times: add --words")
        if self.max_line_count and not self.max_line_width:
            raise ConfigError("--max-line-count needs to know how long a line is: add --max-line-width")


FORM = TranscriptForm()


def seconds_of(text: str) -> tuple[float, float]:
    """What `--clip` names: `60-120`, or `60-` to the end. Raises ConfigError."""
    start, dash, end = text.partition("-")
    try:
        span = float(start or 0), float(end or "inf")
    except ValueError:
        span = math.nan, math.nan
    if not dash or not 0 <= span[0] < span[1]:
        raise ConfigError(f'--clip: got "{text}", expected seconds such as 60-120, or 60- to the end')
    return span


def write_transcript(transcript: Transcript, form: TranscriptForm) -> str:
    """The text of a file in this form; without a line break at its end."""
    match form.format:
        case "json":
            return json.dumps(transcript.record(), ensure_ascii=False)
        case "tsv":
            rows = (
                f"{1000 * segment.start:.0f}\t{1000 * segment.end:.0f}\t{' '.join(segment.text.split())}"
                for segment in transcript.segments
            )
            return "\n".join(["start\tend\ttext", *rows])
        case "srt":
            cues = (
                f"{i}\n{clock(start, ',', hours=True)} --> {clock(end, ',', hours=True)}\n{text}\n"
                for i, (start, end, text) in enumerate(subtitles(transcript, form), 1)
            )
            return "\n".join(cues).rstrip("\n")
        case "vtt":
            cues = (
                f"{clock(start)} --> {clock(end)}\n{text.replace('-->', '->')}\n"
                for start, end, text in subtitles(transcript, form)
            )
            return "\n".join(["WEBVTT\n", *cues]).rstrip("\n")
    if form.words:
        spoken = (word for segment in transcript.segments for word in segment.words)
        return "\n".join(f"[{clock(word.start)} --> {clock(word.end)}] {word.text.strip()}" for word in spoken)
    times = (f"[{clock(segment.start)} --> {clock(segment.end)}] " for segment in transcript.segments)
    lines = (" ".join(segment.text.split()) for segment in transcript.segments)
    return "\n".join(time + line if form.timestamps else line for time, line in zip(times, lines, strict=True))


def clock(seconds: float, point: str = ".", *, hours: bool = False) -> str:
    """00:01.250, with hours where there are some or they are wanted."""
    minutes, milliseconds = divmod(round(1000 * seconds), 60_000)
    rest = f"{minutes % 60:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"
    return f"{minutes // 60:02d}:{rest}" if hours or minutes >= 60 else rest


def subtitles(transcript: Transcript, form: TranscriptForm) -> Iterator[tuple[float, float, str]]:
    """(start, end, text) of each: a segment, or as many lines of it as one may have; highlighted, one for each word."""
    for segment in transcript.segments:
        if not segment.words:
            parts = [Word(f" {part}", segment.start, segment.end) for part in segment.text.split()]
            text = "\n".join("".join(word.text for word in line).strip() for line in lines_of(parts, form))
            if text:
                yield segment.start, segment.end, text
            continue
        lines = lines_of(segment.words, form)
        count = form.max_line_count or len(lines)
        for first in range(0, len(lines), count):
            yield from subtitle(lines[first : first + count], form.highlight)


def lines_of(words: Sequence[Word], form: TranscriptForm) -> list[list[Word]]:
    """The words in lines that are no longer than one may be; a longer word has a line of its own."""
    lines: list[list[Word]] = []
    room = 0
    for word in words:
        begins = word.text.startswith(" ")  # not within what is written together: "co" "-operate"
        if not lines or (form.max_line_width and begins and len(word.text) > room):
            lines.append([])
            room = form.max_line_width or 0
            room += begins  # the blank before a line's first word is not shown
        lines[-1].append(word)
        room -= len(word.text)
    return lines


def subtitle(lines: Sequence[Sequence[Word]], highlight: bool) -> Iterator[tuple[float, float, str]]:
    """These lines as one; highlighted, as one for each word and for each pause between two."""
    words = [word for line in lines for word in line]
    plain = "\n".join("".join(word.text for word in line).strip() for line in lines)
    if not highlight:
        yield words[0].start, words[-1].end, plain
        return
    last = words[0].start
    for spoken in words:
        if spoken.start > last:
            yield last, spoken.start, plain
        marked = "\n".join(
            "".join(underlined(word.text) if word is spoken else word.text for word in line).strip() for line in lines
        )
        yield spoken.start, spoken.end, marked
        last = spoken.end


def underlined(text: str) -> str:
    bare = text.lstrip()
    return f"{text[: len(text) - len(bare)]}<u>{bare}</u>"


@dataclass(frozen=True)
class Transcribed:
    """The transcript of a recording, as JSON with OpenAI's keys."""

    file: str
    text: str
    language: str | None
    languages: Mapping[str, float] | None
    """The likeliest five, with their probabilities."""
    segments: Sequence[Mapping[str, Any]]
    transcript: Transcript = field(metadata={"json": False})
    form: TranscriptForm = field(default=FORM, metadata={"json": False})
    endings: tuple[str, ...] = field(default=(".txt", ".srt", ".vtt", ".tsv"), metadata={"json": False})

    @classmethod
    def of(cls, file: str, transcript: Transcript, form: TranscriptForm = FORM) -> Transcribed:
        record, own = transcript.record(), transcript.languages
        likeliest = {name: round(own[name], 6) for name in sorted(own, key=lambda name: -own[name])[:5]}
        language, segments = record.get("language"), record["segments"]
        return cls(file, transcript.text, language, likeliest or None, segments, transcript, form)

    def line(self) -> str:
        return write_transcript(self.transcript, self.form)

    def write(self, path: Path) -> None:
        """As the name's ending says."""
        form = replace(self.form, format=path.suffix.removeprefix("."))  # type: ignore[arg-type]
        replace_file(path, (write_transcript(self.transcript, form) + "\n").encode())


def heard(file: str, transcript: Transcript, seconds: float, *, hint: str = "") -> Iterator[Remark]:
    """That nobody speaks, with a hint on that, and how fast the recording was listened to."""
    if not transcript.segments:
        yield Remark(f"{file}: nobody speaks{hint}")
    length = transcript.seconds
    yield Remark(f"{file}: {length:,.1f} s of sound in {seconds:,.1f} s ({length / seconds:,.1f} times as fast)")


def delivered(file: str, transcript: Transcript, form: TranscriptForm) -> Iterator[Event]:
    """The transcript of a recording as a result, or written into the folder that was asked for."""
    result = Transcribed.of(file, transcript, form)
    if not form.folder:
        yield result
        return
    path = expanded(form.folder) / f"{Path(file).stem}.{form.format}"
    result.write(path)
    yield Remark(f"wrote {path}")
