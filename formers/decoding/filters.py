"""What may come next: functions `(logits (rows, vocab), tokens (rows, so far, with the prompt)) -> logits`.

A filter owns the logits it is given: it may write in them, and what it gives back is what counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from formers.errors import ConfigError

Filter = Callable[[Tensor, Tensor], Tensor]


def forbid(ids: Collection[int], *, at: int | None = None) -> Filter:
    """Never these tokens (Marian: its padding); with `at`, only when that many tokens are there (Whisper)."""
    banned = torch.tensor(sorted(ids), dtype=torch.long)

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        if at is None or tokens.shape[1] == at:
            logits.index_fill_(1, banned.to(logits.device), -torch.inf)
        return logits

    return apply


def forced(at: Mapping[int, int]) -> Filter:
    """When n tokens are there, `at[n]` comes next, as a certainty of log-probability 0 (BART, M2M-100)."""

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        if tokens.shape[1] in at:
            logits.fill_(-torch.inf)[:, at[tokens.shape[1]]] = 0.0
        return logits

    return apply


def minimum_length(length: int, stop: Collection[int]) -> Filter:
    """No stop token before `length` tokens, the prompt's included, are there."""
    banned = sorted(stop)

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        if tokens.shape[1] < length:
            logits[:, banned] = -torch.inf
        return logits

    return apply


def no_repeat_ngram(size: int) -> Filter:
    """No `size` tokens in a row twice (Paulus et al. 2017, section 2.5)."""
    _at_least("no_repeat_ngram", size, 1)

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        if tokens.shape[1] < size:
            return logits
        grams = tokens.unfold(1, size, 1)  # (rows, grams, size)
        recent = tokens[:, tokens.shape[1] - size + 1 :]
        seen = (grams[:, :, :-1] == recent[:, None]).all(-1)
        verdict = torch.where(seen, -torch.inf, torch.inf).to(logits.dtype)
        return logits.scatter_reduce_(1, grams[:, :, -1], verdict, "amin")

    return apply


def repetition_penalty(penalty: float) -> Filter:
    """What was said is worth less: positive values divided, negative ones multiplied (Keskar et al. 2019)."""
    _positive("repetition_penalty", penalty)

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        said = logits.gather(1, tokens)
        return logits.scatter_(1, tokens, torch.where(said < 0, said * penalty, said / penalty))

    return apply


def temperature(value: float) -> Filter:
    """Divide by `value`: below 1 sharper, above 1 flatter."""
    _positive("temperature", value)
    return lambda logits, tokens: logits.div_(value)


def top_k(count: int) -> Filter:
    """Only the `count` likeliest (Fan et al. 2018)."""
    _at_least("top_k", count, 1)

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        least = logits.topk(min(count, logits.shape[-1])).values[:, -1:]
        return logits.masked_fill_(logits < least, -torch.inf)

    return apply


def top_p(mass: float) -> Filter:
    """Only the fewest likeliest whose probabilities reach `mass` (Holtzman et al. 2019)."""
    _share("top_p", mass)

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        if mass == 1:
            return logits
        vocab = logits.shape[-1]
        total = logits.logsumexp(-1, keepdim=True)
        for count in (min(256, vocab), vocab):  # the head nearly always holds enough: spares a sort of it all
            best = logits.topk(count).values
            before = (best - total).exp().cumsum(-1).roll(1, -1)
            before[:, 0] = 0.0
            kept = (before < mass).sum(-1, keepdim=True)
            if count == vocab or int(kept.max()) < count:
                break
        return logits.masked_fill_(logits < best.gather(1, kept - 1), -torch.inf)

    return apply


def min_p(share: float) -> Filter:
    """Only what is at least `share` times as likely as the likeliest (Nguyen et al. 2024)."""
    if not 0 <= share <= 1:
        raise ConfigError(f"min_p: got {share}, expected 0 to 1")

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        if share == 0:
            return logits
        return logits.masked_fill_(logits < logits.amax(-1, keepdim=True) + math.log(share), -torch.inf)

    return apply


def _at_least(name: str, got: int, least: int) -> None:
    if got < least:
        raise ConfigError(f"{name}: got {got}, expected at least {least}")


def _positive(name: str, got: float) -> None:
    if not got > 0 or math.isinf(got):
        raise ConfigError(f"{name}: got {got}, expected a number above 0")


def _share(name: str, got: float) -> None:
    if not 0 < got <= 1:
        raise ConfigError(f"{name}: got {got}, expected above 0 and at most 1")
