"""The texts of windows of sound: decoded, judged, and decoded again with more chance where they cannot be right."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from formers.decoding.filters import Filter, forbid
from formers.decoding.search import Hypothesis, complete
from formers.decoding.strategies import Beam, Dice, Frontier, Greedy, Picks, Sample, Strategy
from formers.decoding.timestamps import timestamp_rules
from formers.models.whisper import Whisper
from formers.systems.whisper.options import WindowOptions
from formers.text.speech_tokens import SpeechTokens

MOST = 224  # tokens of a window's text; as many may stand before it
RISE = 0.2  # of the temperature, from one trial to the next


def strategies(options: WindowOptions) -> Iterator[tuple[float, Strategy]]:
    """One trial after another, with the temperature of each."""
    trials = 1 + (round((1 - options.temperature) / RISE) if options.fallback else 0)
    for temperature in (round(options.temperature + RISE * i, 2) for i in range(trials)):
        if temperature > 0:
            yield temperature, Sample(temperature=temperature, samples=options.best_of, seed=options.seed)
        else:
            yield 0.0, Greedy() if options.beams == 1 else Beam(options.beams)


@dataclass(frozen=True)
class WindowText:
    """What was said in a window."""

    tokens: list[int]
    text: str
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    temperature: float

    def is_silence(self, options: WindowOptions) -> bool:
        return self.no_speech_prob > options.no_speech_threshold and self.avg_logprob <= options.logprob_threshold

    def is_wrong(self, options: WindowOptions) -> bool:
        """Whether it should be tried again."""
        unlikely = self.avg_logprob < options.logprob_threshold
        repeats = self.compression_ratio > options.compression_ratio_threshold
        return (repeats or unlikely) and not self.is_silence(options)


@dataclass(frozen=True)
class AmongAllowed:
    """A strategy whose log-probabilities are those of the tokens that filters allow, as Whisper's are."""

    inner: Strategy

    @property
    def width(self) -> int:
        return self.inner.width

    @property
    def nbest(self) -> int:
        return self.inner.nbest

    @property
    def independent(self) -> bool:
        return self.inner.independent

    def pick(self, frontier: Frontier) -> Picks:
        assert frontier.filter is not None
        logits = frontier.filter(frontier.logits)
        return self.inner.pick(replace(frontier, logits=logits, log_probs=logits.log_softmax(-1), filter=None))

    def score(self, total: float, length: int) -> float:
        return self.inner.score(total, length)

    def settled(self, best: float, worst: float, length: int, limit: int) -> bool:
        return self.inner.settled(best, worst, length, limit)

    def dice(self, sentences: int) -> Dice | None:
        return self.inner.dice(sentences)


@dataclass(frozen=True)
class WindowDecoder:
    """A model with what its texts are made of; `suppressed` tokens are never said, the others not first."""

    model: Whisper
    tokens: SpeechTokens
    suppressed: frozenset[int]
    suppressed_first: frozenset[int]

    def filters(self, prompt: Sequence[int]) -> list[Filter]:
        own, at = self.tokens, len(prompt)
        rules = [forbid(self.suppressed), forbid(self.suppressed_first, at=at)]
        if own.no_timestamps not in prompt:
            rules.append(timestamp_rules(own.begin, own.end, own.no_timestamps, at=at))
        return rules

    @torch.no_grad()
    def languages(self, memory: Tensor) -> list[dict[str, float]]:
        """Of each window the probability of every language, the likeliest first; only English where it is alone."""
        own = self.tokens.languages
        if not own:
            return [{"en": 1.0}] * len(memory)
        start = torch.tensor([[self.tokens.start]] * len(memory), device=memory.device)
        logits = self.model.logits(self.model.decode(start, memory)[:, -1])[:, [*own.values()]]
        rows = (dict(zip(own, row, strict=True)) for row in logits.float().softmax(-1).tolist())
        return [dict(sorted(row.items(), key=lambda pair: -pair[1])) for row in rows]

    def texts(self, memory: Tensor, prompt: Sequence[int], options: WindowOptions) -> list[WindowText]:
        """Of windows (rows, positions, dim) that are decoded alike; what is wrong is tried again alone."""
        done: dict[int, WindowText] = {}
        places = list(range(len(memory)))
        for temperature, strategy in strategies(options):
            texts = self.tried(memory[places] if done else memory, prompt, strategy, temperature)
            done |= zip(places, texts, strict=True)
            places = [place for place in places if done[place].is_wrong(options)]
            if not places:
                break
        return [done[place] for place in range(len(memory))]

    @torch.no_grad()
    def tried(self, memory: Tensor, prompt: Sequence[int], strategy: Strategy, temperature: float) -> list[WindowText]:
        """One trial of each window."""
        model, own, rows = self.model, self.tokens, len(memory)
        limit = min(MOST, model.config.length - len(prompt) - 2)  # the aligner adds two
        tokens = torch.tensor([[*prompt]] * rows, device=memory.device)
        cache = model.remember(memory, capacity=len(prompt) + limit)
        read = len(prompt) - prompt[::-1].index(own.start)  # up to the start, where silence is told
        told = model.decode(tokens[:, :read], memory, cache=cache, last=True)[:, -1]
        silence = model.logits(told).float().softmax(-1)[:, own.no_speech].tolist()
        if read == len(prompt):
            read -= 1
            cache.truncate(read)
        done = complete(
            model,
            tokens[:, read:],
            cache,
            AmongAllowed(strategy),
            stop=(own.end,),
            limit=limit,
            filters=self.filters(prompt),
            pad=own.end,
            before=tokens[:, :read] if read else None,
        )
        return [self.judged(best_of(some), share, temperature) for some, share in zip(done, silence, strict=True)]

    def judged(self, hypothesis: Hypothesis, silence: float, temperature: float) -> WindowText:
        text = self.tokens.decode(hypothesis.tokens).strip()
        mean = hypothesis.total / (len(hypothesis.tokens) + 1)
        return WindowText(hypothesis.tokens, text, mean, compression_ratio(text), silence, temperature)


def best_of(hypotheses: Sequence[Hypothesis]) -> Hypothesis:
    """The one with the likeliest tokens on average."""
    return max(hypotheses, key=lambda one: one.total / max(1, len(one.tokens)))


def compression_ratio(text: str) -> float:
    """How many times shorter zlib makes a text; 0 of none."""
    content = text.encode()
    return len(content) / len(zlib.compress(content)) if content else 0.0


def facts_of(text: WindowText, seek: int, tokens: Sequence[int]) -> dict[str, Any]:
    """What OpenAI's JSON says of a segment beside its text."""
    values = {
        "temperature": text.temperature,
        "avg_logprob": text.avg_logprob,
        "compression_ratio": text.compression_ratio,
        "no_speech_prob": text.no_speech_prob,
    }
    finite = {name: value if math.isfinite(value) else 0.0 for name, value in values.items()}
    return {"seek": seek, "tokens": list(tokens), **finite}
