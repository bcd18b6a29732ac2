"""The verbs of speech: what they take, what they give."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from formers.errors import ConfigError
from formers.fields import Between, Natural, Part, check
from formers.systems.measure import ALL_MEDIA, MeasureMedia, measured
from formers.systems.sound_files import Sounds, SoundSource
from formers.systems.system import Event, Progress, Typed
from formers.systems.transcripts import FORM, Segment, Transcript, TranscriptForm, delivered, heard, seconds_of

if TYPE_CHECKING:
    from formers.decoding.ctc import PrefixBeam, WordScores
    from formers.systems.speech.system import Recogniser


@dataclass(frozen=True, kw_only=True)
class FrameSearch:
    """How texts are searched for in frames."""

    beams: Natural = 1
    """Beams of the search (1: greedy)."""
    hotwords: str = ""
    """Words and phrases that are likely, with commas between them."""
    language_model: Annotated[str, Typed("MODEL", file=True)] = ""
    """The folder of a language model that helps to choose words."""
    language_weight: Annotated[float, Between(0)] = 0.5
    """How much it counts beside the frames."""

    def options(self) -> tuple[PrefixBeam, WordScores | None]:
        """What the decoder takes; a search that has something to choose by has at least 16 beams."""
        from formers.decoding.ctc import PrefixBeam

        hot = tuple(filter(None, map(str.strip, self.hotwords.split(","))))
        width = max(self.beams, 16) if hot or self.language_model else self.beams
        options = PrefixBeam(width=width, hot_words=hot, language_weight=self.language_weight)
        if not self.language_model:
            return options, None
        from formers.systems.speech.language import words_of_language

        return options, words_of_language(self.language_model)


SEARCH = FrameSearch()


@dataclass(frozen=True, kw_only=True)
class TranscribeFrames:
    """What to write down."""

    sounds: Sounds
    """Recordings of any length: files, folders with all below them, patterns; - is one on standard input."""
    search: Annotated[FrameSearch, Part()] = SEARCH
    """How texts are searched for."""
    clip: Annotated[tuple[str, ...], Typed(metavar="FROM-TO")] = ()
    """Only these seconds, such as 60-120."""
    form: Annotated[TranscriptForm, Part()] = FORM
    """How it is written."""

    def __post_init__(self) -> None:
        check(self)
        _ = self.spans

    @property
    def spans(self) -> list[tuple[float, float]]:
        """The seconds that are asked for; all of them where none are. Raises ConfigError."""
        return [seconds_of(text) for text in self.clip] or [(0.0, float("inf"))]


def transcribe(model: Recogniser, options: TranscribeFrames) -> Iterator[Event]:
    """The transcript of each recording; hours of one take no more memory than seconds."""
    how, language = options.search.options()
    rate = model.extractor.rate

    def work(sound: SoundSource) -> Iterator[Event]:
        begin, total, listened = time.perf_counter(), sound.seconds(), 0.0
        segments: list[Segment] = []
        for start, end in options.spans:
            length = 0.0

            def pieces(start: float = start, end: float = end) -> Iterator[Any]:
                nonlocal length
                for piece in sound.pieces(rate, start=start, end=end):
                    length += len(piece) / rate
                    yield piece

            for segment in model.segments(pieces(), how, language):
                segments.append(moved(segment, start, words=options.form.words))
                yield Progress(
                    round(start + length), max(1, round(max(total, start + length))), f"listening to {sound.name}"
                )
            listened += length
        transcript = Transcript(sorted(segments, key=lambda one: one.start), seconds=listened)
        yield from heard(sound.name, transcript, time.perf_counter() - begin)
        yield from delivered(sound.name, transcript, options.form)

    yield from options.sounds.worked(work)


def moved(segment: Segment, start: float, *, words: bool = True) -> Segment:
    """So many seconds later, with the times of its words or without."""
    later = [replace(word, start=word.start + start, end=word.end + start) for word in segment.words if words]
    return replace(segment, start=segment.start + start, end=segment.end + start, words=later)


@dataclass(frozen=True, kw_only=True)
class Align:
    """A recording and what is said in it."""

    sounds: Sounds
    """The recording: a file, or - for one on standard input."""
    text: Annotated[str, Typed("TEXT|FILE", positional=True, passage=True)]
    """What is said in it; each line is a segment."""
    form: Annotated[TranscriptForm, Part()] = FORM
    """How it is written."""

    def __post_init__(self) -> None:
        check(self)


def align(model: Recogniser, options: Align) -> Iterator[Event]:
    """The words of the text with their times, in the segments that its lines are."""
    if len(options.sounds) > 1:
        raise ConfigError(f"got {len(options.sounds):,} recordings, expected the one in which the text is said")
    lines = [line for line in map(str.split, options.text.splitlines()) if line]

    def work(source: SoundSource) -> Iterator[Event]:
        sound = source.whole(model.extractor.rate)
        words = model.align(sound.samples, options.text)
        segments = []
        for line in lines:
            spoken, words = words[: len(line)], words[len(line) :]
            text = "".join(word.text for word in spoken)
            segments.append(Segment(spoken[0].start, spoken[-1].end, text, spoken))
        transcript = Transcript(segments, seconds=sound.seconds)
        yield from delivered(source.name, transcript, replace(options.form, words=True))

    yield from options.sounds.worked(work)


@dataclass(frozen=True, kw_only=True)
class EvaluateClips:
    """What to measure a model of speech on."""

    data: Annotated[str, Typed("SOURCE", file=True)] = ""
    """Recordings with transcripts (default for a run: its test data)."""
    audio: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the sound."""
    text: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the transcript."""
    search: Annotated[FrameSearch, Part()] = SEARCH
    """How texts are searched for."""
    measure: Annotated[MeasureMedia, Part()] = ALL_MEDIA
    """What every `evaluate` of pictures and sounds has."""

    def __post_init__(self) -> None:
        check(self)


def evaluate(model: Recogniser, options: EvaluateClips) -> Iterator[Event]:
    """Loss, word and character error rates of the recordings of --data, or of a run's own test data."""
    from formers.systems.begin import judged_rows
    from formers.systems.speech.data import ClipBatches, ClipRows

    rows, judged = judged_rows(options, "speech", ClipRows, audio="audio", text="text")
    table: Any = judged
    begin, origin = time.perf_counter(), options.measure.origin
    encoder, source = model.model.config.encoder, origin.section("data", "speech")
    batches = ClipBatches(table, model.extractor, model.tokenizer, rows, encoder, seed=source.seed if source else 1)
    report = model.evaluate(batches, *options.search.options())
    yield measured(report, "speech", origin, table, begin, unit="clips")
