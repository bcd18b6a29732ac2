"""How language models write: the options, a batch of prompts, one text streamed as it comes.

options -> strategy and filters;   prompts -> batches of like length -> generate -> Continuation
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from formers.blocks.cache import Cache
from formers.blocks.fused import fused
from formers.decoding.filters import Filter
from formers.decoding.generate import Hypothesis, complete, generate
from formers.decoding.settings import Settings
from formers.decoding.strategies import Beam, Greedy, Sample, Strategy
from formers.errors import ConfigError, DataError
from formers.kernels.weight import packed
from formers.models.causal import CausalLM
from formers.text.stream import TextStream
from formers.text.tokenizer import Tokenizer

AHEAD = 4  # tokens of a guess: with the one before them five rows, which cost little more than one in fp32 (measured)
POSITIONS = 8192  # of prompts and answers together, padding included, that are computed in one batch


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to go on with a text: the likeliest token each time, unless one of temperature, top_k, top_p, min_p, seed
    and samples asks for tokens to be drawn; then what is left open is as the checkpoint's generation_config says.
    """

    max_tokens: int = 256
    """Most tokens to write; also ends at the model's length."""
    temperature: float | None = None
    """Below 1 sharper, above 1 flatter, 0 always the likeliest."""
    top_k: int | None = None
    """Draw from the k likeliest only (0: from all)."""
    top_p: float | None = None
    """Draw from the fewest likeliest whose probabilities reach this."""
    min_p: float | None = None
    """Draw from what is at least this share as likely as the likeliest."""
    repetition_penalty: float | None = None
    """Above 1: what was said is worth less (default: as the checkpoint asks)."""
    no_repeat_ngram: int | None = None
    """No so many tokens in a row twice (0: allowed; default: as the checkpoint asks)."""
    stop: Sequence[str] = ()
    """Texts that end the text, and are no part of it."""
    seed: int | None = None
    """The same text every time, whatever else is in the batch."""
    samples: int | None = None
    """Several texts for every prompt, as a list."""
    beams: int = 1
    """Beams that are searched for the likeliest text."""
    truncate: bool = False
    """Read the end of a prompt that is too long, rather than refuse it."""
    ahead: int = AHEAD
    """Tokens that are guessed where a single text repeats itself: the same text, sooner (0: none)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        if not all(self.stop):
            raise ConfigError('a stop string is empty, expected text such as "\\n"')
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens: got {self.max_tokens}, expected at least 1")
        if self.ahead < 0:
            raise ConfigError(f"ahead: got {self.ahead}, expected 0 (none) or more")
        if self.temperature is not None and not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature: got {self.temperature}, expected 0 (greedy) or more")
        nothing = Settings(start=0, stop=(), pad=0)  # what is wrong is said now, not when a text is wanted
        self.filters(nothing)
        self.drawing(nothing, None)
        Beam(self.beams)
        if self.temperature == 0 and (self.samples or 1) > 1:
            raise ConfigError(
                f"samples: got {self.samples} with temperature 0, which are all the same; give a temperature above 0"
            )
        if self.beams > 1 and (self.draws or self.stop):
            raise ConfigError(
                f"beams: got {self.beams} with {'sampling' if self.draws else 'stop strings'}, expected "
                "one or the other"
            )

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn."""
        asked = (self.temperature, self.top_k, self.top_p, self.min_p, self.seed)
        return self.temperature != 0 and (any(each is not None for each in asked) or (self.samples or 1) > 1)

    def strategy(self, settings: Settings, prompts: Sequence[Sequence[int]]) -> Strategy:
        """For these prompts, whose texts do not depend on each other."""
        if not self.draws:
            return Greedy() if self.beams == 1 else Beam(self.beams, settings.length_penalty)
        return self.drawing(settings, None if self.seed is None else seeds(self.seed, prompts))

    def drawing(self, settings: Settings, seed: tuple[int, ...] | None) -> Sample:
        def value(mine: float | None, theirs: float | None, neutral: float) -> float:
            return mine if mine is not None else neutral if theirs is None else theirs

        return Sample(
            temperature=value(self.temperature or None, settings.temperature or None, 1.0),
            top_k=int(value(self.top_k, settings.top_k, 0)),
            top_p=value(self.top_p, settings.top_p, 1.0),
            min_p=value(self.min_p, settings.min_p, 0.0),
            samples=1 if self.samples is None else self.samples,
            seed=seed,
        )

    def filters(self, settings: Settings) -> list[Filter]:
        """The checkpoint's own filters, with what is asked for here in their place."""
        penalty = settings.repetition if self.repetition_penalty is None else self.repetition_penalty
        ngram = settings.no_repeat if self.no_repeat_ngram is None else self.no_repeat_ngram
        return replace(settings, repetition=penalty, no_repeat=ngram).filters()


