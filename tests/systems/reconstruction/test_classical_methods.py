"""PCA and LSA against numpy, the median filter against scipy, the fill against a linear slope and its own rule."""

import numpy as np
import pytest
import torch

from formers.errors import DataError
from formers.metrics.pictures import psnr
from formers.systems.reconstruction.classical_methods import filled, lsa, median, pca

pytest.importorskip("sklearn")


def test_pca_is_the_nearest_linear_code():
    dice = np.random.default_rng(0)
    train, rows = (dice.normal(size=(count, 12)).astype(np.float32) @ np.diag(range(12)) + 3 for count in (200, 40))
    method = pca(train, rows, 4)
    directions = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:4]
    expected = (rows - train.mean(0)) @ directions.T @ directions + train.mean(0)
    assert method.codes.shape == (40, 4)
    np.testing.assert_allclose(method.restored, expected, atol=1e-3)


def test_lsa_is_the_singular_vectors_of_tf_idf():
    dice = np.random.default_rng(0)
    train, rows = (dice.poisson(0.5, size=(count, 20)).astype(np.float32) for count in (100, 30))
    coded, weighed = lsa(train, rows, 3)
    np.testing.assert_allclose(np.linalg.norm(weighed.codes, axis=1), 1, atol=1e-5)
    whole = lsa(train, train, 3)[1].codes
    directions = np.linalg.svd(whole, full_matrices=False)[2][:3]
    np.testing.assert_allclose(np.abs(coded.codes), np.abs(weighed.codes @ directions.T), atol=2e-2)
    assert coded.restored is None


@pytest.mark.parametrize(
    ("method", "shape", "message"),
    [
        (pca, (4, 9), "PCA of 5 dimensions needs at least as many rows, got 4; give more data, or train a"),
        (pca, (9, 4), "PCA of 5 dimensions needs at least as many numbers in each, got 4"),
        (lsa, (4, 9), "LSA of 5 dimensions needs at least as many documents, got 4"),
        (lsa, (9, 4), "LSA of 5 dimensions needs at least as many words, got 4"),
    ],
)
def test_codes_larger_than_what_they_are_learned_from(method, shape, message):
    with pytest.raises(DataError, match=message):
        method(np.ones(shape, np.float32), np.ones((2, shape[1]), np.float32), 5)


@pytest.mark.parametrize("side", [3, 5])
def test_median_is_scipys(side):
    ndimage = pytest.importorskip("scipy.ndimage")
    pictures = torch.rand(3, 2, 9, 7)
    expected = ndimage.median_filter(pictures.numpy(), (1, 1, side, side), mode="nearest")
    np.testing.assert_array_equal(median(pictures, side).numpy(), expected)


@pytest.mark.parametrize(("height", "width"), [(12, 10), (141, 133)])
def test_a_fill_continues_a_slope_and_leaves_the_rest_alone(height, width):
    slope = (torch.arange(12)[:, None] * 0.04 + torch.arange(10) * 0.03).expand(2, 3, 12, 10).contiguous()
    mask = torch.zeros(2, 1, 12, 10, dtype=torch.bool)
    mask[0, :, 3:9, 2:8] = mask[1, :, 5, 1:9] = True
    worse = slope.masked_fill(mask, 0.5)
    torch.testing.assert_close(filled(worse, mask), slope, atol=1e-3, rtol=0)
    pictures, mask = torch.rand(2, 1, height, width), torch.rand(2, 1, height, width) < 0.4
    mask[0, :, 2 : height // 2, 3 : width // 2] = True
    result = filled(pictures, mask)
    assert torch.equal(result[~mask], pictures[~mask])
    wide = torch.nn.functional.pad(result, (1, 1, 1, 1), mode="replicate")
    around = (wide[..., 2:, 1:-1] + wide[..., :-2, 1:-1] + wide[..., 1:-1, 2:] + wide[..., 1:-1, :-2]) / 4
    torch.testing.assert_close(result[mask], around[mask], atol=1e-3, rtol=0)


def test_a_picture_that_is_hidden_altogether_stays_finite():
    assert filled(torch.rand(1, 1, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.bool)).isfinite().all()
    assert psnr(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)) == 0
