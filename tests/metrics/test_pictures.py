"""Calibration, the first few classes and average precision against scikit-learn and by hand."""

import numpy as np
import pytest

from formers.metrics.calibration import calibration_error
from formers.metrics.classification import average_precision, top


def test_calibration_by_hand():
    """Two bins: 0.9 and right half of the time; 0.6 and right always."""
    rows = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    assert calibration_error(rows, [0, 1, 1, 1]) == pytest.approx((2 * 0.4 + 2 * 0.4) / 4)
    assert calibration_error(np.eye(3), [0, 1, 2]) == 0.0
    with pytest.raises(ValueError, match="one expected class"):
        calibration_error(rows, [0, 1])


def test_average_precision_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    dice = np.random.default_rng(0)
    scores, true = dice.integers(0, 6, (40, 5)) / 5, dice.integers(0, 2, (40, 5))  # with ties
    expected = metrics.average_precision_score(true, scores, average="macro")
    assert average_precision(scores, true) == pytest.approx(expected)
    without = np.concatenate([true, np.zeros((40, 1), int)], 1)  # a label that nobody has does not count
    assert average_precision(np.concatenate([scores, scores[:, :1]], 1), without) == pytest.approx(expected)


def test_the_first_few_are_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    dice = np.random.default_rng(1)
    scores, true = dice.random((50, 9)), dice.integers(0, 9, 50)
    for count in (1, 3, 5):
        expected = metrics.top_k_accuracy_score(true, scores, k=count, labels=range(9))
        assert top(scores, true, count) == pytest.approx(expected)
