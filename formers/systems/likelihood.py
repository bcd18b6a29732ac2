"""How likely a text is to a language model: log-probabilities of its tokens, perplexity, bits per byte."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from formers.errors import ConfigError, DataError
from formers.models.causal import CausalLM

PIECE = 1 << 22  # logits that exist at a time: 16 MB in fp32
READ = 4096  # tokens that are read at a time, in windows beside each other


@dataclass(frozen=True)
class Scored:
    """The tokens of a text that were counted, and the log-probability (natural logarithm) of each."""

    tokens: list[int]
    scores: list[float]
    bytes: int
    """Of the whole text in UTF-8."""

    @staticmethod
    def joined(parts: Sequence[Scored]) -> Scored:
        """Several texts as one."""
        return Scored(
            [token for each in parts for token in each.tokens],
            [s for each in parts for s in each.scores],
            sum(each.bytes for each in parts),
        )

    @property
    def total(self) -> float:
        return math.fsum(self.scores)

    @property
    def perplexity(self) -> float:
        """exp(-mean log-probability of a token)."""
        return math.exp(min(700.0, -self.total / len(self.scores)))

    @property
    def bits_per_byte(self) -> float:
        """Does not depend on the tokenizer, so it compares models with different ones."""
        return -self.total / math.log(2) / self.bytes


def score_text(
    model: CausalLM,
    text: str,
    tokens: Sequence[int],
    *,
    opening: Sequence[int],
    start: int | None,
    window: int | None,
    stride: int | None,
) -> Scored:
    """See `LanguageModel.score`; `opening` stands before every window, `start`, where there is none, once."""
    longest = model.config.length
    window = longest if window is None else window
    stride = max(1, window // 2) if stride is None else stride
    if not len(opening) + 2 <= window <= longest:
        raise ConfigError(f"window: got {window}, expected {len(opening) + 2} to {longest}, what this model reads")
    if not 1 <= stride < window - len(opening):
        raise ConfigError(
            f"stride: got {stride}, expected 1 to {window - len(opening) - 1}, so that windows of "
            f"{window} tokens overlap"
        )
    body = list(tokens) if opening or start is None else [start, *tokens]
    first = 0 if opening else 1  # of the body, the first that can be counted
    if len(body) <= first:
        raise DataError("the text is too short to be scored: it has no token with another one before it")
    scores: list[float] = []
    for rows, count in windows(body, first, window - len(opening), stride):
        read = torch.tensor([[*opening, *row] for row in rows], device=model.embedding.weight.device)
        with torch.no_grad():
            found = log_probs(model, model.features(read[:, :-1])[:, -count:], read[:, -count:])
        scores += found.flatten().tolist()
    return Scored(body[first:], scores, len(text.encode()))


def windows(body: Sequence[int], first: int, size: int, stride: int) -> Iterator[tuple[list[Sequence[int]], int]]:
    """Windows of equal length in groups, and how many tokens at the end of each are counted in it."""
    rows: list[Sequence[int]] = []
    begin, done, counted = 0, first, 0
    while done < len(body):
        row = body[begin : begin + size]
        count = begin + len(row) - done
        if rows and (len(row) < len(rows[0]) or count != counted or (len(rows) + 1) * size > READ):
            yield rows, counted
            rows = []
        rows.append(row)
        counted, begin, done = count, begin + stride, begin + len(row)
    yield rows, counted


def log_probs(model: CausalLM, x: Tensor, targets: Tensor) -> Tensor:
    """log softmax of the head at `targets` (rows, length), fp32; the logits exist a piece at a time."""
    flat, goals, found = x.flatten(0, 1), targets.flatten(), []
    size = max(1, PIECE // model.config.vocab)
    for start in range(0, len(flat), size):
        logits = model.logits(flat[start : start + size]).float()
        right = logits.gather(1, goals[start : start + size, None])[:, 0]
        found.append(right - logits.logsumexp(-1))
    return torch.cat(found).view(targets.shape)
