"""`formers compare RECIPE` without --over: an autoencoder, trained once, beside simpler methods."""

import json

import pytest

from formers.metrics.retrieval import RETRIEVED
from tests.cli.conftest import call, fails, works

pytest.importorskip("sklearn")

SMALL = ["model.kind=dense", "model.height=8", "model.sizes=[12,4]", "data.train=builtin:shapes", "data.count=60",
         "data.held_out=20", "rows.batch=16", "train.steps=3", "train.evaluate_every=2", "train.save_every=2",
         "train.sample_every=0", "train.log_every=1", "train.precision=fp32", "train.warmup=1"]  # fmt: skip


def sets(*changes):
    return [part for change in [*SMALL, *changes] for part in ("--set", change)]


def compared(*given):
    result = call("compare", *given, "--json")
    assert result.exit_code == 0, (result.stderr, result.exception)
    return json.loads(result.stdout)


def test_pictures_beside_pca(tmp_path):
    facts, run = compared("reconstruction/deep", *sets()), tmp_path / "runs" / "reconstruction-deep"
    assert list(facts["methods"]) == ["autoencoder (4)", "PCA (4)", "raw pixels (64)"]
    ours, linear, raw = facts["methods"].values()
    assert ours["squared_error"] > linear["squared_error"] > 0  # three steps
    assert ours["rmse"] == pytest.approx((ours["squared_error"] / 64) ** 0.5)
    assert list(raw["retrieved"]) == [str(count) for count in RETRIEVED if count < 20]
    assert raw["nearest_neighbour_agreement"] == raw["retrieved"]["1"]
    drawn = sorted(path.name for path in (run / "comparison").iterdir())
    assert drawn == ["maps.png", "pictures.png", "retrieval.png"] and len(facts["pictures"]) == 3
    before = (run / "events.jsonl").stat().st_mtime_ns
    shown = works("compare", "reconstruction/deep")  # neither named again what it was begun with, nor trained again
    assert "PCA (4)" in shown and "nearest neighbour agreement" in shown and "raw pixels (64)" in shown
    assert compared(run)["methods"] == facts["methods"]  # a run is its own recipe
    assert (run / "events.jsonl").stat().st_mtime_ns == before
    assert "was begun with another recipe" in fails("compare", "reconstruction/deep", "--set", "rows.batch=8")


def test_documents_beside_lsa(tmp_path):
    texts = [
        (f"{a} {b} {kind} the end", kind) for kind in ("tea", "ship") for a in ("one", "two", "six") for b in "xyz"
    ]
    table = tmp_path / "texts.tsv"
    table.write_text("text\tlabel\n" + "".join(f"{text}\t{kind}\n" for text, kind in texts))
    small = [change for change in SMALL if not change.startswith(("model.", "data.", "rows."))]
    changes = [*small, "model.sizes=[5,2]", f"data.train={table}", f"data.test={table}", "data.held_out=4",
               "rows.label=label", "rows.batch=4", "rows.words=20"]  # fmt: skip
    given = [part for change in changes for part in ("--set", change)]
    facts = compared("reconstruction/documents", "--run", tmp_path / "run", *given)
    names = ["autoencoder (2)", "frequency of each word", "LSA (2)", "TF-IDF (10)"]
    assert sorted(facts["methods"]) == sorted(names)
    assert list(facts["methods"]["LSA (2)"]["retrieved"]) == ["1", "3", "7", "15"]
    assert facts["methods"]["frequency of each word"]["perplexity"] > 1
    large = [*given, "--set", "model.sizes=[8]", "--set", "data.count=6"]
    assert "LSA of 8 dimensions needs at least as many documents, got 5" in fails_last(
        "compare", "reconstruction/documents", "--run", tmp_path / "large", *large
    )


def fails_last(*given):
    """The last line on stderr of a command that trains first."""
    result = call(*given)
    assert result.exit_code == 2, (result.output, result.exception)
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("recipe", "classical"), [("denoising", "median filter"), ("inpainting", "harmonic fill"), ("colouring", "grey")]
)
def test_repair_beside_what_is_classical(recipe, classical, tmp_path):
    changes = sets("model.kind=convolutional", "model.height=16", "model.sizes=[4,4]", "model.depth=0")
    facts = compared(f"reconstruction/{recipe}", "--run", tmp_path / "run", *changes)
    drawn = sorted(path.name for path in (tmp_path / "run" / "comparison").iterdir())
    if recipe == "colouring":
        true, grey, ours = (facts["methods"][name] for name in ("as it is", "grey", "autoencoder"))
        assert drawn == ["pictures.png"] and grey["colourfulness"] < 1 < true["colourfulness"]
        assert list(true) == ["colourfulness"] and ours["error in L*a*b*"] > 0
        return
    assert drawn == ["levels.png", "pictures.png"]
    worse, simple = facts["PSNR (dB)"]["made worse"], facts["PSNR (dB)"][classical]
    assert len(worse) == len(facts["SSIM"]["autoencoder"]) in (5, 6)
    assert worse == sorted(worse, reverse=True) and simple[-1] > worse[-1] + 3


def test_faults():
    message = "recipes of the system classification are compared with each other only; give fields and their values"
    assert message in fails("compare", "classification")
    assert "--seeds goes with --over" in fails("compare", "reconstruction", "--seeds", 2)
