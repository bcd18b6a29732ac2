"""The command itself: help without torch, versions, exit codes, one line for every fault."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import formers
from formers.cli import OWN, helps
from tests.cli.conftest import ROOT, call, fails, start, works

HEAVY = ("torch", "numpy", "matplotlib", "tokenizers", "safetensors", "huggingface_hub")


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in helps())], ids=" ".join)
def test_help_names_the_verb_and_loads_nothing_heavy(arguments):
    probe = (
        "import sys; sys.argv[0] = 'formers'\n"
        "from formers.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print('LOADED', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, *arguments], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.splitlines()[-1] == "LOADED []"
    assert "Usage: formers" in done.stdout
    assert all(verb in done.stdout for verb in (helps() if arguments == ["--help"] else arguments[:1]))


@pytest.mark.parametrize("verb", OWN)
def test_the_list_of_verbs_says_what_the_verb_itself_says(verb):
    """Written twice, so that the list need not import the verb."""
    assert import_module(f"formers.cli.{verb}").run.__doc__.splitlines()[0] == OWN[verb]


def test_version():
    assert works("--version").strip() == f"formers {formers.__version__}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["translat"],
        ["train"],
        ["train", "translation", "--nope"],
        ["translate", "x", "--beams", "0"],
        ["translate", "x", "--nbest", "many"],
        ["--threads", "0", "list"],
        ["export", "x"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(arguments):
    result = call(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr and result.stdout == ""


def test_a_mistyped_verb_is_guessed():
    assert 'did you mean "translate"?' in call("translat").stderr


def test_debug_shows_the_trace_before_and_after_the_verb():
    for arguments in (["--debug", "list", "nope"], ["list", "nope", "--debug"]):
        result = call(*arguments)
        assert result.exit_code == 2
        assert "Traceback" in result.stderr and "ConfigError" in result.stderr


def test_as_a_process_a_fault_is_one_line_and_exit_code_2(tmp_path):
    with start("train", "translatoin", folder=tmp_path) as process:
        out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert error == 'formers: error: there is no recipe "translatoin"; did you mean "translation"?\n'
    assert not list(Path(tmp_path).iterdir())  # a fault leaves nothing behind


def test_a_reader_that_goes_away_is_no_fault(tmp_path):
    with start("data", "phrasebook", "--count", "2000", "--examples", "2000", folder=tmp_path) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""


def test_list_names_everything():
    shown = works("list")
    for name in ("translation", "translation/multi30k", "marian", "t5", "phrasebook"):
        assert name in shown


def test_list_of_a_recipe_shows_every_field_with_its_help():
    shown = works("list", "translation", "--set", "train.rate=0.5")
    assert "train.rate" in shown and "0.5" in shown
    for part in ("model.dim", "Width of the residual stream.", "data.train", "builtin:phrasebook", "task.decoded"):
        assert part in shown
    assert works("list", "translation/multi30k")  # the data is missing, the fields are not


def test_list_of_an_unknown_recipe():
    assert fails("list", "translatoin") == 'there is no recipe "translatoin"; did you mean "translation"?'
