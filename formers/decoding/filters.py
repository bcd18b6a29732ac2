"""What may come next: functions `(logits (rows, vocab), tokens (rows, so far, with the prompt)) -> logits`.

A filter owns the logits it is given: it may write in them, and what it gives back is what counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from formers.errors import ConfigError

Filter = Callable[[Tensor, Tensor], Tensor]


def forbid(ids: Collection[int], *, at: int | None = None) -> Filter:
    """Never these tokens (Marian: its padding); with `at`, only when that many tokens are there (Whisper)."""

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        if at is None or tokens.shape[1] == at:
            logits.index_fill_(1, _in_vocabulary(ids, logits), -torch.inf)
        return logits

    return apply


def bias(sequences: Mapping[tuple[int, ...], float]) -> Filter:
    """Add to the logit of a sequence's last token where the tokens before it are there; -inf: never that sequence."""
    groups: dict[int, list[tuple[int, ...]]] = {}
    for sequence in sequences:
        groups.setdefault(len(sequence) - 1, []).append(sequence)
    before = {size: torch.tensor([sequence[:-1] for sequence in group]) for size, group in groups.items()}
    last = {size: torch.tensor([sequence[-1] for sequence in group]) for size, group in groups.items()}
    added = {size: torch.tensor([sequences[sequence] for sequence in group]) for size, group in groups.items()}

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        total = torch.zeros_like(logits)
        for size in groups:
            if size > tokens.shape[1]:
                continue
            within = last[size] < logits.shape[1]
            ids, worth, prefix = (part[within].to(logits.device) for part in (last[size], added[size], before[size]))
            there = (tokens[:, None, tokens.shape[1] - size :] == prefix).all(-1)  # (rows, sequences)
            total.index_add_(1, ids, torch.where(there, worth, 0.0).to(logits.dtype))
        return logits.add_(total)

    return apply


def forced(at: Mapping[int, int | Sequence[int]]) -> Filter:
    """When n tokens are there, `at[n]` (or one of them) comes next, with log-probability 0 (BART, M2M-100)."""

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        if tokens.shape[1] in at:
            logits.fill_(-torch.inf)[:, at[tokens.shape[1]]] = 0.0
        return logits

    return apply


def minimum_length(length: int, stop: Collection[int]) -> Filter:
    """No stop token before `length` tokens, the prompt's included, are there."""
    ban = forbid(stop)
    return lambda logits, tokens: ban(logits, tokens) if tokens.shape[1] < length else logits


def growing_stop(begin: int, factor: float, stop: Collection[int]) -> Filter:
    """Beyond `begin` tokens, the prompt's included, a stop token's logit x gains |x| (factor ** tokens beyond - 1)."""
    _positive("exponential_decay_length_penalty", factor)

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        if (beyond := tokens.shape[1] - begin) > 0:
            ids = _in_vocabulary(stop, logits)
            gain = math.expm1(min(80.0, beyond * math.log(factor)))  # finite in fp32
            worth = logits[:, ids]
            logits[:, ids] = torch.where(worth.isfinite(), worth + worth.abs() * gain, worth)
        return logits

    return apply


def no_repeat_ngram(size: int) -> Filter:
    """No `size` tokens in a row twice (Paulus et al. 2017, section 2.5)."""
    _at_least("no_repeat_ngram", size, 1)

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        return logits if tokens.shape[1] < size else _ban_ngrams(logits, tokens, tokens.unfold(1, size, 1))

    return apply


def no_source_ngram(size: int, source: Sequence[int]) -> Filter:
    """No `size` tokens in a row that the source has in a row."""
    _at_least("encoder_no_repeat_ngram_size", size, 1)
    read = torch.tensor([source], dtype=torch.long)

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        if len(source) < size or tokens.shape[1] < size - 1:
            return logits
        grams = read.to(logits.device).unfold(1, size, 1).expand(len(logits), -1, -1)
        return _ban_ngrams(logits, tokens, grams)

    return apply


def repetition_penalty(penalty: float) -> Filter:
    """What was said is worth less: positive values divided, negative ones multiplied (Keskar et al. 2019)."""
    _positive("repetition_penalty", penalty)
    return lambda logits, tokens: _penalise(logits, tokens, penalty)


