"""What there is to see of Whisper alone: which sound each token was written from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from formers.errors import ConfigError
from formers.files import expanded
from formers.systems.sound_files import SoundSource
from formers.systems.sound_looks import aligned
from formers.systems.system import NOWHERE, Event, Origin, Typed

if TYPE_CHECKING:
    from formers.systems.whisper.system import Transcriber


@dataclass(frozen=True, kw_only=True)
class AlignmentLook:
    """A look at the cross-attention while the first window of a recording is written down."""

    origin: Origin = NOWHERE
    """The model."""
    sound: Annotated[str, Typed("SOUND", positional=True, file=True)] = ""
    """The recording."""
    language: str = ""
    """Its language (default: it is detected)."""

    def __post_init__(self) -> None:
        if not self.sound:
            raise ConfigError(f"of which recording? formers inspect {self.origin.name} alignment speech.flac")


def alignment(opened: Transcriber, options: AlignmentLook) -> Iterator[Event]:
    """The spectrogram, and below it how much each token's heads of alignment look at each of its moments."""
    samples = SoundSource(options.sound, expanded(options.sound)).whole(opened.extractor.rate).samples
    mels, tokens, weights, words = opened.aligned(samples, options.language)
    if not words:
        raise ConfigError(f"{options.sound}: nobody speaks in its first {opened.size / opened.second:g} seconds")
    yield from aligned(words, mels, weights, tokens, options.sound)
