"""Dynamic time warping and the running median, against the reference and against all ways there are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from formers.decoding.alignment import smoothed, token_starts, warped


def test_median_is_the_references():
    reference = pytest.importorskip("transformers.models.whisper.generation_whisper")
    weights = torch.randn(2, 3, 19, generator=torch.Generator().manual_seed(0))
    assert torch.equal(smoothed(weights), reference._median_filter(weights[None], 7)[0])
    assert smoothed(weights[..., :1]).shape == (2, 3, 1)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 6), (4, 9), (7, 7), (5, 3)])
def test_the_way_is_the_references(rows, columns):
    reference = pytest.importorskip("transformers.models.whisper.generation_whisper")
    costs = np.random.default_rng(rows).normal(size=(rows, columns))
    text, time = reference._dynamic_time_warping(costs)
    expected = [int(time[np.flatnonzero(text == row)[0]]) for row in range(rows)]
    assert warped(costs).tolist() == expected


def test_a_diagonal_is_found():
    weights = torch.full((2, 6, 30), 0.01)
    for row in range(6):
        weights[:, row, 5 * row : 5 * row + 5] = 1.0
    starts = token_starts(weights, 1)  # the rows from 1 to 4: the last one is the end
    assert len(starts) == 4
    assert starts[1:].tolist() == [10, 15, 20]