def source_bonus(bonus: float, source: Sequence[int]) -> Filter:
    """What the source says is worth more: a repetition penalty the other way round."""
    _positive("encoder_repetition_penalty", bonus)
    read = torch.tensor([sorted(set(source))], dtype=torch.long)
    return lambda logits, tokens: _penalise(logits, read.to(logits.device).expand(len(logits), -1), 1 / bonus)


def finite() -> Filter:
    """0 for what is no number, the largest numbers for infinite ones."""
    return lambda logits, tokens: logits.nan_to_num_(0.0)


def normalise() -> Filter:
    """Log-probabilities of what the filters before have left; a row with nothing left stays so."""
    return lambda logits, tokens: logits.log_softmax(-1).masked_fill_(logits == -torch.inf, -torch.inf)


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


def typical_p(mass: float) -> Filter:
    """Only those whose surprise is nearest to the mean surprise, until they reach `mass` (Meister et al. 2022)."""
    _share("typical_p", mass)

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        if mass == 1:
            return logits
        log_probs = logits.log_softmax(-1)
        distance = (log_probs + _entropy(log_probs)).abs()
        nearest = distance.sort(-1)
        count = (log_probs.exp().gather(1, nearest.indices).cumsum(-1) < mass).sum(-1, keepdim=True)
        farthest = nearest.values.gather(1, count.clamp_(max=logits.shape[-1] - 1))
        return logits.masked_fill_(distance > farthest, -torch.inf)

    return apply


def epsilon_cutoff(least: float) -> Filter:
    """Only what has at least this probability, and the likeliest (Hewitt et al. 2022, section 4)."""

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        return _cut(logits, logits.softmax(-1) < least) if 0 < least < 1 else logits

    return apply


def eta_cutoff(least: float) -> Filter:
    """The same with a lower bound where many are likely: sqrt(least) exp(-entropy) (Hewitt et al. 2022, section 4)."""

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        if not 0 < least < 1:
            return logits
        log_probs = logits.log_softmax(-1)
        bound = (math.sqrt(least) * (-_entropy(log_probs)).exp()).clamp_(max=least)
        return _cut(logits, log_probs.exp() < bound)

    return apply


def _in_vocabulary(ids: Collection[int], logits: Tensor) -> Tensor:
    """Those that the logits have a column for: published settings name others, which are never said."""
    return torch.tensor(sorted(id for id in ids if 0 <= id < logits.shape[1]), dtype=torch.long, device=logits.device)


def _penalise(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """ids: (rows, any)."""
    worth = logits.gather(1, ids)
    return logits.scatter_(1, ids, torch.where(worth < 0, worth * penalty, worth / penalty))


def _ban_ngrams(logits: Tensor, tokens: Tensor, grams: Tensor) -> Tensor:
    """Ban what would complete one of `grams` (rows, grams, size)."""
    recent = tokens[:, tokens.shape[1] - grams.shape[-1] + 1 :]
    seen = (grams[:, :, :-1] == recent[:, None]).all(-1)
    verdict = torch.where(seen, -torch.inf, torch.inf).to(logits.dtype)
    return logits.scatter_reduce_(1, grams[:, :, -1], verdict, "amin")


def _entropy(log_probs: Tensor) -> Tensor:
    """(rows, 1), in nats; what is impossible adds nothing."""
    return -(log_probs * log_probs.exp()).nansum(-1, keepdim=True)


def _cut(logits: Tensor, unlikely: Tensor) -> Tensor:
    return logits.masked_fill_(unlikely & (logits < logits.amax(-1, keepdim=True)), -torch.inf)


def _at_least(name: str, got: int, least: int) -> None:
    if got < least:
        raise ConfigError(f"{name}: got {got}, expected at least {least}")


def _positive(name: str, got: float) -> None:
    if not got > 0 or math.isinf(got):
        raise ConfigError(f"{name}: got {got}, expected a number above 0")


def _share(name: str, got: float) -> None:
    if not 0 < got <= 1:
        raise ConfigError(f"{name}: got {got}, expected above 0 and at most 1")
