"""What one may ask of a transcription; light, because help and routes are made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from formers.errors import ConfigError
from formers.fields import Between, Natural, Part, check
from formers.systems.system import Typed


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """How the text of a window is decoded, and when it is not believed; named as OpenAI names them."""

    beams: Natural = 1
    """Search with so many beams."""
    temperature: Annotated[float, Between(0, 1)] = 0.0
    """Draw tokens at this temperature from the first trial on (0: the likeliest)."""
    fallback: Annotated[bool, Typed(negatable=True)] = True
    """Try again at a higher temperature, up to 1, where a text repeats itself or is unlikely."""
    best_of: Natural = 5
    """Texts that are drawn at a temperature, of which the likeliest counts."""
    compression_ratio_threshold: Annotated[float, Between(above=0)] = 2.4
    """A text that zlib makes so many times shorter repeats itself."""
    logprob_threshold: float = -1.0
    """A text whose tokens have a lower mean log-probability is unlikely."""
    no_speech_threshold: Annotated[float, Between(0, 1)] = 0.6
    """An unlikely text is silence where that has this probability."""
    seed: int = 0
    """Of what is drawn."""


WINDOW = WindowOptions()


@dataclass(frozen=True, kw_only=True)
class ListenOptions:
    """What a recording is listened to for."""

    language: str = ""
    """Its language, as a code such as en or de (default: it is detected)."""
    task: Literal["transcribe", "translate"] = "transcribe"
    """Write it down, or translate it into English."""
    prompt: str = ""
    """A text that could stand before: names, spelling, style."""
    hotwords: str = ""
    """Words that are likely, before every window."""
    prefix: str = ""
    """What the first window's text begins with."""
    condition: Annotated[bool, Typed(negatable=True)] = True
    """Each window knows the text before it (--no-condition: it repeats faults less)."""
    clip: Annotated[tuple[str, ...], Typed(metavar="FROM-TO")] = ()
    """Only these seconds, such as 60-120."""
    vad: Literal["energy", "silero", "none"] = "energy"
    """What tells where somebody speaks, which alone is listened to: the energy of the sound, or Silero's small network
    (the extra vad); none: all is listened to."""
    hallucination_silence_threshold: Annotated[float, Between(0)] = 0.0
    """Leave out texts of odd words with so many seconds of silence around them, and listen there again (0: never)."""
    batch: Natural = 1
    """Windows that are decoded together; above 1 none knows the text before it."""
    window: Annotated[WindowOptions, Part()] = WINDOW
    """How windows are decoded."""

    def __post_init__(self) -> None:
        check(self)
        if self.batch > 1 and self.prefix:
            raise ConfigError("--prefix is for the first window of a recording, so not for --batch")
        if self.batch > 1 and self.hallucination_silence_threshold:
            raise ConfigError("--hallucination-silence-threshold goes back in a recording, so not with --batch")


LISTEN = ListenOptions()
