"""The verbs of Whisper: what they take, what they give."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from formers.errors import ConfigError
from formers.fields import Natural, Part, check
from formers.systems.measure import ALL_MEDIA, MeasureMedia, measured
from formers.systems.sound_files import Sounds, SoundSource
from formers.systems.system import Event, Remark, Typed
from formers.systems.transcripts import FORM, TranscriptForm, delivered, heard
from formers.systems.whisper.options import LISTEN, ListenOptions

if TYPE_CHECKING:
    from formers.systems.whisper.system import Transcriber


@dataclass(frozen=True, kw_only=True)
class Transcribe:
    """What to write down."""

    sounds: Sounds
    """Recordings of any length: files, folders with all below them, patterns; - is one on standard input."""
    listen: Annotated[ListenOptions, Part()] = LISTEN
    """What they are listened to for."""
    form: Annotated[TranscriptForm, Part()] = FORM
    """How it is written."""

    def __post_init__(self) -> None:
        check(self)
        if self.form.words and self.form.timestamps is False:
            raise ConfigError("--no-timestamps is for text without times, so not for --words")


def transcribe(model: Transcriber, options: Transcribe) -> Iterator[Event]:
    """The transcript of each recording."""
    form, listen = options.form, options.listen

    def work(sound: SoundSource) -> Iterator[Event]:
        begin = time.perf_counter()
        pieces, times = partial(sound.pieces, model.extractor.rate), form.timestamps is not False
        transcript = yield from model.listen(pieces, listen, words=form.words, timestamps=times)
        seconds = time.perf_counter() - begin
        if not listen.language and model.tokens.languages and transcript.language:
            share = transcript.languages[transcript.language]
            yield Remark(f"{sound.name}: language {transcript.language} ({share:.0%})")
        hint = "" if listen.vad == "none" else " (--vad none listens to all of it)"
        yield from heard(sound.name, transcript, seconds, hint=hint)
        yield from delivered(sound.name, transcript, form)

    yield from options.sounds.worked(work)


@dataclass(frozen=True, kw_only=True)
class EvaluateSpeech:
    """What to measure a model of speech on."""

    data: Annotated[str, Typed("SOURCE", file=True)] = ""
    """Recordings with transcripts (default for a run: its test data)."""
    audio: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the sound."""
    text: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the transcript."""
    language: str = ""
    """Of the recordings (default: en, or what the run says)."""
    batch: Natural = 8
    """Windows that are decoded together."""
    measure: Annotated[MeasureMedia, Part()] = ALL_MEDIA
    """What every `evaluate` of pictures and sounds has."""

    def __post_init__(self) -> None:
        check(self)


def evaluate(model: Transcriber, options: EvaluateSpeech) -> Iterator[Event]:
    """Word and character error rates of greedy texts, and the loss per token."""
    from formers.systems.begin import judged_rows
    from formers.systems.whisper.data import SpeechBatches, SpeechRows

    rows, judged = judged_rows(options, "whisper", SpeechRows, audio="audio", text="text")
    table: Any = judged
    begin = time.perf_counter()
    language = options.language or rows.language
    length = model.model.config.length
    batches = SpeechBatches(table, model.tokens, model.extractor, rows, length=length, language=language)
    report = model.evaluate(batches, batch=options.batch)
    yield measured(report, "whisper", options.measure.origin, table, begin, unit="recordings")
