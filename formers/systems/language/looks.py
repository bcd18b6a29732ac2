"""What there is to see of a language model: the logit lens, the probabilities of a text, what the cache saves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from formers.errors import ConfigError, DataError, shortened
from formers.fields import Between, check
from formers.systems.looks import Picture, of_what, read
from formers.systems.system import NOWHERE, Event, Line, Origin, ResultTable, Typed

if TYPE_CHECKING:
    from formers.systems.language.inspection import Likelihoods
    from formers.systems.language_model import LanguageModel

DRAWN = 512  # tokens that a picture of probabilities has room for
COLUMNS = 24  # positions in a picture of the lens
LEAST_LIKELY = 6  # tokens whose alternatives are shown
WRITTEN = 256  # tokens that are written with the cache
TOP = 4
LEGEND = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)


@dataclass(frozen=True, kw_only=True)
class LensLook:
    """A look at what each layer would say."""

    origin: Origin = NOWHERE
    """The model."""
    text: Annotated[str, Typed("TEXT", positional=True)] = ""
    """The text that is read."""

    def __post_init__(self) -> None:
        of_what("lens", self)


@dataclass(frozen=True, kw_only=True)
class ProbabilitiesLook:
    """A look at how likely a text is."""

    origin: Origin = NOWHERE
    """The model."""
    text: Annotated[str, Typed("TEXT", positional=True)] = ""
    """The text that is read."""

    def __post_init__(self) -> None:
        of_what("probabilities", self)


@dataclass(frozen=True, kw_only=True)
class CacheLook:
    """A look at what remembering keys and values saves."""

    origin: Origin = NOWHERE
    """The model."""
    text: Annotated[str, Typed("TEXT", positional=True)] = ""
    """The text that is read."""
    max_tokens: Annotated[int, Between(2)] | None = None
    """Tokens to write (default: 256)."""

    def __post_init__(self) -> None:
        check(self)
        of_what("cache", self)


def lens(language: LanguageModel, options: LensLook) -> Iterator[Event]:
    """What each layer would say: the last position as a table, the last COLUMNS as a picture."""
    from formers.pictures.lens import draw_lens
    from formers.pictures.text import share
    from formers.systems.language.inspection import lens as through

    tokens = read(language, options.text)
    seen = through(language.model, tokens, top=TOP, last=COLUMNS)
    names = [[pieces(language, best) for best in layer] for layer in seen.tokens.tolist()]
    answer, layers = names[-1][-1][0], len(names) - 1
    yield ResultTable(
        f"after {quote(pieces(language, tokens)[-1])}: what each layer would say, and how likely "
        f"{quote(answer)}, the model's answer, is there",
        ["after layer", "says", "likely", "then", "answer", "rank"],
        [
            (
                "embedding" if i == 0 else f"{i}{': output' if i == layers else ''}",
                quote(names[i][-1][0]),
                share(seen.probabilities[i, -1, 0]),
                listed(names[i][-1][1:], seen.probabilities[i, -1, 1:].tolist()),
                share(seen.answer[i, -1]),
                f"{seen.rank[i, -1]:,}",
            )
            for i in range(layers + 1)
        ],
        right=["likely", "answer", "rank"],
    )
    drawn = pieces(language, tokens[-COLUMNS:])
    cut = "" if len(drawn) == len(tokens) else f", the last {len(drawn)} of {len(tokens)} tokens"
    title = f"what {options.origin.short} would say after each layer{cut}"
    best = [[position[0] for position in layer] for layer in names]
    yield Picture("lens", lambda: draw_lens(drawn, [*drawn[1:], ""], best, seen.probabilities[:, :, 0], title))


@dataclass(frozen=True)
class LikelyText:
    """A text and how likely each of its tokens was; the first ones may be given, and have no probability."""

    given: Sequence[str]
    tokens: Sequence[str]
    probabilities: Sequence[float]
    bits: Sequence[float]
    ranks: Sequence[int]

    def line(self) -> str:
        return self.table().line()

    def table(self) -> ResultTable:
        rows = [
            (quote(name), f"{probability:.4g}", f"{bits:.2f}", rank)
            for name, probability, bits, rank in zip(
                self.tokens, self.probabilities, self.bits, self.ranks, strict=True
            )
        ]
        return ResultTable(
            "tokens", ["token", "probability", "bits", "rank"], rows, right=["probability", "bits", "rank"]
        )

    def spans(self) -> Sequence[tuple[str, str]]:
        """The text on a terminal, bright where it is likely, and what the colours mean."""
        from formers.pictures.text import LEAST, colours, share

        def style(probability: float) -> str:
            paper, ink = colours(probability)
            return f"{ink} on {paper}"

        pairs = zip(self.tokens, self.probabilities, strict=True)
        return [
            *((with_breaks(name), "dim") for name in self.given),
            *((with_breaks(name), style(probability)) for name, probability in pairs),
            ("\nprobability ", ""),
            *((f" {'≤' if each == LEAST else ''}{share(each)} ", style(each)) for each in LEGEND),
            ("\n", ""),
        ]


def probabilities(language: LanguageModel, options: ProbabilitiesLook) -> Iterator[Event]:
    """The text coloured by the probability of each token; on a pipe, a table."""
    import numpy as np

    from formers.pictures.text import draw_text, share
    from formers.systems.language.inspection import likelihoods

    text = read(language, options.text, DRAWN)
    start = None if language.opening else language.start_or_none()
    scored = likelihoods(language.model, text if start is None else [start, *text], top=TOP)
    given = pieces(language, text[:1] if start is None else [start])  # has nothing before it, so no probability
    first = len(text) - len(scored.tokens) + 1
    bits, names, shares = scored.surprisal, pieces(language, scored.tokens), scored.probability.tolist()
    yield LikelyText(given, names, shares, bits.tolist(), scored.rank.tolist())
    worst = np.argsort(scored.probability, kind="stable")[:LEAST_LIKELY].tolist()
    instead = [listed(*likelier(language, scored, i)) for i in worst]
    yield ResultTable(
        "least likely",
        ["place", "token", "likely", "bits", "rank", "likelier"],
        [
            (first + i, quote(names[i]), share(shares[i]), f"{bits[i]:.1f}", f"{scored.rank[i]:,}", others)
            for i, others in zip(worst, instead, strict=True)
        ],
        right=["place", "likely", "bits", "rank"],
    )
    mean = float(bits.mean())
    summary = f"{len(names):,} tokens, {mean:.2f} bits each on average (perplexity {2 ** min(mean, 1000.0):.4g})"
    yield Line(summary)
    lines = [
        f"{quote(names[i])} {share(shares[i])}, {bits[i]:.1f} bits; likelier: {others}"
        for i, others in zip(worst, instead, strict=True)
    ]
    notes = [f"least likely of {summary}", *(shortened(line, 125) for line in lines)]
    title = f"how likely each token is to {options.origin.short}"
    known = [None] * len(given) + shares
    yield Picture("probabilities", lambda: draw_text([*given, *names], known, notes, title))


def cache(language: LanguageModel, options: CacheLook) -> Iterator[Event]:
    """Seconds of a new token with and without the cache."""
    from formers.pictures.cache import draw_cache_times
    from formers.systems.language.inspection import cache_times

    tokens, longest = read(language, options.text), language.model.config.length
    room = longest + 1 - len(tokens)  # the last token that is written need not be read
    if options.max_tokens is not None and options.max_tokens > room:
        raise ConfigError(
            f"--max-tokens ({options.max_tokens}) must be at most {room}: the text has {len(tokens):,} "
            f"tokens, and this model reads {longest:,}"
        )
    if room < 2:
        raise DataError(
            f"the text has {len(tokens):,} tokens, which is all that this model reads; shorten it, so that it can grow"
        )
    times = cache_times(language.model, tokens, count=min(room, options.max_tokens or WRITTEN))
    yield ResultTable(
        "a new token, milliseconds (medians of alternating rounds)",
        ["tokens", "with cache", "without", "times as fast", "cache holds"],
        [
            (length, f"{1000 * fast:.2f}", f"{1000 * slow:.2f}", f"{slow / fast:.1f}", f"{held / 2**10:,.0f} kB")
            for length, fast, slow, held in zip(times.lengths, times.cached, times.uncached, times.bytes, strict=True)
        ],
        right=["tokens", "with cache", "without", "times as fast", "cache holds"],
    )
    yield Line(
        f"both write the same {len(times.written):,} tokens"
        if times.same == len(times.written)
        else f"of {len(times.written):,} tokens written with the cache, {times.same:,} are said without it too"
    )
    title = f"what the cache of {options.origin.short} saves"
    yield Picture("cache", lambda: draw_cache_times(times.lengths, times.cached, times.uncached, title))


def pieces(language: LanguageModel, tokens: Sequence[int]) -> list[str]:
    return language.needs_tokenizer().pieces(tokens)


def quote(piece: str) -> str:
    """A piece with the space before it: whether a word begins is part of what a model says."""
    from formers.pictures.figure import visible

    return f'"{visible(piece)}"'


def with_breaks(piece: str) -> str:
    """A piece on the terminal, with its line breaks."""
    from formers.pictures.figure import visible

    return visible(piece) + "\n" * piece.count("\n")


def listed(names: Sequence[str], shares: Sequence[float]) -> str:
    from formers.pictures.text import share

    return ", ".join(f"{quote(name)} {share(value)}" for name, value in zip(names, shares, strict=True))


def likelier(language: LanguageModel, scored: Likelihoods, place: int) -> tuple[list[str], list[float]]:
    """What was held likelier than the token that came, as far as it is known."""
    kept = [i for i in range(scored.others.shape[1]) if scored.shares[place, i] > scored.probability[place]]
    return pieces(language, scored.others[place, kept].tolist()), scored.shares[place, kept].tolist()
