"""Confusions: counts on shares of the row."""

import numpy as np
import pytest

from formers.pictures.confusion import draw_confusion
from tests.pictures.conftest import small


def test_confusions_are_counts_on_shares_of_the_row(tmp_path):
    table = np.array([[8, 2], [1, 3]])
    drawn = draw_confusion(table, ["no", "yes"], title="a $file$")
    axes = drawn.axes[0]
    assert np.allclose(axes.images[0].get_array(), [[0.8, 0.2], [0.25, 0.75]])
    assert sorted(text.get_text() for text in axes.texts) == ["1", "2", "3", "8"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["no (10)", "yes (4)"]
    assert "78.6% right" in drawn.get_suptitle() and small(drawn, tmp_path / "c.png")
    many = draw_confusion(np.eye(50, dtype=int), [f"label {i}" for i in range(50)])
    assert not many.axes[0].texts and small(many, tmp_path / "m.png")
    assert "0.0% right" in draw_confusion(np.zeros((2, 2), int), ["a", "b"]).get_suptitle()
    with pytest.raises(ValueError, match="as many labels"):
        draw_confusion(table, ["no"])
