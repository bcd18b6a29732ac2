"""The learning curve of what was recorded."""

import math

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from formers.errors import DataError
from formers.pictures.curve import draw_curve
from formers.pictures.figure import new_figure, save
from tests.pictures.conftest import picture

UNITS = {"loss": "nats", "bleu": "BLEU", "chrf": "chrF", "exact_match": "share", "accuracy": "share", "margin": ""}


def recorded(scores, units, best="bleu"):
    for step in (10, 20, 30):
        yield {"event": "stepped", "step": step, "loss": 3 / step, "rate": 1e-3}
        metrics = {name: value * step / 30 for name, value in scores.items()}
        yield {"event": "evaluated", "step": step, "best": True, "monitor": best, "metrics": metrics, "units": units}


def panels(figure):
    """Label of the axis -> the lines that it shows."""
    return {axes.get_ylabel(): [line.get_label() for line in axes.get_lines()] for axes in figure.axes}


def test_a_curve_with_losses_that_are_no_numbers(tmp_path):
    events = [
        {"event": "stepped", "step": 1, "loss": None, "rate": 1e-3},
        {"event": "evaluated", "step": 1, "best": False, "metrics": {"loss": None, "bleu": 3.0}},
    ]
    picture(save(draw_curve(events, "x"), tmp_path / "curve.png"))
    with pytest.raises(DataError, match="nothing was recorded"):
        draw_curve([], "x")


def test_every_unit_has_an_axis_and_every_score_a_line(tmp_path):
    scores = {"loss": 2.0, "perplexity": 7.4, "bleu": 40.0, "chrf": 60.0, "exact_match": 0.3, "accuracy": 0.5}
    figure = draw_curve(recorded({**scores, "margin": 3.0}, UNITS), "x")
    shown = panels(figure)
    assert shown["loss (nats)"] == ["training", "validation"]
    assert shown["BLEU"][:1] == ["bleu"] and shown["BLEU"][1].startswith("best bleu:")
    assert shown["chrF"] == ["chrf"] and shown["%"] == ["exact match", "accuracy"] and shown["margin"] == ["margin"]
    (share,) = [axes for axes in figure.axes if axes.get_ylabel() == "%"]
    assert max(share.get_lines()[0].get_ydata()) == pytest.approx(30)
    picture(save(figure, tmp_path / "curve.png"))


def test_the_loss_of_guessing_is_a_line_where_it_was_recorded(tmp_path):
    floor = {"event": "stepped", "loss": 3.0, "rate": 1e-3, "parts": {"accuracy": 0.1, "floor": math.log(64)}}
    figure = draw_curve([{**floor, "step": step} for step in (10, 20)], "x")
    assert panels(figure)["loss"] == ["training", "guessing: ln 64 = 4.16"]
    line = figure.axes[0].get_lines()[1]
    assert list(line.get_ydata()) == pytest.approx([math.log(64)] * 2)
    picture(save(figure, tmp_path / "curve.png"))


def test_many_scores_and_runs_without_units():
    many = {f"score_{i}": 0.1 * i for i in range(9)}
    shown = panels(draw_curve(recorded({"loss": 1.0, "bleu": 30.0, **many}, {}, best="score_8"), "x"))
    assert shown["loss"] and shown["bleu"] == ["bleu"]
    assert shown["score"][:9] == [f"score {i}" for i in range(9)] and shown["score"][9].startswith("best score 8:")
    assert "best perplexity" in str(
        panels(draw_curve(recorded({"loss": 1.0, "perplexity": 2.7}, {}, "perplexity"), "x"))
    )


@pytest.mark.parametrize(
    "title",
    ["learning curve of " + "/folder" * 40, "W" * 200, "漢字" * 60, "$a^b$ " * 40, "short"],
    ids=["path", "capitals", "chinese", "dollars", "short"],
)
@pytest.mark.parametrize("width", [3.0, 8.5])
@pytest.mark.filterwarnings("ignore:Glyph")  # which this machine may have no font for
def test_a_title_is_never_cut(title, width):
    figure = new_figure(width, 3, title)
    figure.subplots()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    box, whole = figure._suptitle.get_window_extent(canvas.get_renderer()), figure.bbox
    assert box.x0 >= 0 and box.x1 <= whole.x1 and box.y0 >= 0 and box.y1 <= whole.y1
    assert figure._suptitle.get_text().replace("\n", "").replace(" ", "") == title.replace(" ", "")
    assert figure.axes[0].get_window_extent(canvas.get_renderer()).height > 100


def test_scores_that_share_an_axis_are_told_apart():
    names = [f"recall_{i}" for i in range(12)]
    figure = draw_curve(recorded(dict.fromkeys(names, 0.5), dict.fromkeys(names, "share"), best=names[0]), "x")
    (share,) = [axes for axes in figure.axes if axes.get_ylabel() == "%"]
    looks = {(line.get_color(), line.get_marker()) for line in share.get_lines()[: len(names)]}
    assert len(looks) == len(names)
