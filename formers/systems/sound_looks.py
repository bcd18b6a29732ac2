"""What there is to see of a model that reads sounds: the sound, its spectrogram, and where in that it looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from formers.errors import ConfigError
from formers.fields import Natural
from formers.files import expanded
from formers.systems.looks import EVERY, Picture
from formers.systems.sound_files import SoundSource
from formers.systems.system import NOWHERE, Event, Line, Look, Origin, Typed

if TYPE_CHECKING:
    from formers.pictures.sounds import DrawnSound
    from formers.systems.sounds.system import SoundModel
    from formers.systems.transcripts import Word

HERE = "systems.sound_looks"
SOUND_LOOKS = (
    Look("sound", "A sound as it is, and the spectrogram that the model reads.", f"{HERE}:SoundLook", f"{HERE}:sound"),
    Look(
        "attention",
        "Where in the spectrogram the class tokens look, every head of a layer.",
        f"{HERE}:HeardLook",
        f"{HERE}:attention",
    ),
    *(look for look in EVERY if look.name not in ("attention", "positions")),
)
DRAWN_MOST = 600.0  # seconds of a sound that is drawn


@dataclass(frozen=True, kw_only=True)
class SoundLook:
    """A look at a sound."""

    origin: Origin = NOWHERE
    """The model."""
    sound: Annotated[str, Typed("SOUND", positional=True, file=True)] = ""
    """The sound that is read."""

    def __post_init__(self) -> None:
        of_sound(self)


@dataclass(frozen=True, kw_only=True)
class HeardLook:
    """A look at what a model looks at in a sound."""

    origin: Origin = NOWHERE
    """The model."""
    sound: Annotated[str, Typed("SOUND", positional=True, file=True)] = ""
    """The sound that is read; of a long one, its first part."""
    layer: Natural | None = None
    """Layer, from 1 (default: the last)."""
    head: Natural | None = None
    """Only this head, from 1."""

    def __post_init__(self) -> None:
        of_sound(self)


def of_sound(look: Any) -> None:
    """Refuse a look at nothing. Raises ConfigError."""
    if not look.sound.strip():
        raise ConfigError(f"of which sound? formers inspect {look.origin.name} LOOK clip.wav")


def aligned(words: Sequence[Word], mels: Any, weights: Any, names: Sequence[str], title: str) -> Iterator[Event]:
    """The words of a recording with their times, and a picture: its spectrogram (frames, bands), and below that how
    much each token, (tokens, frames), is heard in each moment; names: of the tokens."""
    from formers.pictures.alignment import draw_alignment

    for word in words:
        yield Line(f"{word.start:6.2f} {word.end:6.2f}  {word.confidence or 0:4.0%}  {word.text.strip()}")
    times = [(word.text, word.start, word.end) for word in words]
    yield Picture("alignment", lambda: draw_alignment(mels, weights, names, times, title))


def seen(model: SoundModel, source: SoundSource) -> DrawnSound:
    """A sound as it is drawn, its beginning where it is long."""
    import numpy as np
    import torch

    from formers.pictures.sounds import DrawnSound

    rate = model.extractor.rate
    samples = np.concatenate([np.empty(0, np.float32), *source.pieces(rate, end=DRAWN_MOST)])
    return DrawnSound(samples, len(samples) / rate, model.extractor.log_mels(torch.from_numpy(samples)).numpy())


def sound(model: SoundModel, options: SoundLook) -> Iterator[Event]:
    """The waveform, and the spectrogram before it is normalised."""
    from formers.pictures.sounds import draw_sounds

    source = SoundSource(options.sound, expanded(options.sound))
    drawn = seen(model, source)
    read = model.width * model.extractor.hop / model.extractor.rate
    title = f"{drawn.seconds:.2f} s; the model reads {read:g} s at once"
    yield Picture("sound", lambda: draw_sounds([drawn], [options.sound], title))


def attention(model: SoundModel, options: HeardLook) -> Iterator[Event]:
    """What the class tokens look at in one layer: the heads and their mean, over the spectrogram."""
    from formers.pictures.overlay import draw_overlays
    from formers.systems.picture_inspection import class_attention

    body, extractor = model.model.body, model.extractor
    layers, heads = body.config.stack.layers, body.config.stack.heads
    for name, number, most in (("layer", options.layer, layers), ("head", options.head, heads)):
        if number is not None and number > most:
            raise ConfigError(f"--{name} ({number}) must be 1 to {most}")
    source = SoundSource(options.sound, expanded(options.sound))
    part = next(model.parts(0, source.pieces(extractor.rate), True))
    features = replace(extractor, frames=part.frames)(part.samples).values[0]
    layer = options.layer or layers
    like = next(model.model.parameters())
    weights = class_attention(body, features.mT[None].to(like))[layer - 1].float().cpu().flip(1)  # low bands below
    names = [f"head {i + 1}: {share:.0%} on patches" for i, share in enumerate(weights.sum((1, 2)).tolist())]
    only = slice(None) if options.head is None else slice(options.head - 1, options.head)
    shown = features.mT.flip(0)
    shown = (shown - shown.min()) / (shown.max() - shown.min()).clamp(min=1e-6)
    picture = shown[..., None].expand(-1, -1, 3).numpy()
    title = f"what the class tokens look at in {source.name.rpartition('/')[2]}, layer {layer} of {layers}"
    yield Picture("attention", lambda: draw_overlays(picture, weights[only].numpy(), names[only], title, "attention"))
