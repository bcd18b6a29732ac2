"""Which tokens to go on with: the likeliest, a drawn one, or the best few beams."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from formers.decoding.filters import Filter, epsilon_cutoff, eta_cutoff, min_p, temperature, top_k, top_p, typical_p
from formers.errors import ConfigError


@dataclass
class Frontier:
    """All running hypotheses and their logits; width is 1 at first, the strategy's own afterwards."""

    logits: Tensor  # (sentences * width, vocab), float32; nobody reads them after the strategy, which may write in them
    log_probs: Tensor  # the same rows, normalised
    totals: Tensor  # (sentences, width) what each hypothesis is worth so far; -inf: ended
    filter: Callable[[Tensor], Tensor] | None  # the caller's filters, which own what they are given
    noise: Tensor | None  # (sentences, strategy's width), uniform in [0, 1)
    stops: int  # how many different stop tokens there are


@dataclass
class Picks:
    """The candidates to go on with, (sentences, candidates) each, best first.

    `scores` are the model's own log-probabilities, `totals` what the hypothesis is now worth to the strategy.
    """

    parents: Tensor
    tokens: Tensor
    scores: Tensor
    totals: Tensor


class Strategy(Protocol):
    """How to pick, how many rows a sentence has, and how to rank what is finished."""

    @property
    def width(self) -> int: ...  # rows of one sentence
    @property
    def nbest(self) -> int: ...  # hypotheses given back
    @property
    def independent(self) -> bool: ...  # rows go their own ways: streamed, never ranked

    def pick(self, frontier: Frontier) -> Picks: ...
    def score(self, total: float, length: int) -> float: ...
    def settled(self, best: float, worst: float, length: int, limit: int) -> bool: ...
    def dice(self, sentences: int) -> Dice | None: ...


@dataclass(frozen=True)
class Greedy:
    """Always the likeliest token."""

    width: ClassVar[int] = 1
    nbest: ClassVar[int] = 1
    independent: ClassVar[bool] = True

    def pick(self, frontier: Frontier) -> Picks:
        allowed = frontier.logits if frontier.filter is None else frontier.filter(frontier.logits)
        tokens = allowed.argmax(-1, keepdim=True)
        return _independent(frontier, allowed, tokens)

    def score(self, total: float, length: int) -> float:
        return total / length

    def settled(self, best: float, worst: float, length: int, limit: int) -> bool:
        return False

    def dice(self, sentences: int) -> None:
        return None


