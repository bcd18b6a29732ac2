"""`formers evaluate` of painters: the loss, what a judge sees, quality against steps."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from formers.data.builtin.shapes import FORMS
from formers.errors import ConfigError, DataError
from formers.systems.looks import Picture
from formers.systems.measure import Measure
from formers.systems.painting.evaluation import EvaluatePainter, StepsLook, evaluate, steps
from formers.systems.painting.many import SamplerOptions
from formers.systems.system import Origin, Progress, Report, ResultTable, record
from tests.systems.painting.tiny_painter import judge, painter

ORIGIN = Origin("runs/toy")
MEASURE = Measure(origin=ORIGIN, count=6)
WAY = SamplerOptions(steps=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return painter(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def seer(tmp_path_factory):
    return str(judge(tmp_path_factory.mktemp("judge"), FORMS, "one"))


def test_without_a_judge_the_loss_alone(model):
    *_, report = evaluate(model, EvaluatePainter(data="builtin:shapes", measure=MEASURE))
    assert isinstance(report, Report) and [score.name for score in report.scores] == ["loss"]
    again = list(evaluate(model, EvaluatePainter(data="builtin:shapes", measure=MEASURE)))[-1]
    assert again.value("loss") == report.value("loss")


def test_a_judge_sees_painted_and_real_pictures(model, seer, tmp_path):
    options = EvaluatePainter(data="builtin:shapes", judge=seer, label="label", way=WAY, measure=MEASURE)
    *progress, report = evaluate(model, options)
    assert [event.done for event in progress if isinstance(event, Progress)] == [6]
    assert [score.name for score in report.scores] == ["loss", "agreement", "frechet"]
    facts = record(report)
    assert facts["steps"] == 2 and facts["painted"].keys() == facts["real"].keys() == {"all"}
    assert report.tables[0].rows[0][0] == "all" and report.value("frechet") > 0
    report.files[".png"](tmp_path / "sheet.png")
    assert np.asarray(Image.open(tmp_path / "sheet.png")).std() > 0


def test_quality_against_steps_is_a_table_and_a_curve(model, seer, tmp_path):
    model.save(tmp_path / "again")
    options = StepsLook(
        origin=ORIGIN, judge=seer, data="builtin:shapes", labels="label", count=4, step=(1, 2), samplers=("ddim",),
        distilled=str(tmp_path / "again"),
    )  # fmt: skip
    events = list(steps(model, options))
    assert [event.done for event in events if isinstance(event, Progress)] == [4, 8, 12, 16]
    table, picture = (event for event in events if not isinstance(event, Progress))
    assert isinstance(table, ResultTable) and [row[0] for row in table.rows] == ["ddim", "lcm, distilled"]
    assert isinstance(picture, Picture) and picture.name == "curve"
    picture.write(tmp_path / "curve.png")


def test_what_cannot_be_judged_is_said(model, seer, tmp_path):
    usual = EvaluatePainter(data="builtin:shapes", judge=seer, way=WAY, measure=MEASURE)
    with pytest.raises(DataError, match="is not among those learned"):
        list(evaluate(model, usual))  # captions are no labels of this judge
    with pytest.raises(ConfigError, match="say nothing to paint"):
        list(evaluate(painter(tmp_path, text=False), usual))
    with pytest.raises(ConfigError, match="steps of what"):
        list(steps(model, StepsLook(origin=ORIGIN)))
