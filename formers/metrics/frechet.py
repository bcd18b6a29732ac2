"""The Frechet distance of two sets of vectors, as of two normal distributions (Dowson and Landau 1982).

Of features of pictures it is known by the network that gives them (FID: Inception's); with features of another network
its numbers compare with those of that network alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def frechet_distance(vectors: Floats, others: Floats) -> float:
    """|difference of the means|^2 + trace(A + B - 2 (A B)^(1/2)) of the covariances A and B; at least 0.

    vectors, others: (rows, dim), at least two rows each. Few rows make it larger: compare only equally many.
    """
    (mean, spread), (other, spread_of_other) = (moments(rows) for rows in (vectors, others))
    root = root_of(spread)
    shared = np.linalg.eigvalsh(root @ spread_of_other @ root).clip(min=0)
    apart = np.square(mean - other).sum() + np.trace(spread) + np.trace(spread_of_other) - 2 * np.sqrt(shared).sum()
    return max(0.0, float(apart))


def moments(rows: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance, in float64."""
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(f"vectors of shape {rows.shape} have no covariance; give at least two rows of equal length")
    wide = rows.astype(np.float64)
    return wide.mean(0), np.atleast_2d(np.cov(wide, rowvar=False))


def root_of(spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric root of a symmetric matrix without negative eigenvalues (but for rounding)."""
    values, vectors = np.linalg.eigh(spread)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
