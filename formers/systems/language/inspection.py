"""The numbers behind the pictures of a language model: logit lens, probabilities of a text, what the cache saves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from torch import Tensor

from formers.blocks.cache import Cache
from formers.blocks.fused import fused
from formers.blocks.mode import inference
from formers.errors import CheckpointError, ConfigError
from formers.kernels.weight import packed
from formers.models.causal import CausalLM
from formers.systems.inspection import Floats, Ints, row_of

PIECE = 64  # positions whose logits exist at a time


@dataclass(frozen=True)
class Lens:
    """The logit lens (nostalgebraist 2020): what the model would say if a layer were its last.

    Row 0 is the embedding, row i what block i made of it; the last row is what the model does say.
    """

    tokens: Ints
    """(layers + 1, positions, top): the likeliest next tokens, best first."""
    probabilities: Floats
    """Of these."""
    answer: Floats
    """(layers + 1, positions): the probability, already there, of the token that is said at the end."""
    rank: Ints
    """Its place among all tokens, 1 for the likeliest."""


@torch.no_grad()
def lens(model: CausalLM, tokens: Sequence[int], *, top: int = 3, last: int | None = None) -> Lens:
    """Final norm and head over what goes into each block and comes out of the last one; the text is read once.

    last: the last so many positions only (all are read).
    """
    seen: list[Tensor] = []
    with inference(model):
        model.features(row_of(model, tokens), seen=seen)
    first = 0 if last is None else max(0, len(tokens) - last)
    norm = model.stack.norm
    opinions = [x[0, first:] if norm is None else norm(x[0, first:]) for x in seen]
    said = torch.cat([probabilities(model, x, "").argmax(-1) for x in opinions[-1].split(PIECE)])[:, None]
    rows = []
    for number, opinion in enumerate(opinions):
        what = f"after layer {number}"
        parts = [
            summary(probabilities(model, x, what), goal, top)
            for x, goal in zip(opinion.split(PIECE), said.split(PIECE), strict=True)
        ]
        rows.append([torch.cat(part) for part in zip(*parts, strict=True)])
    best, shares, answer, rank = (torch.stack(part).cpu().numpy() for part in zip(*rows, strict=True))
    return Lens(best, shares, answer, rank)


@dataclass(frozen=True)
class Likelihoods:
    """How likely each token was after those before it; the first token of the text is given."""

    tokens: list[int]
    probability: Floats
    """(tokens)"""
    rank: Ints
    """Place of the token among all that could have come, 1 for the likeliest."""
    others: Ints
    """(tokens, top): what the model held likeliest there, best first."""
    shares: Floats
    """The probabilities of these."""

    @property
    def surprisal(self) -> Floats:
        """-log2 probability: how many bits each token told."""
        return -np.log2(np.maximum(self.probability, np.finfo(np.float32).tiny))


@torch.no_grad()
def likelihoods(model: CausalLM, tokens: Sequence[int], *, top: int = 3) -> Likelihoods:
    """The probability of every token but the first, with the `top` likeliest in its place."""
    if len(tokens) < 2:
        raise ConfigError(
            f"the text has {len(tokens)} token{'s' * (len(tokens) != 1)}, expected at least 2: the first "
            "follows nothing, so it has no probability"
        )
    with inference(model):
        x = model.features(row_of(model, tokens[:-1]))[0]
    goals = torch.tensor(tokens[1:], device=x.device)[:, None]
    parts = [
        summary(probabilities(model, some, ""), goal, top)
        for some, goal in zip(x.split(PIECE), goals.split(PIECE), strict=True)
    ]
    others, shares, own, rank = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return Likelihoods(list(tokens[1:]), own, rank, others, shares)


@dataclass(frozen=True)
class CacheTimes:
    """What a new token costs at some lengths of the text (its own included), medians of alternating rounds."""

    lengths: list[int]
    cached: list[float]
    """Seconds when keys and values are remembered: the new token alone is computed."""
    uncached: list[float]
    """Seconds when the whole text is computed again."""
    bytes: list[int]
    """Memory of the keys and values of so many tokens."""
    written: list[int]
    """The tokens that were written with the cache, greedily and past any end."""
    same: int
    """Of these, how many the model says without it too."""


@torch.no_grad()
def cache_times(model: CausalLM, tokens: Sequence[int], *, count: int, points: int = 10, rounds: int = 3) -> CacheTimes:
    """Write `count` tokens after these with a cache, then time one more token at `points` lengths, both ways.

    Both ways take turns at each length, and all lengths in each of the `rounds`, so that what else the machine does
    strikes all of them alike.
    """
    if count < 2 or not tokens:
        raise ConfigError(f"got {len(tokens)} tokens and {count} to write, expected at least 1 and 2")
    with inference(model), packed(model), fused(model):
        text, written = row_of(model, tokens), list[int]()
        cache = model.begin(capacity=len(tokens) + count - 1)
        step = text
        for _ in range(count):
            written.append(int(model.extend(step, cache).argmax()))
            step = torch.tensor([written[-1:]], device=text.device)
        text = torch.cat([text, torch.tensor([written[:-1]], device=text.device)], 1)
        x = model.features(text)[0, len(tokens) - 1 :]
        again = [token for some in x.split(PIECE) for token in model.logits(some).argmax(-1).tolist()]
        lengths = sorted({round(float(length)) for length in np.linspace(len(tokens), text.shape[1], points)})
        sizes: dict[int, int] = {}
        times: dict[int, list[tuple[float, float]]] = {length: [] for length in lengths}
        for number in range(rounds + 1):
            if cache.length < text.shape[1]:
                model.extend(text[:, cache.length :], cache)
            for length in reversed(lengths):  # a cache forgets at its end
                cache.truncate(length)
                sizes[length] = sum(part.nbytes for layer in cache.own for part in layer.read())
                times[length].append(seconds_of(model, text[:, :length], cache, number % 2))
    # the first round is a warm-up
    cached, uncached = ([median(pair[way] for pair in times[length][1:]) for length in lengths] for way in (0, 1))
    same = sum(one == other for one, other in zip(written, again, strict=True))
    return CacheTimes(lengths, cached, uncached, [sizes[length] for length in lengths], written, same)


def seconds_of(model: CausalLM, text: Tensor, cache: Cache, turn: int) -> tuple[float, float]:
    """Seconds for the token after the text with the cache and without it; `turn`: which of them comes first."""

    def remembering() -> Tensor:
        cache.truncate(text.shape[1] - 1)
        return model.extend(text[:, -1:], cache)

    def anew() -> Tensor:
        return model.logits(model.features(text)[:, -1])

    ways: tuple[Callable[[], Tensor], Callable[[], Tensor]] = remembering, anew
    times = [0.0, 0.0]
    for way in (turn, 1 - turn):
        start = time.perf_counter()
        int(ways[way]().argmax())  # the number itself is waited for, on any device
        times[way] = time.perf_counter() - start
    return times[0], times[1]


def probabilities(model: CausalLM, x: Tensor, what: str) -> Tensor:
    """(positions, dim) -> (positions, vocab), fp32. Raises CheckpointError where they are no numbers."""
    shares = model.logits(x).float().softmax(-1)
    if not bool(shares.isfinite().all()):
        raise CheckpointError(
            f"the model's logits {what} are no finite numbers".replace("  ", " ")
            + ": weights are damaged (NaN), or too large for this dtype; try fp32"
        )
    return shares


def summary(distribution: Tensor, goal: Tensor, top: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of (positions, vocab): the `top` likeliest and their probabilities, and of `goal` (positions, 1) its
    probability and rank."""
    shares, tokens = distribution.topk(min(top, distribution.shape[-1]))
    own = distribution.gather(-1, goal)
    return tokens, shares, own[:, 0], (distribution > own).sum(-1) + 1
