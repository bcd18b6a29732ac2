"""Combinations and the splits that they belong to."""

from __future__ import annotations

from collections import Counter

import pytest

from formers.data.builtin.split import SPLITS, check_split, split_of
from formers.errors import DataError


@pytest.mark.parametrize("percent", [5, 8, 10])
def test_as_many_for_test_as_for_validation(percent: int) -> None:
    counts = Counter(split_of(f"combination {i}", percent) for i in range(20_000))
    for split in SPLITS[1:]:
        assert counts[split] / 20_000 == pytest.approx(percent / 100, abs=0.005)


def test_what_is_no_split_or_no_number_of_rows() -> None:
    check_split("train", 0, 0)
    with pytest.raises(DataError, match=r'^split: got "dev", expected one of train, validation, test$'):
        check_split("dev")
    with pytest.raises(DataError, match=r"^count: got -1, expected 0 or more$"):
        check_split("test", -1)
    with pytest.raises(DataError, match=r'^count: got 4, expected 0 to 3 for the split "test"$'):
        check_split("test", 4, 3)
