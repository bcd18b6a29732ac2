"""How every model writes: a batch of prompts, or one text streamed as it comes; after a source, or after the prompt.

options -> strategy and filters;   prompts (+ sources, encoded) -> batches of like length -> generate -> Continuation
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from formers.blocks.cache import Cache
from formers.blocks.fused import fused
from formers.blocks.mode import inference
from formers.decoding.decodable import Decodable, Decoder, Decodes
from formers.decoding.filters import Filter
from formers.decoding.options import MAX_TOKENS, DecodingOptions
from formers.decoding.search import Hypothesis, complete, generate
from formers.decoding.settings import Extent, Settings
from formers.decoding.strategies import Sample, Strategy
from formers.decoding.stream import TextStream
from formers.errors import ConfigError, DataError
from formers.kernels.weight import packed

POSITIONS = 8192  # of prompts and answers together, padding included, that are computed in one batch


class Sources(Protocol):
    """What an encoder reads before its decoder writes, one for each prompt."""

    @property
    def lengths(self) -> Sequence[int]:
        """Positions of each, by which they are put in batches."""

    @property
    def limits(self) -> Sequence[int]:
        """Most tokens of each text, where the options leave it open."""

    @property
    def keys(self) -> Sequence[Sequence[int]]:
        """What tells them apart: the seed of a text follows from its source."""

    def begin(self, places: Sequence[int], *, capacity: int) -> Cache:
        """Encode those at these places, in one batch."""


@dataclass(frozen=True)
class TokenSources:
    """Texts as tokens."""

    model: Decoder
    keys: Sequence[list[int]]
    pad: int

    @property
    def lengths(self) -> list[int]:
        return [len(tokens) for tokens in self.keys]

    @property
    def limits(self) -> list[int]:
        return [2 * length + 50 for length in self.lengths]

    def begin(self, places: Sequence[int], *, capacity: int) -> Cache:
        device = device_of(self.model)
        return self.model.begin(*padded([self.keys[i] for i in places], self.pad, device), capacity=capacity)


@dataclass(frozen=True)
class Continuation:
    """What a model wrote."""

    text: str
    """Without the stop string."""
    tokens: list[int]
    """Without the stop token; the stop string's are among them."""
    scores: list[float]
    """The model's own log-probability of each, and of the stop token if one ended the text."""
    score: float
    """What beams are ranked by; of others the mean of `scores`."""
    reason: Literal["stop", "length"]
    """Whether it ended by itself or a stop string, or had to."""
    stop: str | None = None
    """The stop string that ended it."""

    def __str__(self) -> str:
        return self.text

    @property
    def mean(self) -> float:
        """The mean log-probability of a token."""
        return math.fsum(self.scores) / max(1, len(self.scores))


