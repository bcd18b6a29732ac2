"""`formers compare`: every variant in a run of its own, trained once, in one table."""

import json

import pytest

from formers.comparison import Trained, curves, slug, spread, values_of, variants
from tests.cli.conftest import call, fails, works

SMALL = ["data.count=40", "data.held_out=10", "rows.vocab=120", "model.dim=8", "model.hidden=16", "model.heads=2",
         "train.steps=2", "train.evaluate_every=1", "train.precision=fp32"]  # fmt: skip
SETS = [part for change in SMALL for part in ("--set", change)]


def test_values():
    assert values_of("task.pooling=first,mean") == ("task.pooling", ["first", "mean"])
    assert values_of("train.betas=[0.9, 0.98],[0.9, 0.999]") == ("train.betas", ["[0.9, 0.98]", "[0.9, 0.999]"])
    assert spread([1.0, 3.0]) == (2.0, pytest.approx(2**0.5)) and spread([4.0]) == (4.0, 0.0)
    assert slug({"model.start": "/a/b c", "seed": "1"}) == "model.start=-a-b-c,seed=1"


def test_variants_and_seeds(tmp_path):
    given = ["compare", "classification", "--over", "task.pooling=first,mean", "--seeds", 2, "--run", tmp_path / "all"]
    result = call(*given, *SETS, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert [each["values"] for each in found["variants"]] == [{"task.pooling": "first"}, {"task.pooling": "mean"}]
    for each in found["variants"]:
        assert [one["seed"] for one in each["runs"]] == [1, 2]
        accuracies = [one["scores"]["accuracy"] for one in each["runs"]]
        assert each["scores"]["accuracy"]["mean"] == pytest.approx(sum(accuracies) / 2)
        assert each["seconds"]["mean"] > 0
    places = sorted(path.name for path in (tmp_path / "all").iterdir())
    assert places == [f"task.pooling={pooling},seed={seed}" for pooling in ("first", "mean") for seed in (1, 2)]
    logs = [path / "events.jsonl" for path in (tmp_path / "all").iterdir()]
    before = [path.stat().st_mtime_ns for path in logs]
    shown = works(*given, *SETS)  # nothing is trained again
    assert [path.stat().st_mtime_ns for path in logs] == before
    assert not (tmp_path / "all" / "compare.png").exists()
    assert "±" in shown and "mean" in shown and "accuracy" in shown
    longer = json.loads(call(*given, *SETS, "--json", "--set", "train.steps=3").stdout)  # goes on
    assert longer["variants"][0]["runs"][0]["seconds"] > found["variants"][0]["runs"][0]["seconds"]


@pytest.mark.parametrize(("counts", "scale"), [(["400", "20", "40"], "log"), (["20", "40"], "linear")])
def test_scores_over_numbers_are_drawn(counts, scale):
    plans = variants("classification", [("data.count", counts), ("task.pooling", ["first", "mean"])], SMALL[1:], 1)
    worth = {"first": 0.5, "mean": 0.75}
    results = [
        (plan, [Trained(1, {"accuracy": worth[plan.values["task.pooling"]] / int(plan.values["data.count"])}, 1.0, "")])
        for plan in plans
    ]
    (axes,) = curves("classification", results).axes
    assert axes.get_xlabel() == "data.count" and axes.get_ylabel() == "accuracy" and axes.get_xscale() == scale
    lines = {line.get_label(): dict(zip(line.get_xdata(), line.get_ydata(), strict=True)) for line in axes.lines}
    places = sorted(map(float, counts))
    assert lines == {f"pooling {name}": {x: most / x for x in places} for name, most in worth.items()}
    words = [(plan, runs) for plan, runs in results if plan.values["data.count"] == "20"]
    assert curves("classification", words) is None


def test_faults():
    assert "expected section.key=value" in fails("compare", "classification", "--over", "pooling=a,b")
    assert "different values" in fails("compare", "classification", "--over", "task.pooling=mean,mean")
    assert 'task.pooling "avg" is not known' in fails("compare", "classification", "--over", "task.pooling=mean,avg")
    assert "--seeds N" in fails("compare", "classification", "--over", "train.seed=1,2")
    assert "names a field twice" in fails(
        "compare", "classification", "--over", "task.pooling=mean", "--over", "task.pooling=max"
    )
    assert "evaluate_every is 0" in fails(
        "compare", "classification", "--over", "task.pooling=mean,max", "--set", "train.evaluate_every=0"
    )
