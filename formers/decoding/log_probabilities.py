"""Log-probabilities of given tokens, and how likely they make a text: loss, perplexity, bits per byte."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from formers.decoding.decodable import CausalDecoder
from formers.errors import ConfigError, DataError

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
        tokens = [token for part in parts for token in part.tokens]
        scores = [score for part in parts for score in part.scores]
        return Scored(tokens, scores, sum(part.bytes for part in parts))

    @property
    def total(self) -> float:
        return math.fsum(self.scores)

    @property
    def loss(self) -> float:
        """Nats per counted token: the mean of -log-probability."""
        return -self.total / len(self.scores)

    @property
    def perplexity(self) -> float:
        """exp(loss)."""
        return math.exp(min(700.0, self.loss))

    @property
    def bits_per_byte(self) -> float:
        """Does not depend on the tokenizer, so it compares models with different ones."""
        return -self.total / math.log(2) / self.bytes


def score_text(
    model: CausalDecoder,
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
        expected = f"1 to {window - len(opening) - 1}, so that windows of {window} tokens overlap"
        raise ConfigError(f"stride: got {stride}, expected {expected}")
    body = list(tokens) if opening or start is None else [start, *tokens]
    first = 0 if opening else 1  # of the body, the first that can be counted
    if len(body) <= first:
        raise DataError("the text is too short to be scored: it has no token with another one before it")
    scores: list[float] = []
    for rows, count in windows(body, first, window - len(opening), stride):
        read = torch.tensor([[*opening, *row] for row in rows], device=next(iter(model.parameters())).device)
        with torch.no_grad():
            x = model.features(read[:, :-1])[:, -count:].flatten(0, 1)
            scores += token_log_probabilities(model.logits, x, read[:, -count:].flatten(), model.config.vocab).tolist()
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


def token_log_probabilities(head: Callable[[Tensor], Tensor], x: Tensor, targets: Tensor, vocab: int) -> Tensor:
    """log softmax(head(x)) at the targets, fp32: (tokens, dim), (tokens,) -> (tokens,).

    The logits (tokens, vocab) exist a piece at a time; for gradients they are computed again in the backward pass.
    """

    def piece(x: Tensor, targets: Tensor) -> Tensor:
        return -F.cross_entropy(head(x).float(), targets, reduction="none")

    pairs = zip(in_pieces(x, vocab), in_pieces(targets, vocab), strict=True)
    if torch.is_grad_enabled():
        return torch.cat([checkpoint(piece, *pair, use_reentrant=False) for pair in pairs])
    return torch.cat([piece(*pair) for pair in pairs])


def in_pieces(x: Tensor, vocab: int) -> tuple[Tensor, ...]:
    """Rows, as many at a time as may have logits of this vocabulary at once."""
    return x.split(max(1, PIECE // vocab))
