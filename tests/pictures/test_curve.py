"""The learning curve of what was recorded."""

import pytest

from formers.errors import DataError
from formers.pictures.curve import draw_curve
from formers.pictures.figure import save
from tests.pictures.conftest import picture


def test_a_curve_with_losses_that_are_no_numbers(tmp_path):
    events = [
        {"event": "stepped", "step": 1, "loss": None, "rate": 1e-3},
        {"event": "evaluated", "step": 1, "best": False, "metrics": {"loss": None, "bleu": 3.0}},
    ]
    picture(save(draw_curve(events, "x"), tmp_path / "curve.png"))
    with pytest.raises(DataError, match="nothing was recorded"):
        draw_curve([], "x")
