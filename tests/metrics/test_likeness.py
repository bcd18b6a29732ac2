"""PSNR, SSIM and colourfulness against scikit-image and by hand; retrieval of a class against a plain loop."""

import numpy as np
import pytest
import torch

from formers.metrics.pictures import colourfulness, psnr, squared_error, ssim
from formers.metrics.retrieval import RETRIEVED, of_same_class


@pytest.mark.parametrize(("channels", "sides"), [(1, (28, 28)), (3, (32, 19)), (3, (11, 11))])
def test_psnr_and_ssim_are_scikit_images(channels, sides):
    metrics = pytest.importorskip("skimage.metrics")
    pictures = torch.rand(3, channels, *sides)
    others = (pictures + 0.2 * torch.randn_like(pictures)).clamp(0, 1)
    for picture, other, ours, similar in zip(
        pictures, others, psnr(pictures, others), ssim(pictures, others), strict=True
    ):
        a, b = picture.double().numpy(), other.double().numpy()
        assert float(ours) == pytest.approx(metrics.peak_signal_noise_ratio(a, b, data_range=1), abs=1e-4)
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
        expected = metrics.structural_similarity(a, b, channel_axis=0, **settings)
        assert float(similar) == pytest.approx(expected, abs=1e-4)


def test_pictures_that_are_the_same_and_small_ones():
    picture = torch.rand(2, 1, 4, 6)
    assert torch.allclose(ssim(picture, picture), torch.ones(2)) and torch.allclose(
        psnr(picture, picture), torch.tensor(100.0)
    )
    assert ssim(picture, 1 - picture).max() < 0.5
    assert torch.allclose(squared_error(picture, picture + 0.5), torch.full((2,), 24 * 0.25))


def test_colourfulness_by_hand():
    red, grey = torch.zeros(1, 3, 2, 2), torch.rand(1, 1, 2, 2).expand(1, 3, 2, 2)
    red[:, 0] = 1  # opponents 255 and 127.5 everywhere: no deviation
    assert float(colourfulness(red)) == pytest.approx(0.3 * np.hypot(255, 127.5), rel=1e-5)
    assert float(colourfulness(grey)) == pytest.approx(0, abs=1e-4)
    half = red.clone()
    half[..., 0] = 0
    expected = np.hypot(127.5, 63.75) + 0.3 * np.hypot(127.5, 63.75)
    assert float(colourfulness(half)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("cosine", [False, True])
def test_retrieval_of_the_same_class_is_a_plain_loops(cosine):
    dice = np.random.default_rng(0)
    vectors, labels = dice.normal(size=(700, 5)) + 3, dice.integers(0, 4, 700)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    shares = dict.fromkeys((1, 3, 7, 511), 0.0)
    for row in range(700):
        far = -unit @ unit[row] if cosine else ((vectors - vectors[row]) ** 2).sum(1)
        order = [other for other in np.argsort(far, kind="stable") if other != row]
        for count in shares:
            shares[count] += float((labels[order[:count]] == labels[row]).mean()) / 700
    ours = of_same_class(vectors, labels, cosine=cosine)
    assert list(ours) == [count for count in RETRIEVED if count < 700] and RETRIEVED[-1] == 1023
    for count, share in shares.items():
        assert ours[count] == pytest.approx(share, abs=2e-5)


def test_retrieval_among_few():
    assert of_same_class(np.zeros((1, 2)), np.zeros(1, np.int64)) == {}
    assert of_same_class(np.eye(2), np.array([0, 1])) == {1: 0.0}
