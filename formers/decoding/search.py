"""Tokens out of a model: one loop for greedy, sampling and beams.

prompt -> [extend -> filters -> strategy.pick -> finish, reorder the cache] * limit -> hypotheses
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from formers.blocks.cache import Cache
from formers.decoding.decodable import Decodable
from formers.decoding.filters import Filter
from formers.decoding.lookahead import Lookahead
from formers.decoding.strategies import Frontier, Picks, Strategy
from formers.errors import ConfigError

Until = Callable[[int, int, int], bool]
"""(place of the sentence, sample, token it says) -> whether its text ends with that token."""


@dataclass
class Hypothesis:
    """One finished text: neither the prompt nor the stop token is in `tokens`.

    `scores` are the model's own log-probabilities, the stop token's included, `total` is their sum; `score`
    is what hypotheses are ranked by; not `finished` means cut off at the limit, or by `until`.
    """

    tokens: list[int]
    scores: list[float]
    total: float
    score: float
    finished: bool


@dataclass
class Step:
    """What one step decided, sentences by their place in the batch.

    `tokens` has one token per sample (None: stopped, now or before) and is empty for beams, which decide only
    at the end; `done` holds the sentences that finished, best first (samples: as drawn).
    """

    tokens: dict[int, list[int | None]] = field(default_factory=dict)
    done: dict[int, list[Hypothesis]] = field(default_factory=dict)


def generate(
    model: Decodable,
    prompt: Tensor,
    cache: Cache,
    strategy: Strategy,
    *,
    stop: Collection[int],
    limit: int | Sequence[int],
    filters: Sequence[Filter] | Sequence[Sequence[Filter]] = (),
    keep: Tensor | None = None,
    pad: int = 0,
    before: Tensor | None = None,
    until: Until | None = None,
    ahead: int = 0,
) -> Iterator[Step]:
    """Go on from `prompt` (sentences, length) for at most `limit` tokens, and tell what every step decided.

    limit, filters: for all, or of each sentence. keep: (sentences, length), the real tokens of prompts padded on
    either side; a sentence's text does not depend on its padding. pad: fills ended rows. before: (sentences, cache
    length), what the cache has read, where filters should see it. until: asked once for every token of a greedy
    or sampled text that is no stop token. ahead: most tokens that are guessed from what a single text repeats, which
    changes its speed only (0: none). The cache becomes the search's own: afterwards its rows are those that were alive
    at the end.
    """
    limits = [limit] * len(prompt) if isinstance(limit, int) else list(limit)
    if len(limits) != len(prompt):
        raise ConfigError(f"limit: got {len(limits)} for {len(prompt)} sentences, expected one each")
    if min(limits, default=1) < 1:
        raise ConfigError(f"limit: got {min(limits)}, expected at least 1")
    if prompt.shape[1] < 1 or (keep is not None and not bool(keep.any(1).all())):
        raise ConfigError("prompt: got no tokens, expected at least a start token")
    if until is not None and not strategy.independent:
        raise ConfigError("until: got beams, expected greedy or sampled text, which alone is decided token by token")
    most = max(limits, default=1)
    least = cache.length + prompt.shape[1] + most - 1
    if cache.capacity < least:
        raise ConfigError(f"cache capacity: got {cache.capacity}, expected {least} (prompt + limit - 1)")
    if keep is not None:
        prompt, keep = pad_left(prompt, keep)
    assert before is None or keep is None, "padding and tokens read before: filters could not tell them apart"
    search = _Search(model, prompt, cache, strategy, frozenset(stop), limits, _each(filters, len(prompt)), keep, pad)
    search.until = until
    if before is not None:
        search.history = torch.cat([before, prompt], 1)
    if ahead and len(prompt) == 1 and strategy.width == 1 and keep is None and cache.keep is None:
        search.lookahead = Lookahead(model, cache, ahead, [] if before is None else before[0].tolist())
    return search.steps()


def complete(
    model: Decodable, prompt: Tensor, cache: Cache, strategy: Strategy, **options: Any
) -> list[list[Hypothesis]]:
    """Run `generate` with its options to its end: for every sentence, in order, its hypotheses."""
    done: dict[int, list[Hypothesis]] = {}
    for step in generate(model, prompt, cache, strategy, **options):
        done |= step.done
    return [done[i] for i in range(len(prompt))]


def pad_left(tokens: Tensor, keep: Tensor) -> tuple[Tensor, Tensor | None]:
    """The same rows with what is not real in front; no `keep` where every token is real."""
    if bool(keep.all()):
        return tokens, None
    order = keep.int().argsort(dim=1, stable=True)
    return tokens.gather(1, order), keep.gather(1, order)


@torch.no_grad()
def score(model: Decodable, prompt: Tensor, target: Tensor, cache: Cache, *, keep: Tensor | None = None) -> Tensor:
    """The log-probability of each token of `target` (sentences, length) after the prompt and those before."""
    scores, tokens = [], prompt
    for column in target.split(1, dim=1):
        logits = model.extend(tokens, cache, keep=keep)
        scores.append(logits.log_softmax(-1, dtype=torch.float32).gather(1, column))
        tokens, keep = column, None
    return torch.cat(scores, 1)


class _Candidate(NamedTuple):
    parent: int
    token: int
    score: float
    total: float


@dataclass(slots=True)
class _Path:
    """A token and how it was reached: hypotheses that share a beginning share its links."""

    before: _Path | None
    token: int
    score: float


@dataclass(slots=True)
class _Row:
    """What the next step computes: the token to feed, the row to continue, its worth; -inf: it has ended."""

    parent: int
    token: int
    total: float = -math.inf
    path: _Path | None = None


@dataclass(slots=True)
class _Sentence:
    place: int
    rows: list[_Row]
    limit: int
    padding: int  # columns before its prompt
    filters: Sequence[Filter]
    pool: list[tuple[float, Hypothesis]] = field(default_factory=list)
    done: bool = False


class _Search:
    """The state of one batch: its sentences, their rows, and the tensors of the next step."""

    def __init__(
        self,
        model: Decodable,
        prompt: Tensor,
        cache: Cache,
        strategy: Strategy,
        stop: frozenset[int],
        limits: Sequence[int],
        filters: Sequence[Sequence[Filter]],
        keep: Tensor | None,
        pad: int,
    ) -> None:
        self.model, self.cache, self.strategy, self.stop = model, cache, strategy, stop
        self.filters, self.pad = any(filters), pad
        self.tokens, self.keep = prompt, keep
        self.until: Until | None = None
        self.lookahead: Lookahead | None = None
        self.history = prompt  # kept up only where filters want to see it
        self.totals = torch.zeros(len(prompt), 1, device=prompt.device)
        self.padded = keep is not None
        padding = [0] * len(prompt) if keep is None else (~keep).sum(1).tolist()
        self.sentences = [
            _Sentence(place, [_Row(0, pad, 0.0)], *one)
            for place, one in enumerate(zip(limits, padding, filters, strict=True))
        ]
        self.dice = strategy.dice(len(prompt))
        self.length = 0

    def steps(self) -> Iterator[Step]:
        while self.sentences:
            yield self.step()

    @torch.no_grad()  # not inference mode: tables that a model makes on first use must stay fit for training
    def step(self) -> Step:
        """Compute one token for every row and settle what follows from it."""
        picks = self.strategy.pick(self.look())
        self.length += 1
        step = Step()
        for sentence, candidates in zip(self.sentences, _listed(picks), strict=True):
            if sentence.done:
                continue
            self.advance(sentence, candidates)
            if self.strategy.independent:
                step.tokens[sentence.place] = [
                    one.token if one.total > -math.inf and one.token not in self.stop else None for one in candidates
                ]
            if sentence.done:
                step.done[sentence.place] = [hypothesis for _, hypothesis in sentence.pool[: self.strategy.nbest]]
        if all(sentence.done for sentence in self.sentences):
            self.sentences = []
        else:
            self.prepare()
        return step

    def look(self) -> Frontier:
        """What the model thinks of every row's next token."""
        if self.lookahead is not None:
            logits = self.lookahead.extend(self.tokens).float()
        else:
            logits = self.model.extend(self.tokens, self.cache, keep=self.keep).float()
        self.keep = None
        noise = None if self.dice is None else self.dice.roll(logits.device)
        restrict = self.restrict if self.filters else None
        return Frontier(logits, logits.log_softmax(-1), self.totals, restrict, noise, len(self.stop))

    def restrict(self, logits: Tensor) -> Tensor:
        """All filters, one after the other; none sees padding, so only rows alike in it are filtered together."""
        width, alike = len(logits) // len(self.sentences), dict[tuple[int, int], list[int]]()
        for i, sentence in enumerate(self.sentences):
            rows = alike.setdefault((sentence.padding, id(sentence.filters)), [])
            rows.extend(range(i * width, (i + 1) * width))
        for rows in alike.values():
            sentence, whole = self.sentences[rows[0] // width], len(rows) == len(logits)
            some, history = (logits, self.history) if whole else (logits[rows], self.history[rows])
            for apply in sentence.filters:
                some = apply(some, history[:, sentence.padding :])
            if whole:
                return some
            logits[rows] = some
        return logits

    def advance(self, sentence: _Sentence, candidates: list[_Candidate]) -> None:
        """Finish the candidates that end here and choose `width` rows to go on with.

        Only the first `width` candidates may end; those behind them are there to fill their places.
        """
        width, before, rows = self.strategy.width, sentence.rows, list[_Row]()
        last = self.length == sentence.limit
        for rank, one in enumerate(candidates):
            ends, possible = last or one.token in self.stop, one.total > -math.inf
            path = _Path(before[one.parent].path, one.token, one.score)
            if self.until is not None and possible and one.token not in self.stop:
                ends = self.until(sentence.place, rank, one.token) or ends
            if possible and ends and rank < width:
                self.finish(sentence, path, rank, one.total)
            if possible and not ends and len(rows) < width:
                rows.append(_Row(one.parent, one.token, one.total, path))
            elif self.strategy.independent:  # an ended row keeps its place, so that the cache need not move
                rows.append(_Row(one.parent, self.pad))
        sentence.rows = rows + [_Row(0, self.pad) for _ in range(width - len(rows))]
        best = max(row.total for row in sentence.rows)
        if best == -math.inf and not sentence.pool:  # the filters allow nothing: what is there has to do
            alive = max(before, key=lambda row: row.total)
            self.finish(sentence, alive.path, 0, alive.total)
        full = len(sentence.pool) == width
        sentence.done = best == -math.inf or (
            full and self.strategy.settled(best, sentence.pool[-1][0], self.length, sentence.limit)
        )

    def finish(self, sentence: _Sentence, path: _Path | None, rank: int, total: float) -> None:
        """Add a hypothesis to the sentence's pool, which keeps the best `width` (samples: in drawn order)."""
        tokens, scores = list[int](), list[float]()
        while path is not None:
            tokens.append(path.token)
            scores.append(path.score)
            path = path.before
        tokens.reverse()
        scores.reverse()
        worth = self.strategy.score(total, max(1, len(tokens)))
        stopped = bool(tokens) and tokens[-1] in self.stop
        hypothesis = Hypothesis(tokens[:-1] if stopped else tokens, scores, math.fsum(scores), worth, stopped)
        sentence.pool.append((-rank if self.strategy.independent else worth, hypothesis))
        sentence.pool.sort(key=lambda entry: -entry[0])
        del sentence.pool[self.strategy.width :]

    def prepare(self) -> None:
        """Tokens, totals and cache of the next step; finished sentences leave a quarter at a time."""
        device, (count, width) = self.tokens.device, self.totals.shape
        places = [place for place in range(count) if not self.sentences[place].done]
        if len(places) == count or 4 * (count - len(places)) < count:
            places = list(range(count))
        else:
            self.cache.reorder_memory(torch.tensor(places, device=device))
            if self.dice is not None:
                self.dice.keep(places)
        for sentence in self.sentences:
            if sentence.done:
                sentence.rows = [_Row(min(i, width - 1), self.pad) for i in range(self.strategy.width)]
        parents = [place * width + row.parent for place in places for row in self.sentences[place].rows]
        self.sentences = [self.sentences[place] for place in places]
        rows = [row for sentence in self.sentences for row in sentence.rows]
        if parents != list(range(count * width)):
            order = torch.tensor(parents, device=device)
            self.cache.reorder(order)
            self.history = self.history[order] if self.filters else self.history
        self.tokens = torch.tensor([[row.token] for row in rows], device=device)
        self.totals = torch.tensor([row.total for row in rows], dtype=torch.float32, device=device)
        self.totals = self.totals.view(len(self.sentences), -1)
        if self.padded:  # an ended row's filling is not real: its positions must not run over the model's length
            self.keep = torch.tensor([[row.total > -math.inf] for row in rows], device=device)
        if self.filters:
            self.history = torch.cat([self.history, self.tokens], 1)


def _each(filters: Sequence[Filter] | Sequence[Sequence[Filter]], sentences: int) -> Sequence[Sequence[Filter]]:
    """Every sentence's own."""
    own = [one for one in filters if not callable(one)]
    if len(own) not in (0, sentences):
        raise ConfigError(f"filters: got {len(own)} for {sentences} sentences, expected one list each")
    return own or [[one for one in filters if callable(one)]] * sentences


def _listed(picks: Picks) -> Iterator[list[_Candidate]]:
    """The candidates of each sentence as numbers: one transfer for all (doubles hold both kinds exactly)."""
    parts = picks.parents, picks.tokens, picks.scores, picks.totals
    for candidates in torch.stack([part.double() for part in parts], -1).tolist():
        yield [_Candidate(int(parent), int(token), own, total) for parent, token, own, total in candidates]
