"""Whisper's timestamps among the tokens: which may come next (Radford et al. 2022, 4.5), and the segments they mark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from formers.decoding.filters import Filter

FIRST = 50  # a text begins within its first second, 20 milliseconds a token


def timestamp_rules(begin: int, end: int, silent: int, *, at: int, first: int | None = FIRST) -> Filter:
    """Timestamps come in pairs, never go back, and come wherever all of them together are likelier than any text.

    begin: the token of 0 seconds, with those of all later times behind it; end: that of the end of a text, before
    which text stands; silent: that of "no timestamps"; at: tokens before the text; first: the last of those that
    may begin it.
    """

    def apply(logits: Tensor, tokens: Tensor) -> Tensor:
        logits[:, silent] = -torch.inf
        for row, text in zip(logits, tokens[:, at:].tolist(), strict=True):
            last, before = bool(text) and text[-1] >= begin, len(text) < 2 or text[-2] >= begin
            if last:
                if before:
                    row[begin:] = -torch.inf
                else:
                    row[:end] = -torch.inf
            if times := [token for token in text if token >= begin]:
                row[begin : times[-1] + (not last or before)] = -torch.inf
            if not text:
                row[:begin] = -torch.inf
                if first is not None:
                    row[begin + first + 1 :] = -torch.inf
        sure = logits[:, begin:].logsumexp(-1) > logits[:, :begin].amax(-1)
        logits[:, :begin].masked_fill_(sure[:, None], -torch.inf)
        return logits

    return apply


class TimedTokens(NamedTuple):
    """Tokens between two timestamps, counted from the beginning of the window."""

    start: int
    end: int
    tokens: list[int]


def spans_of(tokens: Sequence[int], begin: int, positions: int) -> tuple[list[TimedTokens], int]:
    """The segments of a window's text, and where the next window begins: behind the last segment that is whole.

    positions: of the window. What has no timestamps is one segment, of all the window.
    """
    marks = [token >= begin for token in tokens]
    alone = marks[-2:] == [False, True]  # nothing is said behind it
    cuts = [i for i in range(1, len(tokens)) if marks[i - 1] and marks[i]]
    if not cuts:
        times = [token - begin for token in tokens if token > begin]
        return [TimedTokens(0, times[-1] if times else positions, list(tokens))] if tokens else [], positions
    cuts += [len(tokens)] if alone else []
    parts = [list(tokens[i:j]) for i, j in zip([0, *cuts], cuts, strict=False)]
    spans = [TimedTokens(part[0] - begin, part[-1] - begin, part) for part in parts]
    return spans, positions if alone else spans[-1].end or positions
