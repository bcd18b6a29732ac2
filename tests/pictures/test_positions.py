"""Vectors of positions, and biases of distances."""

import matplotlib
import numpy as np

from formers.pictures.figure import save
from formers.pictures.positions import draw_positions
from tests.pictures.conftest import picture


def test_pictures_leave_matplotlib_settings_alone_but_the_fonts(tmp_path):
    assert matplotlib.rcParams["figure.dpi"] == matplotlib.rcParamsDefault["figure.dpi"]
    save(draw_positions({"": np.eye(5, dtype=np.float32)}, {}, "x"), tmp_path / "a" / "b.png")  # folders are made


def test_vectors_and_biases_stand_below_each_other(tmp_path):
    bias = np.arange(-3, 4, dtype=np.float32)[None].repeat(2, 0)
    drawn = draw_positions({"all": np.eye(5, dtype=np.float32)}, {"encoder": bias}, "x")
    titles = [axes.get_title() for axes in drawn.axes if axes.images]
    assert titles == ["position vectors\nall", "similarity of two positions\nall", "encoder"]
    (image,) = drawn.axes[4].images
    np.testing.assert_array_equal(image.get_array(), bias)
    assert image.get_extent() == [-3.5, 3.5, 2.5, 0.5]  # distance 0 in the middle, head 1 at the top
    picture(save(drawn, tmp_path / "positions.png"))
