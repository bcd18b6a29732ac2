"""How well probabilities say how often they are right."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

BINS = 15


def calibration_error(probabilities: ArrayLike, expected: ArrayLike, *, bins: int = BINS) -> float:
    """The expected calibration error of (examples, classes) probabilities: the mean over examples of how far the
    accuracy of a bin is from its mean confidence, in bins of equal width (Guo et al. 2017)."""
    shares, true = np.asarray(probabilities, np.float64), np.asarray(expected)
    if shares.ndim != 2 or true.shape != shares.shape[:1]:
        raise ValueError(f"probabilities {shares.shape} need one expected class for each row, got {true.shape}")
    if not len(shares):
        return 0.0
    confidence, right = shares.max(1), shares.argmax(1) == true
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # a bin holds its upper edge
    gaps = np.bincount(place, right - confidence, bins)  # of a bin: its size times (accuracy - confidence)
    return float(np.abs(gaps).sum() / len(shares))
