"""What a user may rely on before the first training: a light import, settings, a README that runs."""

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

(USAGE,) = typer.BadParameter.__bases__  # click's UsageError: new versions of typer carry a click of their own
ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "formers" / "systems").rglob("*.toml"))
README = ROOT / "README.md"


def python(code, folder):
    """Run code in an empty folder that is also the home folder; gives what it printed."""
    environment = {
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_formers_is_light_and_leaves_no_trace(tmp_path):
    heavy = {"torch", "numpy", "tokenizers", "matplotlib", "huggingface_hub", "typer", "rich"}
    code = f"import sys, formers; assert formers.__version__; print(sorted({heavy} & sys.modules.keys()))"
    assert python(code, tmp_path).strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def test_every_public_name_is_there(tmp_path):
    python("import formers\nfor name in formers.__all__: getattr(formers, name)", tmp_path)
    assert list(tmp_path.iterdir()) == []


# Settings


def documented(kind):
    """Field -> its docstring: the string under it."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    pairs = zip(definition.body, [*definition.body[1:], None], strict=True)
    return {
        node.target.id: below.value.value
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        else None
        for node, below in pairs
        if isinstance(node, ast.AnnAssign)
    }


def test_every_setting_of_a_recipe_has_one_line_that_says_what_it_is():
    from formers.blocks.stack import StackConfig
    from formers.registry import sections, systems

    kinds = {kind for system in systems() for kind in sections(system).values()} | {StackConfig}
    missing = [f"{kind.__name__}.{f}" for kind in kinds for f, line in documented(kind).items() if not line]
    assert not missing


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_recipe_begins_with_what_it_is_and_can_be_read(path):
    from formers.recipe import load_recipe

    assert re.match(r"# \S.{10,}\n", path.read_text(encoding="utf-8")), "the first line is not a comment"
    load_recipe(path)


# README


def commands(text):
    """The `formers` commands of the code blocks, continued lines joined, `$ ` and comments removed."""
    blocks = re.findall(r"^```(?:sh|bash|console|shell)?\n(.*?)^```", text, re.M | re.S)
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.strip().removeprefix("$ "), comments=True) if "formers" in line else []
            if words[:1] == ["formers"]:
                end = next((i for i, w in enumerate(words) if w in {"|", ">", ">>", "<", "&&", ";"}), len(words))
                yield words[1:end]


def parse(words):
    """Read the words as the command line does, without running anything."""
    from formers.cli import app

    group = typer.main.get_command(app)
    context = group.make_context("formers", [], resilient_parsing=True)
    while words and words[0].startswith("-"):  # options of `formers` itself
        words = words[2 if words[0] == "--threads" else 1 :]
    if words:
        context.resilient_parsing = False
        verb, command, rest = group.resolve_command(context, words)
        if not {"--help", "-h"} & set(rest):
            command.make_context(verb, list(rest), parent=context)


def test_the_commands_of_the_readme_are_commands():
    found = list(commands(README.read_text(encoding="utf-8")))
    assert found, "no formers command in README.md"
    for words in found:
        try:
            parse(words)
        except USAGE as error:
            if "does not exist" not in error.format_message():  # a file of the reader's own
                pytest.fail(f"formers {shlex.join(words)}: {error.format_message()}")


def test_a_wrong_command_would_be_noticed():
    good = "train translation --run runs/demo --fresh", "translate runs/demo 'I ate an apple'", "--debug list"
    for line in good:
        parse(shlex.split(line))
    for line in ("tranlate runs/demo x", "train", "train translation --no-such-option", "train a b c d"):
        with pytest.raises(USAGE):
            parse(shlex.split(line))
    block = "text\n```sh\n$ formers list  # what there is\nformers translate a \\\n  b | less\n```\n"
    assert list(commands(block)) == [["list"], ["translate", "a", "b"]]
