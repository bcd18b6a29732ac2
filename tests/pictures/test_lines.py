"""Lines of several methods, a panel for each measure; maps side by side."""

import numpy as np

from formers.pictures.lines import draw_lines
from formers.pictures.map import draw_maps
from tests.pictures.conftest import small


def test_a_panel_for_each_measure_and_a_line_for_each_method(tmp_path):
    lines = {"ours": [20.0, 30.0, 40.0], "theirs": [10.0, float("nan"), 20.0]}
    drawn = draw_lines([1, 3, 7], {"PSNR": lines, "SSIM": lines}, "lines", "number", doubling=True)
    assert [axes.get_ylabel() for axes in drawn.axes] == ["PSNR", "SSIM"]
    assert [text.get_text() for text in drawn.axes[0].get_legend().get_texts()] == ["ours", "theirs"]
    assert [label.get_text() for label in drawn.axes[1].get_xticklabels()] == ["1", "3", "7"]
    assert small(drawn, tmp_path / "l.png")


def test_maps_stand_side_by_side_with_one_legend_and_without_far_outliers(tmp_path):
    places = np.random.default_rng(0).normal(size=(400, 2))
    places[7] = 1e4
    drawn = draw_maps({"one": places, "two": places[:, ::-1]}, ["a", "b"] * 200, "maps")
    assert [axes.get_title() for axes in drawn.axes] == ["one", "two"]
    assert drawn.axes[0].get_legend() is None and drawn.axes[1].get_legend() is not None
    assert drawn.axes[0].get_xlim()[1] < 10 and small(drawn, tmp_path / "m.png")
    assert draw_maps({"one": places}, None, "map").axes[0].get_legend() is None
