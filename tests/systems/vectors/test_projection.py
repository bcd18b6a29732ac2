"""Vectors in the plane: distances, neighbours, and what is missing is named."""

import numpy as np
import pytest

from formers.errors import ConfigError, DataError, PackageError
from formers.systems.vectors.projection import plane


def test_principal_components():
    random = np.random.default_rng(0)
    x = random.standard_normal((50, 1)) * [[3.0, 4.0, 0.0]] + random.standard_normal((50, 3)) * 0.01
    found = plane(x)
    assert found.places.shape == (50, 2) and "variance" in found.names[0] and "100.0%" in found.names[0]
    along = (x - x.mean(0)) @ [0.6, 0.8, 0]
    assert np.allclose(found.places[:, 0], along, atol=0.05)
    distances = np.linalg.norm(found.places[:, None] - found.places, axis=-1)
    assert np.allclose(distances, np.linalg.norm(x[:, None] - x, axis=-1), atol=0.1)
    assert plane(np.zeros((4, 1))).places.shape == (4, 2)


def test_tsne_keeps_neighbours_together_and_is_the_same_every_time():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    random = np.random.default_rng(0)
    x = np.concatenate([random.standard_normal((15, 8)), 12 + random.standard_normal((15, 8))])
    found = plane(x, "tsne")
    assert found.names == ("", "") and np.array_equal(found.places, plane(x, "tsne").places)
    middles = found.places[:15].mean(0), found.places[15:].mean(0)
    spread = np.linalg.norm(found.places[:15] - middles[0], axis=1).max()
    assert np.linalg.norm(middles[0] - middles[1]) > spread


def test_what_cannot_be_put_into_a_plane():
    with pytest.raises(ConfigError, match='"pcs" is not known; did you mean "pca"'):
        plane(np.zeros((5, 3)), "pcs")
    with pytest.raises(DataError, match="got 2 texts, expected at least 3"):
        plane(np.zeros((2, 3)))


def test_umap_is_named_where_it_is_missing():
    try:
        import umap  # noqa: F401
    except ImportError:
        with pytest.raises(PackageError, match="pip install umap-learn"):
            plane(np.zeros((5, 3)), "umap")
    else:
        pytest.skip("umap is installed here")
