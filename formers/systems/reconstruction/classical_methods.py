"""What an autoencoder is held against: PCA, LSA, a median filter, a harmonic fill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from formers.errors import DataError
from formers.extras import optional

Rows = NDArray[np.float32]
WINDOWS = (3, 5, 7)  # pixels of a median filter's side
AT_ONCE = 256  # pictures
COARSE = 64  # pixels of a side, above which a fill begins with one of half the size
STEPS, SETTLED = 1000, 1e-4  # of a fill: at most so many, until what is missing is shorter


@dataclass(frozen=True)
class Coded:
    """What a method makes of rows."""

    codes: Rows
    """(rows, size)"""
    restored: Rows | None = None
    """(rows, dim): what comes out of the codes; None where that is not of the rows' own kind."""


def pca(train: Rows, rows: Rows, size: int) -> Coded:
    """The principal components (scikit-learn) of training rows, (n, dim), as the code of other rows.

    Raises DataError where there are fewer rows or numbers than components, PackageError without scikit-learn.
    """
    enough(size, train, "PCA", ("rows", "numbers in each"))
    model = optional("sklearn.decomposition", "metrics", "PCA").PCA(size, random_state=0).fit(train)
    codes = model.transform(rows)
    return Coded(codes, model.inverse_transform(codes))


def lsa(train: Rows, rows: Rows, size: int) -> tuple[Coded, Coded]:
    """Latent semantic analysis (scikit-learn): the largest singular values of the TF-IDF of training documents, (n,
    words) counts, as the code of other ones; and the TF-IDF of these.

    Raises DataError where there are fewer documents or words than dimensions, PackageError without scikit-learn.
    """
    enough(size, train, "LSA", ("documents", "words"))
    weigh = optional("sklearn.feature_extraction.text", "metrics", "LSA").TfidfTransformer(sublinear_tf=True)
    model = optional("sklearn.decomposition", "metrics", "LSA").TruncatedSVD(size, random_state=0)
    model.fit(weigh.fit_transform(train))
    whole: Any = weigh.transform(rows)
    return Coded(model.transform(whole)), Coded(whole.toarray())


def enough(size: int, train: Rows, method: str, units: tuple[str, str]) -> None:
    """Refuse a code that is larger than what there is to learn it from. Raises DataError."""
    for count, unit in zip(train.shape, units, strict=True):
        if count < size:
            what = f"{method} of {size:,} dimensions needs at least as many {unit}, got {count:,}"
            raise DataError(f"{what}; give more data, or train a smaller code (model.sizes)")


def median(pictures: Tensor, side: int) -> Tensor:
    """The median of a square window around each pixel of (n, channels, height, width); the edge is repeated."""
    wide = F.pad(pictures, (side // 2,) * 4, mode="replicate").numpy()
    middle = side * side // 2
    parts = []
    for start in range(0, len(wide), AT_ONCE):
        around = sliding_window_view(wide[start : start + AT_ONCE], (side, side), (2, 3))
        flat = around.reshape(*around.shape[:4], side * side)
        flat.partition(middle)
        parts.append(flat[..., middle])
    return torch.from_numpy(np.concatenate(parts))


def filled(pictures: Tensor, mask: Tensor) -> Tensor:
    """Pictures with what a mask hides, (n, 1, height, width), filled from its edge: each pixel the mean of its four
    neighbours (the harmonic fill: what bilinear filling is for holes of any shape)."""
    parts = zip(pictures.split(AT_ONCE), mask.split(AT_ONCE), strict=True)
    return torch.cat([_filled(some, hidden.to(some.dtype)) for some, hidden in parts])


def _filled(pictures: Tensor, hole: Tensor) -> Tensor:
    """By conjugate gradients, of each channel by itself."""

    def smooth(x: Tensor) -> Tensor:
        wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return (wide[..., :-2, 1:-1] + wide[..., 2:, 1:-1] + wide[..., 1:-1, :-2] + wide[..., 1:-1, 2:]) / 4

    def total(x: Tensor) -> Tensor:
        return x.sum((2, 3), keepdim=True)

    if min(pictures.shape[2:]) > COARSE:  # begin with the fill of half the size, else large holes take long
        shares = F.avg_pool2d(1 - hole, 2, ceil_mode=True)
        known = F.avg_pool2d(pictures * (1 - hole), 2, ceil_mode=True) / shares.clamp(min=1e-3)
        guess = F.interpolate(_filled(known, (shares == 0).to(hole)), pictures.shape[2:], mode="bilinear")
    else:
        guess = total(pictures * (1 - hole)) / total(1 - hole).clamp(min=1)
    x = torch.lerp(pictures, guess, hole)
    rest = (smooth(x) - x) * hole
    way, length = rest, total(rest * rest)
    for _ in range(STEPS):
        if float(length.max()) < SETTLED**2:
            break
        change = (way - smooth(way)) * hole
        step = length / total(way * change).clamp(min=1e-20)
        x, rest = x + step * way, rest - step * change
        before, length = length, total(rest * rest)
        way = rest + length / before.clamp(min=1e-20) * way
    return x