@dataclass(frozen=True)
class Writer:
    """What writing needs of a model."""

    model: Decoder
    tokenizer: Decodes
    settings: Settings
    ends: tuple[int, ...]
    """Tokens that end a text."""

    @property
    def device(self) -> torch.device:
        return device_of(self.model)

    def fit(self, prompt: list[int], options: DecodingOptions, what: str, opening: int = 0) -> list[int]:
        """The prompt, or with `truncate` its end, after its first `opening` tokens.

        Truncated, a prompt leaves room for `max_tokens`, but for no more than half of what the model reads.
        """
        longest = self.model.config.length
        if len(prompt) <= longest:
            return prompt
        if not options.truncate:
            got = f"{what} has {len(prompt):,} tokens, but this model reads at most {longest:,}"
            raise DataError(f"{got}; shorten it, or say truncate, which keeps its end")
        kept = longest + 1 - min(options.max_tokens or MAX_TOKENS, (longest + 1) // 2)
        opening = min(opening, kept - 1)
        return prompt[:opening] + prompt[len(prompt) - (kept - opening) :]

    def limit(self, prompt: Sequence[int], options: DecodingOptions, default: int = MAX_TOKENS) -> int:
        """The last token that is written need not be read, so a full prompt still has one answer."""
        settings = self.settings
        most = options.max_tokens or settings.maximum_new or default
        if settings.maximum is not None and options.max_tokens is None and settings.maximum_new is None:
            if len(prompt) >= settings.maximum:
                got = f"{len(prompt):,} tokens stand before the text, but the checkpoint's max_length is"
                raise DataError(f"{got} {settings.maximum:,}, those included; give max_tokens")
            most = min(most, settings.maximum - len(prompt))
        return min(most, self.model.config.length + 1 - len(prompt))

    def filters(
        self, options: DecodingOptions, prompts: Sequence[Sequence[int]], limits: Sequence[int], sources: Sources | None
    ) -> list[list[Filter]]:
        """Of each text; texts that are filtered alike have the same list."""
        keys = prompts if sources is None else sources.keys
        extents = [
            self.settings.extent(len(prompt), limit, tuple(key))
            for prompt, limit, key in zip(prompts, limits, keys, strict=True)
        ]
        chains: dict[Extent, list[Filter]] = {
            extent: options.filters(self.settings, extent) for extent in dict.fromkeys(extents)
        }
        return [chains[extent] for extent in extents]

    def described(self, hypothesis: Hypothesis, stream: TextStream, limit: int) -> Continuation:
        """A text that its settings end at its limit did not end by itself."""
        forced = self.settings.forced_last is not None and len(hypothesis.scores) >= limit
        ended = (hypothesis.finished and not forced) or stream.stopped is not None
        reason: Literal["stop", "length"] = "stop" if ended else "length"
        return Continuation(stream.text, hypothesis.tokens, hypothesis.scores, hypothesis.score, reason, stream.stopped)

    def write(
        self,
        prompts: Sequence[list[int]],
        options: DecodingOptions,
        sources: Sources | None = None,
        *,
        prefix: Sequence[int] = (),
        positions: int = POSITIONS,
    ) -> list[list[Continuation]]:
        """Each prompt's continuations, in order.

        sources: what an encoder-decoder reads before. prefix: tokens that every text begins with. positions: most of
        a batch, padding included: of its sources, where there are some, else of prompts and continuations.
        """
        rows = [[*prompt, *prefix] for prompt in prompts]
        keys = rows if sources is None else sources.keys
        defaults = [MAX_TOKENS] * len(rows) if sources is None else sources.limits
        limits = [self.limit(row, options, most) for row, most in zip(rows, defaults, strict=True)]
        lengths = list(map(len, rows)) if sources is None else sources.lengths
        spans = [sum(pair) for pair in zip(lengths, limits, strict=True)] if sources is None else lengths
        order = sorted(range(len(rows)), key=lambda i: -lengths[i])
        strategy, filters = options.strategy(self.settings, keys), self.filters(options, rows, limits, sources)
        done: dict[int, list[Continuation]] = {}
        with ready(self.model), torch.no_grad():
            for places in batches(order, spans, positions // strategy.width):
                some = strategy
                if isinstance(strategy, Sample) and isinstance(strategy.seed, tuple):
                    some = replace(strategy, seed=tuple(strategy.seed[i] for i in places))
                streams = [
                    [self.stream(prompts[i], options, sources, prefix) for _ in range(some.nbest)] for i in places
                ]
                begin = self.model.begin if sources is None else partial(sources.begin, places)
                texts = self.batch(
                    [rows[i] for i in places],
                    [limits[i] for i in places],
                    [filters[i] for i in places],
                    begin,
                    options,
                    some,
                    streams,
                )
                done |= zip(places, texts, strict=True)
        return [done[i] for i in range(len(rows))]

    def batch(
        self,
        rows: list[list[int]],
        limits: list[int],
        filters: list[list[Filter]],
        begin: Callable[..., Cache],
        options: DecodingOptions,
        strategy: Strategy,
        streams: list[list[TextStream]],
    ) -> list[list[Continuation]]:
        tokens, keep = padded(rows, self.settings.pad, self.device, left=True)
        cache = begin(capacity=tokens.shape[1] + max(limits) - 1)

        def until(place: int, sample: int, token: int) -> bool:
            stream = streams[place][sample]
            stream.add(token)
            return stream.stopped is not None

        done = complete(
            self.model,
            tokens,
            cache,
            strategy,
            stop=self.ends,
            limit=limits,
            filters=filters,
            keep=keep,
            pad=self.settings.pad,
            until=until if options.stop else None,
            ahead=ahead_of(options, cache),
        )
        texts: list[list[Continuation]] = []
        for hypotheses, several, limit in zip(done, streams, limits, strict=True):
            texts.append([])
            for hypothesis, stream in zip(hypotheses, several, strict=False):  # filters may leave fewer than asked for
                if not options.stop:
                    stream.hold(hypothesis.tokens)
                stream.end()
                texts[-1].append(self.described(hypothesis, stream, limit))
        return texts

    def stream(
        self, prompt: Sequence[int], options: DecodingOptions, sources: Sources | None, prefix: Sequence[int]
    ) -> TextStream:
        """Of a text after a prompt; what a decoder begins with after a source is no text."""
        before = [*(prompt if sources is None else ()), *prefix]
        return TextStream(self.tokenizer, before, options.stop, self.tokenizer.decode(prefix) if prefix else "")


class Writing:
    """One text in the making: iterate for its pieces. `text` and `tokens` are what there is so far.

    read: tokens that `cache` holds already; together with `prompt` they are what is continued. sources: the one
    that an encoder-decoder reads before; prefix: tokens that the text begins with.
    """

    def __init__(
        self,
        writer: Writer,
        prompt: list[int],
        options: DecodingOptions,
        *,
        cache: Cache | None = None,
        read: Sequence[int] = (),
        sources: Sources | None = None,
        prefix: Sequence[int] = (),
    ) -> None:
        if (options.samples or 1) > 1 or (options.beams or options.nbest) > 1:
            raise ConfigError("a text can be streamed when it is one: with one sample and one beam")
        if not options.draws:
            options.note_beams(writer.settings, "streaming")
        self.writer, self.prompt, self.options = writer, [*prompt, *prefix], replace(options, beams=1)
        self.cache, self.read, self.sources = cache, list(read), sources
        self.stream = writer.stream([*read, *prompt], options, sources, prefix)
        self.tokens: list[int] = []
        self.result: Continuation | None = None

    @property
    def text(self) -> str:
        return self.stream.text

    def __iter__(self) -> Iterator[str]:
        writer, options, whole = self.writer, self.options, [*self.read, *self.prompt]
        keys, most = ([whole], MAX_TOKENS) if self.sources is None else (self.sources.keys, self.sources.limits[0])
        limit, device = writer.limit(whole, options, most), writer.device
        pieces = [self.stream.text]

        def until(place: int, sample: int, token: int) -> bool:
            pieces.append(self.stream.add(token))
            return self.stream.stopped is not None

        with ready(writer.model):
            with torch.no_grad():  # here only: what reads the pieces may compute gradients in between
                cache = self.cache or self.begin()
            cache.reserve(len(whole) + limit - 1)
            steps = generate(
                writer.model,
                torch.tensor([self.prompt], device=device),
                cache,
                options.strategy(writer.settings, keys),
                stop=writer.ends,
                limit=limit,
                filters=writer.filters(options, [whole], [limit], self.sources),
                pad=writer.settings.pad,
                until=until,
                ahead=ahead_of(options, cache),
                before=torch.tensor([self.read], device=device) if self.read else None,
            )
            for step in steps:
                token = step.tokens[0][0]
                if token is not None:
                    self.tokens.append(token)
                if step.done:
                    pieces.append(self.stream.end())
                    self.result = writer.described(step.done[0][0], self.stream, limit)
                yield from filter(None, pieces)
                pieces.clear()

    def begin(self) -> Cache:
        return self.writer.model.begin(capacity=0) if self.sources is None else self.sources.begin([0], capacity=0)


def ahead_of(options: DecodingOptions, cache: Cache) -> int:
    """Guessed tokens: none where there is a memory, as translations seldom repeat themselves."""
    return options.ahead if cache.memory is None else 0


def batches(order: Sequence[int], spans: Sequence[int], most: int) -> Iterator[list[int]]:
    """Neighbours in `order` together, at most `most` positions with padding, but at least one."""
    places: list[int] = []
    longest = 0
    for i in order:
        longest = max(longest, spans[i])
        if places and longest * (len(places) + 1) > most:
            yield places
            places, longest = [], spans[i]
        places.append(i)
    if places:
        yield places


def padded(
    rows: Sequence[Sequence[int]], filler: int, device: torch.device, *, left: bool = False
) -> tuple[Tensor, Tensor | None]:
    """(rows, longest), filled up on one side, and what is real; None where no row is shorter."""
    longest = max(map(len, rows))
    gaps = [longest - len(row) for row in rows]
    tokens = [[filler] * gap + [*row] if left else [*row] + [filler] * gap for row, gap in zip(rows, gaps, strict=True)]
    if not any(gaps):
        return torch.tensor(tokens, device=device), None
    gap, at = torch.tensor(gaps, device=device)[:, None], torch.arange(longest, device=device)
    return torch.tensor(tokens, device=device), at >= gap if left else at < longest - gap


def device_of(model: Decoder) -> torch.device:
    return next(iter(model.parameters())).device


@contextmanager
def ready(model: Decodable) -> Iterator[None]:
    """Inside, the model is in evaluation mode and its matrices are in the forms that single steps want."""
    assert isinstance(model, nn.Module)
    with inference(model), ExitStack() as stack:
        with torch.no_grad():
            stack.enter_context(packed(model))
        stack.enter_context(fused(model))
        yield
