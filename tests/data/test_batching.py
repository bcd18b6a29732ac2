"""Rows of similar length in batches, and what a fault calls them."""

from __future__ import annotations

import numpy as np
import pytest

from formers.data.batching import Buckets, bucket, first_and_more
from formers.data.sources import Table


@pytest.mark.parametrize("sides", [1, 2])
def test_buckets_give_the_batches_of_an_epoch(sides: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 30, (50, sides))
    order = Buckets(lengths[:, 0] if sides == 1 else lengths, 60, seed=4, where=str)
    for epoch in (0, 3):
        batches = order.epoch(epoch)
        assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(50))
        assert all(lengths[rows].max() * len(rows) <= 60 for rows in batches)
        wanted = bucket(lengths, 60, seed=4, epoch=epoch)
        assert all(np.array_equal(rows, other) for rows, other in zip(batches, wanted, strict=True))


def test_rows_in_words() -> None:
    table = Table("pairs.tsv", {"en": ["one", "two " * 20, "three"]}, lines=[2, 3, 4])
    order = Buckets(np.array([1, 2, 3]), 9, seed=1, where=lambda row: table.where(row, table.columns["en"][row]))
    assert order.describe([0, 2]) == 'pairs.tsv, line 2 ("one") and 1 more'
    assert order.describe(np.array([1])) == f'pairs.tsv, line 3 ("{"two " * 15}") and 0 more'
    assert first_and_more([2, 1, 0], table.where, "row(s)") == "pairs.tsv, line 4 and 2 more row(s)"
