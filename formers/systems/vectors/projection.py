"""Vectors in the plane: principal components, t-SNE (van der Maaten and Hinton 2008), UMAP (McInnes et al. 2018)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from formers.errors import ConfigError, DataError, PackageError, nearest
from formers.extras import optional

METHODS = ("pca", "tsne", "umap")
FIRST = 50  # principal components that t-SNE begins with: fewer numbers, less noise
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """Points of the plane, and what its two directions are ("": they have no meaning of their own)."""

    places: Floats
    """(rows, 2)"""
    names: tuple[str, str]


def plane(vectors: NDArray[np.floating], method: str = "pca", *, seed: int = 0) -> Plane:
    """(rows, dim) -> (rows, 2). Raises ConfigError: unknown method; PackageError; DataError: fewer than 3 rows."""
    if method not in METHODS:
        raise ConfigError(f'--method "{method}" is not known{nearest(method, METHODS)}')
    if len(vectors) < 3:
        raise DataError(f"got {len(vectors)} texts, expected at least 3 to put into a plane")
    x = np.asarray(vectors, np.float64)
    if method == "pca":
        places, shares = principal(x, 2)
        return Plane(
            places, (f"first component ({shares[0]:.1%} of the variance)", f"second component ({shares[1]:.1%})")
        )
    start = principal(x, min(FIRST, *x.shape))[0]
    places = tsne(start, seed) if method == "tsne" else umap(x, seed)
    return Plane(np.asarray(places, np.float64), ("", ""))


def principal(x: Floats, count: int) -> tuple[Floats, Floats]:
    """The first components (rows, count) and their shares of the variance; the largest entry of each direction is
    positive, so that the picture is the same every time."""
    centred = x - x.mean(0)
    u, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(1)])
    components, shares = u * lengths * signs, lengths**2 / max((lengths**2).sum(), 1e-30)
    room = ((0, 0), (0, max(0, count - components.shape[1])))
    return np.pad(components, room)[:, :count], np.pad(shares, room[1])[:count]


def tsne(x: Floats, seed: int) -> Floats:
    kind = optional("sklearn.manifold", "metrics", "--method tsne").TSNE
    return kind(2, perplexity=min(30.0, (len(x) - 1) / 3), init="pca", random_state=seed).fit_transform(x)


def umap(x: Floats, seed: int) -> Floats:
    try:
        kind = importlib.import_module("umap").UMAP
    except ImportError as error:
        raise PackageError("--method umap needs its package: pip install umap-learn; pca needs nothing") from error
    return kind(n_components=2, n_neighbors=min(15, len(x) - 1), metric="cosine", random_state=seed).fit_transform(x)
