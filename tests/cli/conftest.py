"""One run of three steps, made by the command itself, that the tests of the other verbs use."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from formers.cli import app

ROOT = Path(__file__).parents[2]
SMALL = [
    "data.count=120",
    "data.held_out=12",
    "rows.vocab=200",
    "rows.tokens_per_batch=512",
    "model.dim=16",
    "model.hidden=32",
    "model.heads=2",
    "model.encoder_layers=1",
    "model.decoder_layers=2",
    "model.length=48",
    "task.decoded=2",
    'task.samples=["I ate an apple"]',
    "train.steps=3",
    "train.log_every=1",
    "train.precision=fp32",
    "train.evaluate_every=2",
    "train.sample_every=3",
]
SETS = [part for change in SMALL for part in ("--set", change)]


def call(*arguments: object, stdin: str | bytes | None = None) -> Result:
    """The command in this process."""
    return CliRunner().invoke(app, [str(each) for each in arguments], input=stdin)


def fails(*arguments: object, stdin: str | bytes | None = None) -> str:
    """The one line on stderr of a command that must end with exit code 2."""
    result = call(*arguments, stdin=stdin)
    assert result.exit_code == 2, (result.output, result.exception)
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("formers: error: "), result.stderr
    return lines[0].removeprefix("formers: error: ")


def works(*arguments: object, stdin: str | bytes | None = None) -> str:
    """The output of a command that must succeed."""
    result = call(*arguments, stdin=stdin)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result.stdout


def leaves_out(path: Path, good: list[dict], bad: list[dict], first: str, *command: object) -> None:
    """--skip-bad gives what the good rows alone give, and counts the bad ones, the first of which is a fault else."""

    def output(rows: list[dict], *more: object) -> tuple[list[dict], str]:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        done = call(*command, path, "--json", *more)
        assert done.exit_code == 0, (done.stderr, done.exception)
        results = [json.loads(line) for line in done.stdout.splitlines()]
        return [{k: v for k, v in row.items() if "per_second" not in k} for row in results], done.stderr

    expected, _ = output(good)
    mixed = [good[0], *bad, *good[1:]]
    assert output(mixed, "--skip-bad")[0] == expected
    note = f"left out: {len(bad)} row(s) that cannot be used; the first: "
    assert note in (shown := output(mixed, "--skip-bad")[1]) and f"line 2{first}" in shown
    assert f"line 2{first}" in fails(*command, path)
    path.write_text("".join(json.dumps(row) + "\n" for row in bad))
    assert path.name in fails(*command, path, "--skip-bad")  # nothing is left


def start(*arguments: object, folder: Path, **options: object) -> subprocess.Popen:
    """The command as a process of its own."""
    command = [sys.executable, "-m", "formers", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@dataclass(frozen=True)
class Trained:
    folder: Path
    events: list[dict]


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    """A finished run, and the JSON lines that `formers train --json` printed."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    output = works("train", "translation", "--run", folder, "--json", *SETS)
    return Trained(folder, [json.loads(line) for line in output.splitlines()])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Nothing is written where the tests are started."""
    monkeypatch.chdir(tmp_path)