@dataclass(frozen=True)
class Sample:
    """Draw from the distribution: temperature, the k likeliest, the nucleus, the minimum share, the other cuts.

    Every sentence has its own generator, so its text does not depend on its batch-mates: `seed` is one number
    for all of them, a tuple of one each, or None for chance.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    samples: int = 1
    seed: int | tuple[int, ...] | None = None
    independent: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ConfigError(f"samples: got {self.samples}, expected at least 1")
        if self.top_k < 0:
            raise ConfigError(f"top_k: got {self.top_k}, expected 0 (all) or more")
        self.filters()

    @property
    def width(self) -> int:
        return self.samples

    @property
    def nbest(self) -> int:
        return self.samples

    def filters(self) -> list[Filter]:
        """What this strategy itself does to the logits, in order."""
        chain = [temperature(self.temperature), top_p(self.top_p), min_p(self.min_p)]
        chain = [chain[0], top_k(self.top_k), *chain[1:]] if self.top_k else chain
        chain += [typical_p(self.typical_p)] if self.typical_p != 1 else []
        chain += [epsilon_cutoff(self.epsilon_cutoff)] if self.epsilon_cutoff else []
        return [*chain, eta_cutoff(self.eta_cutoff)] if self.eta_cutoff else chain

    def pick(self, frontier: Frontier) -> Picks:
        assert frontier.noise is not None
        allowed = frontier.logits if frontier.filter is None else frontier.filter(frontier.logits)
        for apply in self.filters():
            allowed = apply(allowed, allowed)
        reach = allowed.double().softmax(-1).cumsum(-1)  # double: a long tail keeps its share
        drawn = frontier.noise.reshape(len(reach), -1) * reach[:, -1:]
        tokens = torch.searchsorted(reach, drawn, right=True).clamp_(max=reach.shape[-1] - 1)
        return _independent(frontier, allowed, tokens)

    def score(self, total: float, length: int) -> float:
        return total / length

    def settled(self, best: float, worst: float, length: int, limit: int) -> bool:
        return False

    def dice(self, sentences: int) -> Dice:
        """One generator per sentence."""
        if isinstance(self.seed, tuple) and len(self.seed) != sentences:
            raise ConfigError(f"seed: got {len(self.seed)} for {sentences} sentences, expected one each")
        seeds = self.seed if isinstance(self.seed, tuple) else [self.seed] * sentences
        return Dice(list(seeds), self.samples)


@dataclass(frozen=True)
class Beam:
    """Keep the `width` best hypotheses, ranked by sum of log-probabilities / length ** length_penalty.

    `early_stopping`: True ends a sentence once `width` hypotheses are finished; False goes on while the best
    running one could still win if it ended now; "never" while it could at any length (as in transformers).
    """

    width: int = 4
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    nbest: int = 1
    independent: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"width: got {self.width}, expected at least 1")
        if not 1 <= self.nbest <= self.width:
            raise ConfigError(f"nbest: got {self.nbest}, expected 1 to width ({self.width})")
        if self.early_stopping not in (True, False, "never"):
            raise ConfigError(f'early_stopping: got {self.early_stopping!r}, expected true, false or "never"')

    def pick(self, frontier: Frontier) -> Picks:
        sentences, width = frontier.totals.shape
        log_probs = frontier.log_probs if frontier.filter is None else frontier.filter(frontier.log_probs.clone())
        vocab = log_probs.shape[-1]
        # enough to keep `width` alive if every hypothesis' likeliest continuations are all of the stop tokens
        wanted = self.width * max(2, 1 + frontier.stops)
        best = log_probs.topk(min(wanted, vocab))  # per row first: spares adding totals to it all
        worth = (best.values.view(sentences, width, -1) + frontier.totals[:, :, None]).flatten(1)
        totals, at = worth.topk(min(wanted, worth.shape[1]))
        parents, tokens = at // best.values.shape[1], best.indices.view(sentences, -1).gather(1, at)
        rows = parents + torch.arange(0, sentences * width, width, device=at.device)[:, None]
        return Picks(parents, tokens, frontier.log_probs[rows, tokens], totals)

    def score(self, total: float, length: int) -> float:
        return total / length**self.length_penalty

    def settled(self, best: float, worst: float, length: int, limit: int) -> bool:
        """Whether no running hypothesis (`best` at most) can still displace the worst finished one."""
        if self.early_stopping is True:
            return True
        if self.early_stopping == "never" and self.length_penalty > 0:
            length = limit
        return self.score(best, length) <= worst

    def dice(self, sentences: int) -> None:
        return None


class Dice:
    """Uniform numbers, (sentences, samples) per roll, from one generator per sentence."""

    ahead = 64  # steps drawn at once; fixed, so that the numbers depend on the seed alone

    def __init__(self, seeds: list[int | None], samples: int) -> None:
        self.generators = [torch.Generator() for _ in seeds]
        for generator, seed in zip(self.generators, seeds, strict=True):
            if seed is None:
                generator.seed()
            else:
                generator.manual_seed(seed)
        self.samples, self.at = samples, self.ahead
        self.drawn = torch.empty(0)

    def roll(self, device: torch.device) -> Tensor:
        """The next numbers of every sentence."""
        if self.at == self.ahead:
            size = self.ahead, self.samples
            drawn = [torch.rand(size, generator=one, dtype=torch.float64) for one in self.generators]
            self.drawn, self.at = torch.stack(drawn).to(device), 0
        self.at += 1
        return self.drawn[:, self.at - 1]

    def keep(self, sentences: list[int]) -> None:
        """Only these go on."""
        self.generators = [self.generators[i] for i in sentences]
        self.drawn = self.drawn[sentences]


def _independent(frontier: Frontier, allowed: Tensor, tokens: Tensor) -> Picks:
    """Candidate j goes on from row j (at first all from the only row); a row with nothing allowed ends."""
    sentences, width = frontier.totals.shape
    scores = frontier.log_probs.gather(1, tokens)
    possible = scores.where(allowed.gather(1, tokens) > -math.inf, -math.inf)
    scores, tokens = scores.view(sentences, -1), tokens.view(sentences, -1)
    parents = torch.arange(width, device=tokens.device).expand_as(tokens)
    return Picks(parents, tokens, scores, frontier.totals + possible.view(sentences, -1))
