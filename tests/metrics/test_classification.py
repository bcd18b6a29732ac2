"""Accuracy, F1, Matthews and confusions: by hand, and equal to scikit-learn where it is installed."""

from statistics import NormalDist

import numpy as np
import pytest

from formers.metrics.classification import accuracy, confusion, d_prime, f1, matthews


def test_by_hand():
    expected, predicted = [0, 0, 1, 1, 1], [0, 1, 1, 1, 0]
    assert accuracy(predicted, expected) == pytest.approx(3 / 5)
    assert confusion(predicted, expected).tolist() == [[1, 1], [1, 2]]  # rows are what was true
    assert f1(predicted, expected, average="one") == pytest.approx(2 * 2 / (3 + 3))
    assert f1(predicted, expected, average="one", positive=0) == pytest.approx(2 * 1 / (2 + 2))
    assert f1(predicted, expected) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert matthews(predicted, expected) == pytest.approx((1 * 2 - 1 * 1) / np.sqrt(3 * 3 * 2 * 2))


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_equal_to_scikit_learn(classes):
    theirs = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    random = np.random.default_rng(classes)
    expected = random.integers(0, classes, 300)
    predicted = np.where(random.random(300) < 0.4, expected, random.integers(0, classes, 300))
    assert accuracy(predicted, expected) == pytest.approx(theirs.accuracy_score(expected, predicted))
    assert matthews(predicted, expected) == pytest.approx(theirs.matthews_corrcoef(expected, predicted))
    assert np.array_equal(confusion(predicted, expected), theirs.confusion_matrix(expected, predicted))
    for average in ("macro", "micro"):
        assert f1(predicted, expected, average=average) == pytest.approx(
            theirs.f1_score(expected, predicted, average=average)
        )
    said, true = random.random((200, classes)) < 0.3, random.random((200, classes)) < 0.3
    said[:, 0] = true[:, 0] = False  # a label that nobody has
    for average in ("macro", "micro"):
        assert f1(said, true, average=average) == pytest.approx(
            theirs.f1_score(true, said, average=average, zero_division=0)
        )
    assert accuracy(said, true) == pytest.approx(theirs.accuracy_score(true, said))


def test_classes_that_do_not_occur():
    assert confusion([0, 1], [0, 0], classes=4).shape == (4, 4)
    assert f1([0, 5], [0, 5]) == 1.0  # classes 1 to 4 are no classes here
    assert f1([0, 0], [0, 0], average="one") == 0.0
    assert matthews([1, 1, 1], [0, 1, 1]) == 0.0
    assert accuracy([], []) == 0.0 and f1([], []) == 0.0 and confusion([], []).shape == (0, 0)
    assert confusion(np.array([], int), [], classes=2).tolist() == [[0, 0], [0, 0]]


def test_matthews_of_many_examples_does_not_overflow():
    expected = np.tile([0, 1], 400_000)
    assert matthews(expected, expected) == pytest.approx(1)
    assert matthews(1 - expected, expected) == pytest.approx(-1)


def test_lengths_that_differ_are_a_fault():
    with pytest.raises(ValueError, match="one shape"):
        accuracy([1], [1, 0])
    with pytest.raises(ValueError, match="one label"):
        confusion([[1, 0]], [[1, 0]])


def test_d_prime_is_that_of_the_mean_area():
    theirs = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    random = np.random.default_rng(0)
    true = random.integers(0, 2, (400, 3))
    normal = random.standard_normal((400, 3)) + true  # one deviation apart
    assert d_prime(normal, true) == pytest.approx(1, abs=0.15)
    scores = np.round(normal, 1)  # some are equal
    area = theirs.roc_auc_score(true, scores, average="macro")
    assert d_prime(scores, true) == pytest.approx(np.sqrt(2) * NormalDist().inv_cdf(area))
    unseen = np.concatenate([true, np.zeros((400, 1), int)], 1)
    assert d_prime(np.concatenate([scores, scores[:, :1]], 1), unseen) == d_prime(scores, true)
    assert d_prime(np.zeros((4, 1)), [[0], [1], [0], [1]]) == 0
    assert 2 < d_prime(true, true) < 10 and d_prime(-true, true) == -d_prime(true, true)
