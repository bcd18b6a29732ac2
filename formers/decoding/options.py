"""How to decode: the options of a request, and the strategy and filters that follow from them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from formers.errors import ConfigError, shown
from formers.fields import Between, Count, Escaped, Natural, check
from formers.notes import note

if TYPE_CHECKING:
    from formers.decoding.filters import Filter
    from formers.decoding.settings import Extent, Settings
    from formers.decoding.strategies import Beam, Sample, Strategy

AHEAD = 4  # tokens of a guess: with the one before them five rows, which cost little more than one in fp32 (measured)
MAX_TOKENS = 256  # of a text, where nobody says how many


@dataclass(frozen=True, kw_only=True)
class DecodingOptions:
    """How to write a text: the likeliest token each time, unless one of temperature, top_k, top_p, min_p, seed
    and samples asks for tokens to be drawn; then what is left open is as the checkpoint's generation_config says.
    """

    max_tokens: Natural | None = None
    """Most tokens to write (default: as the checkpoint asks, else 256, of a translation two for a token of its source,
    and 50); also ends at the model's length."""
    temperature: Annotated[float, Between(0)] | None = None
    """Below 1 sharper, above 1 flatter, 0 always the likeliest."""
    top_k: Count | None = None
    """Draw from the k likeliest only (0: from all)."""
    top_p: float | None = None
    """Draw from the fewest likeliest whose probabilities reach this."""
    min_p: float | None = None
    """Draw from what is at least this share as likely as the likeliest."""
    repetition_penalty: float | None = None
    """Above 1: what was said is worth less (default: as the checkpoint asks)."""
    no_repeat_ngram: Count | None = None
    """No so many tokens in a row twice (0: allowed; default: as the checkpoint asks)."""
    stop: Annotated[tuple[str, ...], Escaped()] = ()
    r"""Text that ends the text, and is no part of it (\n: a line feed)."""
    seed: int | None = None
    """The same text every time, whatever else is in the batch."""
    samples: Natural | None = None
    """Several texts for every prompt, as a list."""
    beams: Natural | None = None
    """Beams that are searched for the likeliest text (default: 1, of a translation as the checkpoint asks)."""
    nbest: Natural = 1
    """The best texts of the beams, as many."""
    length_penalty: Annotated[float | None, Between(-50, 50)] = None
    """Of beams: above 1 longer, below 1 shorter texts (default: as the checkpoint asks)."""
    early_stopping: bool | Literal["never"] | None = None
    """Of beams: end when there are as many texts; "never": when none can be better (default: as the checkpoint asks).
    """
    truncate: bool = False
    """Read the end of a prompt that is too long, rather than refuse it."""
    ahead: Count = AHEAD
    """Tokens that are guessed where a single text repeats itself: the same text, sooner (0: none; translations: none).
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        if not all(self.stop):
            raise ConfigError('a stop string is empty, expected text such as "\\n"')
        if any("\ud800" <= letter <= "\udfff" for text in self.stop for letter in text):
            raise ConfigError(f"the stop strings {shown(self.stop)} are not Unicode; give them in UTF-8")
        check(self)
        if self.temperature == 0 and (self.samples or 1) > 1:
            fix = "which are all the same; give a temperature above 0"
            raise ConfigError(f"samples: got {self.samples} with temperature 0, {fix}")
        if self.beams is not None and self.beams < self.nbest:
            raise ConfigError(f"nbest ({self.nbest}) must not be larger than beams ({self.beams})")
        from formers.decoding.settings import Settings

        neutral = Settings(start=0, stop=(), pad=0)  # what is wrong is said now, not when a text is wanted
        self.filters(neutral)
        self.sampling(neutral, None)
        for name, count in (("beams", self.beams or 1), ("nbest", self.nbest)):
            if count > 1 and (self.draws or self.stop):
                other = "sampling" if self.draws else "stop strings"
                raise ConfigError(f"{name}: got {count} with {other}, expected one or the other")
        self.beam(neutral)

    def asked(self) -> dict[str, Any]:
        """The options that are not left open."""
        return {part.name: value for part in fields(self) if (value := getattr(self, part.name)) != part.default}

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn."""
        asked = (self.temperature, self.top_k, self.top_p, self.min_p, self.seed)
        return self.temperature != 0 and (any(value is not None for value in asked) or (self.samples or 1) > 1)

    @property
    def several(self) -> bool:
        """Whether a prompt has a list of texts."""
        return self.samples is not None or self.nbest > 1

    def strategy(self, settings: Settings, keys: Sequence[Sequence[int]]) -> Strategy:
        """For these prompts, whose texts do not depend on each other; keys: what tells the prompts apart."""
        from formers.decoding.strategies import Greedy

        if self.draws:
            self.note_beams(settings, "drawn tokens")
            return self.sampling(settings, None if self.seed is None else seeds(self.seed, keys))
        beam = self.beam(settings)
        if self.stop:
            self.note_beams(settings, "stop strings")
        if settings.sample and self.temperature is None and (self.beams or 1) == 1:
            how = "ask for temperature, top_k, top_p, min_p, seed or samples to draw tokens"
            note(f"the checkpoint's do_sample = true is not obeyed unless asked: the likeliest tokens are taken; {how}")
        return Greedy() if beam.width == 1 else beam

    def note_beams(self, settings: Settings, other: str) -> None:
        """Say that the checkpoint's beams are not searched."""
        if settings.beams > 1 and self.beams is None:
            note(f"the checkpoint's num_beams = {settings.beams} is not obeyed together with {other}")

    def sampling(self, settings: Settings, seed: tuple[int, ...] | None) -> Sample:
        from formers.decoding.strategies import Sample

        return Sample(
            temperature=first(self.temperature or None, settings.temperature or None, 1.0),
            top_k=int(first(self.top_k, settings.top_k, 0)),
            top_p=first(self.top_p, settings.top_p, 1.0),
            min_p=first(self.min_p, settings.min_p, 0.0),
            typical_p=first(settings.typical_p, None, 1.0),
            epsilon_cutoff=settings.epsilon_cutoff or 0.0,
            eta_cutoff=settings.eta_cutoff or 0.0,
            samples=1 if self.samples is None else self.samples,
            seed=seed,
        )

    def beam(self, settings: Settings) -> Beam:
        from formers.decoding.strategies import Beam

        beams = 1 if self.draws or self.stop else max(self.nbest, settings.beams)
        stopping = settings.early_stopping if self.early_stopping is None else self.early_stopping
        return Beam(
            beams if self.beams is None else self.beams,
            first(self.length_penalty, settings.length_penalty, 1.0),
            stopping,
            self.nbest,
        )

    def filters(self, settings: Settings, *extent: Extent) -> list[Filter]:
        """The checkpoint's own filters for a text, with what is asked for here in their place."""
        penalty = first(self.repetition_penalty, settings.repetition, 1.0)
        ngram = int(first(self.no_repeat_ngram, settings.no_repeat, 0))
        return replace(settings, repetition=penalty, no_repeat=ngram).filters(*extent)


def first(asked: float | None, checkpoint: float | None, neutral: float) -> float:
    """What is asked for, else what the checkpoint says, else what changes nothing."""
    return asked if asked is not None else neutral if checkpoint is None else checkpoint


def seeds(seed: int, keys: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """One for each prompt, from what it says and how often it was there before: not from its batch-mates."""
    earlier, numbers = Counter[tuple[int, ...]](), []
    for key in map(tuple, keys):
        content = repr((seed, earlier[key], key)).encode()
        numbers.append(int.from_bytes(hashlib.blake2b(content, digest_size=7).digest(), "little"))
        earlier[key] += 1
    return tuple(numbers)
