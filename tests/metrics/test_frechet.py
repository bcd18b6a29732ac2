"""The Frechet distance: of known normal distributions, of the same vectors, and as scipy's matrix root gives it."""

from __future__ import annotations

import numpy as np
import pytest

from formers.metrics.frechet import frechet_distance

DICE = np.random.default_rng(3)


def test_of_the_same_vectors_it_is_nothing():
    rows = DICE.normal(size=(40, 6))
    assert frechet_distance(rows, rows) < 1e-9
    assert frechet_distance(rows, rows[::-1] + 3) == pytest.approx(6 * 9)  # the means alone differ


def test_of_one_number_it_is_the_difference_of_means_and_deviations():
    rows, others = DICE.normal(2, 3, (50, 1)), DICE.normal(-1, 0.5, (60, 1))
    apart = (rows.mean() - others.mean()) ** 2 + (rows.std(ddof=1) - others.std(ddof=1)) ** 2
    assert frechet_distance(rows, others) == pytest.approx(apart)


def test_is_the_formula_with_a_general_matrix_root():
    linalg = pytest.importorskip("scipy.linalg")
    rows, others = DICE.normal(size=(30, 5)) @ DICE.normal(size=(5, 5)), DICE.normal(1, 2, (25, 5))
    a, b = np.cov(rows, rowvar=False), np.cov(others, rowvar=False)
    means = np.square(rows.mean(0) - others.mean(0)).sum()
    expected = means + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real)
    assert frechet_distance(rows, others) == pytest.approx(expected) == pytest.approx(frechet_distance(others, rows))


def test_fewer_rows_than_numbers_are_no_fault_and_one_row_is():
    rows = DICE.normal(size=(3, 8)).astype(np.float32)
    assert frechet_distance(rows, rows + 1) == pytest.approx(8, rel=1e-5)
    with pytest.raises(ValueError, match="at least two rows"):
        frechet_distance(rows[:1], rows)
