"""Pearson and Spearman: by hand, and equal to scipy where it is installed."""

import math

import numpy as np
import pytest

from formers.metrics.correlation import pearson, ranks, spearman


def test_equal_numbers_share_their_rank():
    assert ranks([10, 20, 20, 5]).tolist() == [2, 3.5, 3.5, 1]


def test_only_the_order_matters_to_spearman():
    a = np.array([1.0, 2, 3, 4])
    assert spearman(a, np.exp(a)) == pytest.approx(1)
    assert spearman(a, -a) == pytest.approx(-1)
    assert pearson(a, 2 * a + 1) == pytest.approx(1)
    assert pearson(a, np.exp(a)) < 0.95


def test_equal_to_scipy():
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    random = np.random.default_rng(0)
    a = random.standard_normal(500)
    b = np.round(a + random.standard_normal(500), 1)  # many ties
    assert pearson(a, b) == pytest.approx(stats.pearsonr(a, b).statistic)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert np.array_equal(ranks(b), stats.rankdata(b))


def test_what_cannot_be_told_apart():
    assert pearson([0.1, 0.1, 0.1], [1, 2, 3]) == 0.0 and spearman([1, 2, 3], [7, 7, 7]) == 0.0
    assert pearson([1], [1]) == 0.0
    assert math.isnan(spearman([1, float("nan"), 2], [1, 2, 3]))
    with pytest.raises(ValueError, match="one length"):
        spearman([1, 2], [1, 2, 3])