def seeds(seed: int, prompts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """One for each prompt, from what it says and how often it was there before: not from its batch-mates."""
    seen, found = Counter[tuple[int, ...]](), []
    for prompt in map(tuple, prompts):
        content = repr((seed, seen[prompt], prompt)).encode()
        found.append(int.from_bytes(hashlib.blake2b(content, digest_size=7).digest(), "little"))
        seen[prompt] += 1
    return tuple(found)


@dataclass(frozen=True)
class Continuation:
    """What a model wrote."""

    text: str
    """Without the stop string."""
    tokens: list[int]
    """Without the stop token; the stop string's are among them."""
    scores: list[float]
    """The model's own log-probability of each, and of the stop token if one ended the text."""
    reason: Literal["stop", "length"]
    """Whether it ended by itself or a stop string, or had to."""
    stop: str | None = None
    """The stop string that ended it."""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Writer:
    """What writing needs of a language model."""

    model: CausalLM
    tokenizer: Tokenizer
    settings: Settings
    ends: tuple[int, ...]
    """Tokens that end a text."""

    @property
    def device(self) -> torch.device:
        return self.model.embedding.weight.device

    def fit(self, prompt: list[int], options: Options, what: str, opening: int = 0) -> list[int]:
        """The prompt, or with `truncate` its end, after its first `opening` tokens.

        Truncated, a prompt leaves room for `max_tokens`, but for no more than half of what the model reads.
        """
        longest = self.model.config.length
        if len(prompt) <= longest:
            return prompt
        if not options.truncate:
            raise DataError(
                f"{what} has {len(prompt):,} tokens, but this model reads at most {longest:,}; shorten it, "
                "or say truncate, which keeps its end"
            )
        kept = longest + 1 - min(options.max_tokens, (longest + 1) // 2)
        opening = min(opening, kept - 1)
        return prompt[:opening] + prompt[len(prompt) - (kept - opening) :]

    def limit(self, prompt: Sequence[int], options: Options) -> int:
        """The last token that is written need not be read, so a full prompt still has one answer."""
        return min(options.max_tokens, self.model.config.length + 1 - len(prompt))

    def write(self, prompts: Sequence[list[int]], options: Options) -> list[list[Continuation]]:
        """Each prompt's continuations, in order."""
        strategy = options.strategy(self.settings, prompts)
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        spans = [len(prompt) + self.limit(prompt, options) for prompt in prompts]
        found: dict[int, list[Continuation]] = {}
        with inference(self.model), torch.no_grad(), packed(self.model), fused(self.model):
            for chosen in batches(order, spans, POSITIONS // strategy.width):
                some = strategy
                if isinstance(strategy, Sample) and isinstance(strategy.seed, tuple):
                    some = replace(strategy, seed=tuple(strategy.seed[i] for i in chosen))
                found |= zip(chosen, self.batch([prompts[i] for i in chosen], options, some), strict=True)
        return [found[i] for i in range(len(prompts))]

    def batch(self, prompts: list[list[int]], options: Options, strategy: Strategy) -> list[list[Continuation]]:
        limits = [self.limit(prompt, options) for prompt in prompts]
        tokens, keep = self.padded(prompts)
        cache = self.model.begin(capacity=tokens.shape[1] + max(limits) - 1)
        streams = {
            (place, i): TextStream(self.tokenizer, prompt, options.stop)
            for place, prompt in enumerate(prompts)
            for i in range(strategy.nbest)
        }

        def until(place: int, sample: int, token: int) -> bool:
            stream = streams[place, sample]
            stream.add(token)
            return stream.stopped is not None

        done = complete(
            self.model,
            tokens,
            cache,
            strategy,
            stop=self.ends,
            limit=limits,
            filters=options.filters(self.settings),
            keep=keep,
            pad=self.settings.pad,
            until=until if options.stop else None,
            ahead=options.ahead,
        )
        for place, several in enumerate(done):
            for i, one in enumerate(several):
                for token in () if options.stop else one.tokens:
                    streams[place, i].add(token)
                streams[place, i].end()
        return [
            [described(one, streams[place, i]) for i, one in enumerate(several)] for place, several in enumerate(done)
        ]

    def padded(self, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor | None]:
        """(prompts, longest), filled up on the left, and what is real; None where no prompt is shorter."""
        longest = max(map(len, prompts))
        rows = [[self.settings.pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
        keep = [[False] * (longest - len(prompt)) + [True] * len(prompt) for prompt in prompts]
        alike = all(len(prompt) == longest for prompt in prompts)
        return torch.tensor(rows, device=self.device), None if alike else torch.tensor(keep, device=self.device)


class Writing:
    """One text in the making: iterate for its pieces. `text` and `tokens` are what there is so far.

    read: tokens that the cache holds already; together with `prompt` they are what is continued.
    """

    def __init__(
        self, writer: Writer, prompt: list[int], options: Options, cache: Cache | None = None, read: Sequence[int] = ()
    ) -> None:
        if (options.samples or 1) > 1 or options.beams > 1:
            raise ConfigError("a text can be streamed when it is one: with one sample and one beam")
        self.writer, self.prompt, self.options, self.read = writer, prompt, options, list(read)
        self.limit = writer.limit([*self.read, *prompt], options)
        self.cache = writer.model.begin(capacity=0) if cache is None else cache
        self.stream = TextStream(writer.tokenizer, [*self.read, *prompt], options.stop)
        self.tokens: list[int] = []
        self.result: Continuation | None = None

    @property
    def text(self) -> str:
        return self.stream.text

    def __iter__(self) -> Iterator[str]:
        writer, options, whole = self.writer, self.options, [*self.read, *self.prompt]
        filters, device = options.filters(writer.settings), writer.device
        pieces: list[str] = []

        def until(place: int, sample: int, token: int) -> bool:
            pieces.append(self.stream.add(token))
            return self.stream.stopped is not None

        self.cache.reserve(len(whole) + self.limit - 1)
        steps = generate(
            writer.model,
            torch.tensor([self.prompt], device=device),
            self.cache,
            options.strategy(writer.settings, [whole]),
            stop=writer.ends,
            limit=self.limit,
            filters=filters,
            pad=writer.settings.pad,
            until=until,
            ahead=options.ahead,
            before=torch.tensor([self.read], device=device) if self.read else None,
        )
        with inference(writer.model), ExitStack() as stack:
            with torch.no_grad():  # here only: what reads the pieces may compute gradients in between
                stack.enter_context(packed(writer.model))
            stack.enter_context(fused(writer.model))
            for step in steps:
                token = step.tokens[0][0]
                if token is not None:
                    self.tokens.append(token)
                if step.done:
                    pieces.append(self.stream.end())
                    self.result = described(step.done[0][0], self.stream)
                yield from filter(None, pieces)
                pieces.clear()


def described(found: Hypothesis, stream: TextStream) -> Continuation:
    ended = found.finished or stream.stopped is not None
    return Continuation(stream.text, found.tokens, found.scores, "stop" if ended else "length", stream.stopped)


def batches(order: Sequence[int], spans: Sequence[int], most: int) -> Iterator[list[int]]:
    """Neighbours in `order` together, at most `most` positions with padding, but at least one."""
    chosen: list[int] = []
    longest = 0
    for i in order:
        longest = max(longest, spans[i])
        if chosen and longest * (len(chosen) + 1) > most:
            yield chosen
            chosen, longest = [], spans[i]
        chosen.append(i)
    if chosen:
        yield chosen


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
