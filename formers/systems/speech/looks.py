"""What there is to see of a model of speech alone: where in the sound it says each token of a text."""

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
    from formers.systems.speech.system import Recogniser


@dataclass(frozen=True, kw_only=True)
class FramesLook:
    """A look at a recording, and at what every frame of it says."""

    origin: Origin = NOWHERE
    """The model."""
    sound: Annotated[str, Typed("SOUND", positional=True, file=True)] = ""
    """The recording."""
    transcript: Annotated[str, Typed("TEXT")] = ""
    """What is said in it (default: what the model writes)."""

    def __post_init__(self) -> None:
        if not self.sound:
            raise ConfigError(f"of which recording? formers inspect {self.origin.name} alignment speech.wav")


def alignment(opened: Recogniser, options: FramesLook) -> Iterator[Event]:
    """The spectrogram with the words over it, and below it how likely each token of the text is said in every frame."""
    import torch

    from formers.decoding.ctc import align, occupancy

    sound = SoundSource(options.sound, expanded(options.sound)).whole(opened.extractor.rate)
    log_probs = torch.cat(list(opened.stream([sound.samples])))
    tokens = opened.tokens(options.transcript) if options.transcript else opened.hypothesis(log_probs).tokens
    if not tokens:
        raise ConfigError(f"{options.sound}: nobody speaks in it; give what is said with --transcript")
    words = opened.words(align(log_probs, tokens, opened.blank))
    names = [opened.pieces[token].replace(" ", "␣") for token in tokens]
    mels = opened.extractor.log_mels(torch.from_numpy(sound.samples)).numpy()
    shares = occupancy(log_probs, tokens, opened.blank).numpy()
    yield from aligned(words, mels, shares, names, options.sound)
