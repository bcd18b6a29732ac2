"""Every system's first evaluation names scores that its declaration explains, each with its unit."""

import math
from pathlib import Path

import pytest

from formers.recipe import load_recipe, names
from formers.registry import prepare, system, systems
from formers.training.seeding import preserved

TINY = {
    "model.dim=16", "model.heads=2", "model.hidden=32", "data.count=60", "train.precision=fp32",
}  # fmt: skip

LEFT_OUT = {
    "images/shapes-judge": "a hundred labels, which sixty pictures do not have",
    "painting/few-steps": "distils a run",
    "reconstruction/distilled": "distils the model of its [parts]",
}


def recipes():
    """The offline recipe of every system that learns from nothing."""
    for name in names():
        if name in LEFT_OUT:
            continue
        recipe = load_recipe(name)
        sections = recipe.sections
        new = not sections["model"].start and sections["adapter"].kind == "none"
        if new and sections["data"].train.startswith("builtin:"):
            yield name


@pytest.mark.slow
@pytest.mark.parametrize("name", list(recipes()))
def test_the_scores_of_a_task_are_declared(name, tmp_path: Path):
    with preserved():
        sizes = vars(load_recipe(name).sections["model"])
        tiny = [one for one in TINY if not one.startswith("model.") or one[6:].partition("=")[0] in sizes]
        recipe = load_recipe(name, sorted(tiny))
        prepared = prepare(recipe.system, recipe.sections, tmp_path)
        prepared.task.model.eval()
        report = prepared.task.evaluate()
    declared = system(recipe.system).scores
    assert {score.name for score in report.scores} <= declared.keys()
    assert recipe.sections["train"].monitor in {score.name for score in report.scores}
    for score in report.scores:
        assert score.unit != "share" or 0 <= score.value <= (math.inf if score.name in RATES else 1)
        assert score.lower_is_better == (score.unit == "nats" or "loss" in score.name or score.name in LOWER), score


RATES = {"wer", "cer", "decoder_wer"}  # of errors, of which there may be more than there are words
LOWER = {"perplexity", "row_perplexity", "bits_per_character", "absolute_error", "calibration_error", *RATES,
         "squared_error", "rmse", "lab_error", "lab_error_before"}  # fmt: skip


def test_every_system_says_what_it_is_judged_by():
    assert all(declared.scores for declared in systems())
