"""When each token is said: the cheapest way through a matrix of tokens and frames (dynamic time warping)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

MEDIAN = 7  # frames that the weights are smoothed over


def smoothed(weights: Tensor, width: int = MEDIAN) -> Tensor:
    """The running median of the last dimension, whose ends are continued as a mirror shows them."""
    half = min(width // 2, weights.shape[-1] - 1)
    if half < 1:
        return weights
    flat = F.pad(weights.flatten(0, -2)[None], (half, half), mode="reflect")[0]
    return flat.unfold(-1, 2 * half + 1, 1).median(-1).values.view(weights.shape)


def token_starts(weights: Tensor, first: int) -> NDArray[np.int64]:
    """The frame that each token from `first` on begins at, but for the last of all, which ends the text.

    weights: (heads, tokens, frames), those of cross-attention; heads that follow the sound. Source: Whisper's.
    """
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-12)
    deviation, mean = torch.std_mean(weights, dim=-2, keepdim=True, correction=0)
    matrix = smoothed((weights - mean) / deviation.clamp(min=1e-12)).mean(0)
    return warped(-matrix[first:-1].double().numpy())


def warped(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """The column at which the cheapest way from the first to the last cell enters each row: right, down or both."""
    rows, columns = costs.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    step = np.zeros((rows + 1, columns + 1), np.int8)
    for diagonal in range(2, rows + columns + 1):  # cells of one diagonal do not depend on each other
        i = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        j = diagonal - i
        ways = np.stack([total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]])
        both, down, right = ways
        kind = np.where((both < down) & (both < right), 0, np.where((down < both) & (down < right), 1, 2))
        step[i, j], total[i, j] = kind, costs[i - 1, j - 1] + ways[kind, np.arange(len(i))]
    step[0, :], step[:, 0] = 2, 1
    i, j = rows, columns
    enters = np.zeros(rows, np.int64)
    while i > 0 and j > 0:
        enters[i - 1] = j - 1
        kind = step[i, j]
        i, j = i - (kind != 2), j - (kind != 1)
    return enters
