"""Recipe files that are none: one line."""

import os

import pytest

from formers.errors import ConfigError, FormersError
from formers.recipe import load_recipe, origin_of, recipe_of
from formers.registry import load


@pytest.mark.parametrize(
    "text, message",
    [
        ("system =", "not a TOML file"),
        ("a = " + "[" * 100_000, "not a TOML file"),
        ("a = " + "1" * 5000, "not a TOML file"),
        ("\0", "not a TOML file"),
        ("x = 1", 'the key "system" is missing'),
        ('system = ["tagging"]', r"no system \['tagging'\]"),
        (f'system = "{"x" * 9999}"', "no system 'xxx"),
        ('system = "tagging"\ntrain = 3', "no section|section"),
        ('system = "tagging"\n[train]\nsteps = true', "steps"),
        ('system = "tagging"\n[train]\nsteps = -1', "steps"),
        ('system = "tagging"\n[train]\nrate = nan', "rate"),
        ('system = "tagging"\n[train]\nrate = inf', "rate"),
        ('system = "tagging"\n[train]\nrate = 1979-05-27', "rate"),
        ('system = "tagging"\n[task]\nsamples = [1]', "samples"),
    ],
)
def test_a_recipe_that_is_none(text, message, tmp_path, caplog):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as fault:
        load_recipe(path)
    assert len(str(fault.value)) < 500
    origin = origin_of(str(tmp_path))  # a run's weights are as good as they were: a note says what is lost
    assert origin.recipe_is_bad and origin.sections is None and str(tmp_path) in caplog.text
    assert len(caplog.messages) == 1 and "\n" not in caplog.messages[0]


def test_a_recipe_that_is_no_file(tmp_path):
    path = tmp_path / "recipe.toml"
    with pytest.raises(ConfigError, match="there is no such file"):
        load_recipe(path)
    path.mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        load_recipe(path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="no regular file"):
        load_recipe(path)
    assert origin_of(str(tmp_path)).recipe_is_bad


@pytest.mark.parametrize("source", ["~nobody-of-this-name/model", "x" * 5000, "a\0b", ""])
def test_a_source_that_cannot_be_a_path(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormersError):
        load(source, offline=True)


def test_prompts_of_a_recipe_go_with_its_data():
    other = ["data.train=other.parquet"]
    assert recipe_of("painting/digits", other).sections["task"].samples[:2] == ("0", "1")  # it comes without data
    assert recipe_of("painting/shapes", []).sections["task"].samples
    assert recipe_of("painting/shapes", other).sections["task"].samples == ()
    assert recipe_of("painting/shapes", [*other, 'task.samples=["a"]']).sections["task"].samples == ("a",)
