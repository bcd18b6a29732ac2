"""`formers train`: what is shown, what is kept, going on, and being stopped."""

import json
import re
import signal
import tomllib
from dataclasses import replace

import pytest

from formers.cli import progress
from formers.recipe import load_recipe
from formers.training import lines
from formers.training.events import Evaluated, Reported, Sampled, Saved, Started, Stepped, Stopped, from_json
from tests.cli.conftest import SETS, SMALL, call, fails, start, works


def test_json_prints_every_event(trained):
    kinds = [event["event"] for event in trained.events]
    assert kinds[:2] == ["reported", "started"] and kinds[-1] == "finished"
    assert kinds.count("stepped") == 3 and {"evaluated", "sampled", "saved"} <= set(kinds)
    assert [from_json(event).step for event in trained.events if event["event"] == "stepped"] == [1, 2, 3]


def test_the_run_folder_holds_recipe_curve_and_checkpoints(trained):
    assert tomllib.loads((trained.folder / "recipe.toml").read_text())["train"]["steps"] == 3
    picture = (trained.folder / "samples" / "curve.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) < 150_000
    assert (trained.folder / "checkpoints" / "000003" / "model.safetensors").is_file()


def test_a_finished_run_says_so_and_goes_on_with_more_steps(trained, tmp_path):
    shown = works("train", trained.folder)
    assert "3 steps in" in shown and "raise train.steps to go on" in shown
    assert "training data: builtin:phrasebook" in shown  # the report


def test_plain_lines_and_the_end(tmp_path):
    shown = works("train", "translation", *SETS, "--set", "train.steps=1").splitlines()  # into runs/translation
    assert any(line.startswith("step 1/1  epoch 0  loss ") and "tokens/s" in line for line in shown)
    assert any(line.startswith("step 1/1  validation: loss ") and line.endswith("(best)") for line in shown)
    assert any(line.startswith("step 1/1  sample: I ate an apple -> ") for line in shown)
    end = "\n".join(shown[-6:])
    for part in (
        "1 steps in",
        "peak memory",
        "best checkpoint: runs/translation/checkpoints/000001",
        "runs/translation",
        "curve.png",
        "formers translate runs/translation 'I ate an apple'",
    ):
        assert part in end
    message = fails("train", "translation", *SETS, "--set", "model.dim=32")
    assert "model.dim (16 -> 32)" in message and "--fresh" in message
    shown = works("train", "translation", *SETS, "--set", "train.steps=1", "--set", "data.seed=2", "--fresh")
    assert "step 1/1" in shown


def test_a_recipe_of_ones_own_is_trained_under_its_name(tmp_path):
    recipe = load_recipe("translation", [*SETS[1::2], "train.steps=1"])
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.toml").write_text(recipe.to_toml())
    assert "runs/mine" in works("train", "sub/mine.toml", "--plain")
    assert (tmp_path / "runs" / "mine" / "recipe.toml").is_file()


FAULTS = [
    (["train", "translatoin"], 'there is no recipe "translatoin"; did you mean "translation"?'),
    (["train", "none.toml"], "none.toml: there is no such file"),
    (["train", "translation", "--set", "steps=3"], "--set steps=3: expected section.key=value"),
    (["train", "translation", "--set", "train.steps"], "--set train.steps: expected section.key=value"),
    (["train", "translation", "--set", "trian.steps=3"], 'no section [trian]; did you mean "train"?'),
    (["train", "translation", "--set", "train.stepz=3"], 'has no key "stepz"; did you mean "steps"?'),
    (["train", "translation", "--set", "train.steps=many"], "steps: got 'many' (str), expected int"),
    (["train", "translation", "--set", "train.steps=1.5"], "steps: got 1.5 (float), expected int"),
    (["train", "translation", "--set", "train.steps=0"], "train.steps (0) must be at least 1"),
    (["train", "translation/multi30k"], "data.train is empty: say what to learn from"),
    (["train", "translation", "--set", "data.train=builtin:phrasebok"], 'did you mean "phrasebook"?'),
    (["train", "translation", "--set", "data.train=pairs.tsv"], "pairs.tsv: does not exist"),
    (["train", "translation", "--plain", "--json"], "give --plain or --json, not both"),
]


@pytest.mark.parametrize(("arguments", "part"), FAULTS, ids=[" ".join(each) for each, _ in FAULTS])
def test_faults(arguments, part):
    assert part in fails(*arguments)


def test_a_recipe_file_with_faults(tmp_path):
    place = tmp_path / "mine.toml"
    for text, part in (
        ("x = [", "not a TOML file"),
        ("x = 1", 'the key "system" is missing'),
        ('system = "translatoin"', 'did you mean "translation"?'),
        ('system = "translation"\n[train]\nsteps = "3"', "got '3' (str), expected int"),
        ('system = "translation"\n[trian]\nsteps = 3', 'did you mean "train"?'),
    ):
        place.write_text(text)
        message = fails("train", place)
        assert part in message and "mine.toml" in message


def test_fresh_deletes_runs_only(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("x")
    assert "is not a run folder" in fails("train", "translation", "--run", "precious", "--fresh")
    assert (tmp_path / "precious" / "thesis.txt").is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_can_go_on(tmp_path, number):
    arguments = [
        "train",
        "translation",
        "--run",
        "run",
        *SETS,
        "--set",
        "train.evaluate_every=0",
        "--set",
        "train.sample_every=0",
    ]
    with start(*arguments, "--set", "train.steps=100000", folder=tmp_path) as process:
        for line in process.stdout:
            if line.startswith("step "):
                break
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.stderr.read() == ""
    assert process.returncode == 130
    assert "run the same command to go on" in rest
    step = int((tmp_path / "run" / "events.jsonl").read_text().count('"stepped"'))
    if number == signal.SIGTERM:
        again = call(*arguments, "--set", f"train.steps={step + 1}")
        assert again.exit_code == 0
        assert f"going on after step {step} of {step + 1} steps" in again.stdout


def events():
    yield Reported(step=0, lines=["examples: 5"])
    yield Started(
        step=0,
        steps=20,
        resumed=False,
        device="cpu",
        processes=2,
        parameters=7,
        trainable=3,
        precision="fp32",
        decided="recipe",
        batch_seconds=1.0,
        estimate_seconds=3700.0,
    )
    yield Stepped(
        step=10,
        epoch=0,
        loss=2.5,
        parts={"ctc": 1.0},
        norm=1.0,
        rate=1e-3,
        tokens_per_second=1234.0,
        seconds=1.0,
        remaining_seconds=65.0,
    )
    yield Evaluated(step=10, metrics={"loss": 2.25, "exact_match": 12.0}, best=True, seconds=1.0)
    yield Sampled(step=10, samples=[("[red]I ate[/red]", "Ich\naß " * 100)])
    yield Saved(step=10, folder="runs/x/checkpoints/000010", seconds=0.1)
    yield Stopped(step=10, reason="patience", message="no better loss")


def test_plain_shows_each_event_on_a_line(capsys):
    assert len(list(progress.plain(events()))) == 7
    assert capsys.readouterr().out.splitlines() == [
        "examples: 5",
        "training 20 steps on cpu x 2 in fp32 (recipe), 3 of 7 weights learn, about 1:01:40 without evaluations",
        "step 10/20  epoch 0  loss 2.5000  ctc 1.0000  rate 1.00e-03  1,234 tokens/s  1:05 left",
        "step 10/20  validation: loss 2.25, exact match 12 (best)",
        "step 10/20  sample: [red]I ate[/red] -> " + ("Ich aß " * 100)[:99] + "…",
        "step 10/20  saved runs/x/checkpoints/000010",
        "no better loss",
    ]


def test_the_bar_passes_every_event_on_and_keeps_what_should_stay(capsys):
    assert len(list(progress.live(events()))) == 7
    shown = capsys.readouterr().out
    for part in (
        "examples: 5",
        "10/20",
        "loss 2.500",
        "validation 2.250",
        "1,234 tokens/s",
        "[red]I ate[/red] -> Ich aß",
    ):
        assert part in shown
    assert "saved" not in shown


def test_json_lines_are_json(capsys):
    list(progress.as_json(events()))
    assert [json.loads(line)["step"] for line in capsys.readouterr().out.splitlines()] == [0, 0, *[10] * 5]


@pytest.fixture
def pairs(tmp_path):
    rows = "".join(f"the {i} cats\tdie {i} Katzen\n" for i in range(60))
    (tmp_path / "pairs.tsv").write_text("en\tde\n" + rows)
    return tmp_path / "pairs.tsv"


def test_short_forms_of_the_commonest_changes(pairs, tmp_path):
    small = [part for change in SMALL if change[:6] not in ("task.s", "train.") for part in ("--set", change)]
    quick = ["--set", "train.evaluate_every=0", "--set", "train.precision=fp32"]
    columns = ["--set", "rows.source=en", "--set", "rows.target=de"]
    shown = works("train", "translation", "--data", pairs, "--steps", 1, *small, *quick, *columns, "--plain")
    recipe = tomllib.loads((tmp_path / "runs" / "translation" / "recipe.toml").read_text())
    assert recipe["data"]["train"] == str(pairs) and recipe["train"]["steps"] == 1
    assert recipe["task"]["samples"] == []  # and what is shown is of these data
    assert "sample: the " in shown and "I ate an apple" not in shown
    assert re.search(r"next: +formers translate runs/translation 'the \d+ cats'", shown)
    assert "--steps" in works("train", "--help") and "--steps (0)" in fails("train", "translation", "--steps", "0")


def test_the_example_is_of_the_data():
    own = ["data.train=x.tsv"]
    assert load_recipe("translation").example() == "translate {} 'I ate an apple'"
    assert load_recipe("translation", own).example() == 'translate {} "..."'
    assert load_recipe("translation", own).example(["", "a longer {one}", "a\ncat"]) == "translate {} 'a cat'"
    assert load_recipe("translation", own).example(["y" * 50000]) == "translate {} " + f"'{'y' * 99}…'"
    assert load_recipe("translation", [*own, 'task.samples=["x"]']).example(["a cat"]) == "translate {} x"
    assert load_recipe("embedding", own).example(["one", "two"]) == "similarity {} one two"
    assert load_recipe("answering", own).example(["Who?"]) == 'answer {} "..." --passage "..."'
    assert load_recipe("answering").example(["Who?"]).startswith('answer {} "Where')
    assert load_recipe("classification", [*own, "rows.second=b"]).example(["a | b"]) == 'classify {} "..."'


def test_the_margin_of_a_probe_is_shown():
    usual = next(event for event in events() if isinstance(event, Started))
    for gain, precision, words in (
        (0.42, "bf16", "in bf16 (probe: 42% faster than fp32)"),
        (0.04, "fp32", "in fp32 (probe: bf16 is 4% faster, too little)"),
        (-0.3, "fp32", "in fp32 (probe: bf16 is 30% slower)"),
    ):
        assert words in lines.started(replace(usual, gain=gain, precision=precision, decided="probe"))
