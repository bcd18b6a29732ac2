"""`formers inspect` and `formers data`: tables, and pictures that are small and written where they belong."""

import pytest

from formers.models.transformer import Transformer
from formers.pictures.curve import draw_curve
from formers.pictures.figure import save
from formers.pictures.positions import draw_positions
from formers.systems.inspection import parameter_table, position_tables
from formers.systems.sizes import TransformerSizes
from tests.cli.conftest import fails, works
from tests.pictures.conftest import picture

FORMS = ["original", "marian", "bart", "t5", "t5_v1_1", "modern"]


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
    assert sum(row.numbers for row in parameter_table(network)) == sum(p.numel() for p in network.parameters())
    drawn = draw_positions(*position_tables(network, 40)[1:], form)
    picture(save(drawn, tmp_path / "positions.png"))


@pytest.mark.parametrize(
    ("monitor", "panel", "place", "label"),
    [
        ("loss", 0, (30, 1.0), "best loss: 1 at step 30"),
        ("bleu", 1, (20, 40.0), "best bleu: 40 at step 20"),
        ("perplexity", 0, (30, 1.0), "best perplexity: 2.7 at step 30"),
    ],
)
def test_the_star_of_a_curve_is_at_the_monitored_score(monitor, panel, place, label):
    scores = {10: (2.0, 30.0, 7.4), 20: (1.5, 40.0, 4.5), 30: (1.0, 35.0, 2.7)}  # step -> loss, bleu, perplexity
    best = {10, 20} if monitor == "bleu" else scores.keys()
    events = [{"event": "stepped", "step": step, "loss": 2.0, "rate": 1e-3} for step in scores]
    for step, (loss, bleu, perplexity) in scores.items():
        metrics = {"loss": loss, "bleu": bleu, "perplexity": perplexity}
        line = {"event": "evaluated", "step": step, "best": step in best, "monitor": monitor, "metrics": metrics}
        events.append(line)
    panels = draw_curve(events, "x").axes
    stars = [(at, line) for at, axes in enumerate(panels) for line in axes.lines if line.get_marker() == "*"]
    ((at, star),) = stars
    assert at == panel and (star.get_xdata()[0], star.get_ydata()[0]) == place and star.get_label() == label


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
