"""`formers inspect` and `formers data`: tables, and pictures that are small and written where they belong."""

from itertools import pairwise

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from formers.cli.inspect import positions, weights
from formers.errors import DataError
from formers.models.transformer import Transformer
from formers.studio import pictures
from formers.systems.sizes import TransformerSizes
from tests.cli.conftest import fails, works

FORMS = ["original", "marian", "bart", "t5", "t5_v1_1", "modern"]


def picture(path) -> Image.Image:
    assert path.stat().st_size < 150_000
    with Image.open(path) as opened:
        opened.load()
    assert len(opened.convert("RGB").getcolors(100_000)) > 20  # something is drawn
    return opened


@pytest.mark.parametrize("what", ["attention", "positions", "curve"])
def test_pictures_of_a_run_go_into_its_samples(trained, what):
    place = trained.folder / "samples" / f"{what}.png"
    place.unlink(missing_ok=True)
    shown = works("inspect", trained.folder, what, *(["I ate $5 of apples"] if what == "attention" else []))
    assert shown.splitlines() == [f"wrote {place}"]
    picture(place)


def test_layer_head_target_and_out(trained, tmp_path):
    options = ["--layer", "1", "--head", "2", "--target", "Ich aß einen Apfel", "--out", "one.png"]
    assert works("inspect", trained.folder, "attention", "I ate", *options).strip() == "wrote one.png"
    picture(tmp_path / "one.png")


def test_pictures_of_a_folder_go_into_the_current_one(trained, tmp_path):
    works("export", trained.folder, "model")
    assert works("inspect", "model", "positions").strip() == "wrote positions.png"
    picture(tmp_path / "positions.png")


def test_inspect_faults(trained, tmp_path):
    run = trained.folder
    assert 'did you mean "attention"?' in fails("inspect", run, "atention", "hi")
    assert "attention of what?" in fails("inspect", run, "attention")
    assert "--layer (9) must be 1 to 1" in fails("inspect", run, "attention", "hi", "--layer", "9")
    assert "--head (3) must be 1 to 2" in fails("inspect", run, "attention", "hi", "--head", "3")
    assert "is not a run folder" in fails("inspect", tmp_path, "curve")
    assert "cannot write the picture x.foo" in fails("inspect", run, "curve", "--out", "x.foo")
    assert "the folder nowhere does not exist" in fails("inspect", run, "curve", "--out", "nowhere/x.png")
    (tmp_path / "recipe.toml").write_text("")
    assert "nothing was recorded yet" in fails("inspect", tmp_path, "curve")


def test_parameters_add_up_and_shared_ones_are_marked(trained):
    shown = works("inspect", trained.folder, "parameters")
    assert "shared: is embedding.weight" in shown
    count = next(event["parameters"] for event in trained.events if event["event"] == "started")
    assert f"all {count:,}" in " ".join(shown.split())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_shows_its_positions_and_parameters(form, tmp_path):
    network = Transformer(TransformerSizes(form=form, dim=16, heads=2, hidden=32, length=40).config(50))
    assert sum(count for _, _, count, _ in weights(network)) == sum(p.numel() for p in network.parameters())
    picture(pictures.save(positions(network, form), tmp_path / "positions.png"))


@pytest.mark.parametrize(("heads", "source", "target"), [(1, 3, 2), (4, 9, 11), (8, 30, 40), (9, 100, 70)])
def test_attention_of_any_size_draws_labels_that_do_not_overlap(heads, source, target, tmp_path):
    def maps(queries, keys):
        near = -(torch.arange(queries)[:, None] * keys / queries - torch.arange(keys)).abs()
        return torch.randn(heads, queries, keys).mul(2).add(near).softmax(-1).numpy()

    words = [f"▁{'word' * (1 + i % 4)}{i}" for i in range(max(source, target))]
    words[:2] = ["$x$", "漢字"]
    drawn = pictures.attention(words[:source], words[:target], maps(source, source), maps(target, source), "$a$ [b]")
    picture(pictures.save(drawn, tmp_path / "attention.png"))
    large = [
        axes for part in drawn.subfigs for axes in (part.subfigs[0] if part.subfigs else part).axes if axes.get_ylabel()
    ]
    for axes in large:
        for labels, side in ((axes.get_xticklabels(), "x"), (axes.get_yticklabels(), "y")):
            boxes = [label.get_window_extent() for label in labels]
            ends = sorted((getattr(box, f"{side}0"), getattr(box, f"{side}1")) for box in boxes)
            assert all(before[1] <= after[0] + 1.5 for before, after in pairwise(ends)), side


def test_pictures_leave_matplotlib_settings_alone_but_the_fonts(tmp_path):
    assert matplotlib.rcParams["figure.dpi"] == matplotlib.rcParamsDefault["figure.dpi"]
    pictures.save(pictures.positions(np.eye(5, dtype=np.float32), "x"), tmp_path / "a" / "b.png")  # folders are made


def test_a_curve_with_losses_that_are_no_numbers(tmp_path):
    events = [
        {"event": "stepped", "step": 1, "loss": None, "rate": 1e-3},
        {"event": "evaluated", "step": 1, "best": False, "metrics": {"loss": None, "bleu": 3.0}},
    ]
    picture(pictures.save(pictures.learning_curve(events, "x"), tmp_path / "curve.png"))
    with pytest.raises(DataError, match="nothing was recorded"):
        pictures.learning_curve([], "x")


# ---- data --------------------------------------------------------------------------------------------------


def test_data_shows_examples_and_lengths():
    shown = works("data", "phrasebook", "--split", "test", "--count", "50", "--examples", "3")
    assert "builtin:phrasebook, test" in shown and "examples: 50" in shown
    assert "en: " in shown and "de: " in shown and "words" in shown


def test_data_of_a_recipe_a_run_and_a_file(trained, tmp_path):
    assert "examples: 40" in works("data", "translation", "--count", "40")
    assert "examples: 12" in works("data", trained.folder, "--split", "validation")
    (tmp_path / "pairs.jsonl").write_text('{"a": "one [red]two[/red]", "b": 3}\n{"a": "four", "b": 5}\n')
    shown = works("data", "pairs.jsonl")
    assert "[red]two[/red]" in shown and "examples: 2" in shown
    assert "five" not in works("data", "pairs.jsonl", "--source", "a")


def test_data_faults():
    assert 'no data "phrasebok"; did you mean "phrasebook"?' in fails("data", "phrasebok")
    assert "none.tsv: does not exist" in fails("data", "none.tsv")
    assert '--split "tests" is not known' in fails("data", "phrasebook", "--split", "tests")
    assert "data.train is empty" in fails("data", "translation/multi30k")
