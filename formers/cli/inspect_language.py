"""`formers inspect` of language models: attention, the logit lens, probabilities of a text, what the cache saves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from formers.cli.output import console, note, show_table, size
from formers.errors import ConfigError, DataError
from formers.pictures.attention import AttentionMap
from formers.pictures.cache import draw_cache_times
from formers.pictures.figure import visible
from formers.pictures.lens import draw_lens
from formers.pictures.text import LEAST, colours, draw_text, share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from formers.cli.inspect import Request
    from formers.systems.inspection import Likelihoods
    from formers.systems.language import LanguageModel

MOST = {"attention": 256, "probabilities": 512}  # tokens that a picture has room for
COLUMNS = 24  # positions in a picture of the lens
LEAST_LIKELY = 6  # tokens whose alternatives are shown
WRITTEN = 256  # tokens that are written with the cache
TOP = 4


def attention(language: LanguageModel, request: Request) -> Figure:
    """Every head of one layer over the text, and an overview of all layers."""
    from formers.systems.inspection import attention_maps

    config = language.model.config.stack
    request.check(config.layers, config.heads)
    if request.target is not None:
        raise ConfigError("--target is of translation models, but this is a language model; leave it out")
    tokens = read(language, request)
    names = pieces(language, tokens)
    return request.draw_attention(AttentionMap(attention_maps(language.model, tokens)["decoder"], names, names))


def lens(language: LanguageModel, request: Request) -> Figure:
    """What each layer would say: the last position as a table, the last COLUMNS as a picture."""
    from formers.systems.inspection import lens as through

    tokens = read(language, request)
    found = through(language.model, tokens, top=TOP, last=COLUMNS)
    names = [[pieces(language, best) for best in layer] for layer in found.tokens.tolist()]
    answer, layers = names[-1][-1][0], len(names) - 1
    show_table(
        f"after {quote(pieces(language, tokens)[-1])}: what each layer would say, and how likely "
        f"{quote(answer)}, the model's answer, is there",
        ["after layer", "says", "likely", "then", "answer", "rank"],
        [
            (
                "embedding" if i == 0 else f"{i}{': output' if i == layers else ''}",
                quote(names[i][-1][0]),
                share(found.probabilities[i, -1, 0]),
                listed(names[i][-1][1:], found.probabilities[i, -1, 1:].tolist()),
                share(found.answer[i, -1]),
                f"{found.rank[i, -1]:,}",
            )
            for i in range(layers + 1)
        ],
        right=["likely", "answer", "rank"],
    )
    shown = tokens[-COLUMNS:]
    read_ones = pieces(language, shown)
    cut = "" if len(shown) == len(tokens) else f", the last {len(shown)} of {len(tokens)} tokens"
    return draw_lens(
        read_ones,
        [*read_ones[1:], ""],
        [[best[0] for best in layer] for layer in names],
        found.probabilities[:, :, 0],
        f"what {request.name} would say after each layer{cut}",
    )


def probabilities(language: LanguageModel, request: Request) -> Figure:
    """The text coloured by the probability of each token; on a pipe, a table."""
    from formers.systems.inspection import likelihoods

    text = read(language, request)
    start = None if language.opening else language.start_or_none()
    found = likelihoods(language.model, text if start is None else [start, *text], top=TOP)
    given = text[:1] if start is None else [start]  # what stands before everything has no probability
    places = range(len(text) - len(found.tokens) + 1, len(text) + 1)
    bits, names = found.surprisal, pieces(language, found.tokens)
    if console().is_terminal:
        show_coloured(pieces(language, given), names, found.probability.tolist())
    else:
        show_table(
            "tokens",
            ["token", "probability", "bits", "rank"],
            [
                (quote(name), f"{probability:.4g}", f"{surprisal:.2f}", rank)
                for name, probability, surprisal, rank in zip(names, found.probability, bits, found.rank, strict=True)
            ],
            right=["probability", "bits", "rank"],
        )
    worst = np.argsort(found.probability, kind="stable")[:LEAST_LIKELY].tolist()
    instead = [listed(*likelier(language, found, i)) for i in worst]
    show_table(
        "least likely",
        ["place", "token", "likely", "bits", "rank", "likelier"],
        [
            (places[i], quote(names[i]), share(found.probability[i]), f"{bits[i]:.1f}", f"{found.rank[i]:,}", others)
            for i, others in zip(worst, instead, strict=True)
        ],
        right=["place", "likely", "bits", "rank"],
    )
    mean = float(bits.mean())
    summary = f"{len(names):,} tokens, {mean:.2f} bits each on average (perplexity {2 ** min(mean, 1000.0):.4g})"
    note(summary)
    lines = [
        f"{quote(names[i])} {share(found.probability[i])}, {bits[i]:.1f} bits; likelier: {others}"
        for i, others in zip(worst, instead, strict=True)
    ]
    return draw_text(
        [*pieces(language, given), *names],
        [None] * len(given) + found.probability.tolist(),
        [f"least likely of {summary}", *(line if len(line) <= 125 else line[:124] + "…" for line in lines)],
        f"how likely each token is to {request.name}",
    )


def cache(language: LanguageModel, request: Request) -> Figure:
    """Seconds of a new token with and without the cache."""
    from formers.systems.inspection import cache_times

    tokens = read(language, request)
    room = language.model.config.length + 1 - len(tokens)  # the last token that is written need not be read
    if request.max_tokens is not None and request.max_tokens > room:
        raise ConfigError(
            f"--max-tokens ({request.max_tokens}) must be at most {room}: the text has {len(tokens):,} "
            f"tokens, and this model reads {language.model.config.length:,}"
        )
    if room < 2:
        raise DataError(
            f"the text has {len(tokens):,} tokens, which is all that this model reads; shorten it, so that it can grow"
        )
    found = cache_times(language.model, tokens, count=min(room, request.max_tokens or WRITTEN))
    show_table(
        "a new token, milliseconds (medians of alternating rounds)",
        ["tokens", "with cache", "without", "times as fast", "cache holds"],
        [
            (length, f"{1000 * fast:.2f}", f"{1000 * slow:.2f}", f"{slow / fast:.1f}", size(held))
            for length, fast, slow, held in zip(found.lengths, found.cached, found.uncached, found.bytes, strict=True)
        ],
        right=["tokens", "with cache", "without", "times as fast", "cache holds"],
    )
    everything = found.same == len(found.written)
    note(
        f"both write the same {len(found.written):,} tokens"
        if everything
        else f"of {len(found.written):,} tokens written with the cache, {found.same:,} are said without it too"
    )
    return draw_cache_times(found.lengths, found.cached, found.uncached, f"what the cache of {request.name} saves")


KINDS: dict[str, Callable[[LanguageModel, Request], Figure]] = {
    "attention": attention,
    "lens": lens,
    "probabilities": probabilities,
    "cache": cache,
}


# ---- reading and showing -----------------------------------------------------------------------------------


def read(language: LanguageModel, request: Request) -> list[int]:
    """The text as tokens, as `generate` would read it. Raises DataError for more than fit."""
    tokens = [*language.opening, *language.needs_tokenizer().encode_plain([request.text])[0]]
    longest = language.model.config.length
    drawn = MOST.get(request.what, longest)
    if len(tokens) > min(longest, drawn):
        limit = f"this model reads at most {longest:,}" if longest <= drawn else f"a picture has room for {drawn}"
        raise DataError(f"the text has {len(tokens):,} tokens, but {limit}; shorten it")
    if not tokens:
        raise DataError("the text has no tokens for this tokenizer; give another one")
    return tokens


def pieces(language: LanguageModel, tokens: Sequence[int]) -> list[str]:
    return language.needs_tokenizer().pieces(tokens)


def quote(piece: str) -> str:
    """A piece with the space before it: whether a word begins is part of what a model says."""
    return f'"{visible(piece)}"'


def listed(names: Sequence[str], shares: Sequence[float]) -> str:
    return ", ".join(f"{quote(name)} {share(each)}" for name, each in zip(names, shares, strict=True))


def likelier(language: LanguageModel, found: Likelihoods, place: int) -> tuple[list[str], list[float]]:
    """What was held likelier than the token that came, as far as it is known."""
    kept = [i for i in range(found.others.shape[1]) if found.shares[place, i] > found.probability[place]]
    return pieces(language, found.others[place, kept].tolist()), found.shares[place, kept].tolist()


def show_coloured(given: Sequence[str], names: Sequence[str], probability: Sequence[float]) -> None:
    """The text on a terminal, bright where it is likely."""
    from rich.text import Text

    line = Text()
    for name in given:
        line.append(shown(name), "dim")
    for name, each in zip(names, probability, strict=True):
        paper, ink = colours(each)
        line.append(shown(name), f"{ink} on {paper}")
    place = console()
    place.print(line)
    legend = Text("probability ")
    for each in (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001):
        paper, ink = colours(each)
        legend.append(f" {'≤' if each == LEAST else ''}{share(each)} ", f"{ink} on {paper}")
    place.print(legend)
    place.print()


def shown(piece: str) -> str:
    """A piece on the terminal, with its line breaks."""
    return visible(piece) + "\n" * piece.count("\n")
