"""A run is a folder: recipe.toml, environment.json, events.jsonl, checkpoints/<step>/, samples/."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from formers.errors import TrainingError
from formers.files import remove_leftovers, replace_file
from formers.training import checkpoint
from formers.training.events import Event, to_json

PACKAGES = ("formers", "torch", "numpy", "safetensors", "tokenizers", "pyarrow", "pillow", "soundfile")
ENDINGS = {b"\x89PNG": ".png", b"RIFF": ".wav"}


class Run:
    """The folder of one training run. Making the object touches nothing; `open` does."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.recipe = self.folder / "recipe.toml"
        self.environment = self.folder / "environment.json"
        self.events = self.folder / "events.jsonl"
        self.checkpoints = self.folder / "checkpoints"
        self.samples = self.folder / "samples"

    def open(self, seed: int) -> None:
        """Create the folders, remove what an interrupted save left, write environment.json."""
        with self._writing():
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self.samples.mkdir(exist_ok=True)
            remove_leftovers(self.checkpoints)
            self._write_environment(environment(seed) | {"decisions": self.decisions()})

    def save_recipe(self, text: str) -> None:
        """Write recipe.toml: the resolved recipe, which can be run again."""
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(self.recipe, text.encode())

    def latest(self) -> Path | None:
        """The folder of the last checkpoint."""
        steps = checkpoint.steps(self.checkpoints)
        return checkpoint.path_of(self.checkpoints, steps[-1]) if steps else None

    def best(self) -> Path | None:
        """The folder of the best checkpoint; None where nothing was evaluated."""
        best = checkpoint.read_best(self.checkpoints)
        folder = checkpoint.path_of(self.checkpoints, best["step"]) if best else None
        return folder if folder is not None and folder.is_dir() else None

    def decisions(self) -> dict[str, Any]:
        """What an earlier start of this run decided (the precision), so that a later one does the same."""
        try:
            return json.loads(self.environment.read_text(encoding="utf-8")).get("decisions", {})
        except (FileNotFoundError, ValueError):
            return {}

    def decide(self, name: str, value: Any) -> None:
        """Keep a decision for later starts."""
        facts = json.loads(self.environment.read_text(encoding="utf-8"))
        facts["decisions"][name] = value
        with self._writing():
            self._write_environment(facts)

    def record(self, event: Event) -> None:
        """Append the event to events.jsonl, at once visible to whoever tails it."""
        line = to_json(event) | {"time": round(time.time(), 3)}
        with self._writing(), self.events.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def read_events(self) -> Iterator[dict[str, Any]]:
        """The recorded events as JSON objects; a last line that a kill cut short is left out."""
        if self.events.is_file():
            with self.events.open(encoding="utf-8", errors="replace") as file:
                for line in file:
                    if line.endswith("\n"):
                        yield json.loads(line)

    def rewind(self, step: int) -> None:
        """Drop recorded events of later steps: they are about to happen again."""
        if self.events.is_file():
            kept = [line for line in self.read_events() if line["step"] <= step]
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
            with self._writing():
                replace_file(self.events, text.encode())

    def save_samples(self, step: int, samples: Sequence[tuple[str, str | bytes]]) -> list[tuple[str, str]]:
        """Write samples/<step>.json, pictures and sounds in samples/<step>/; gives (input, text or file)."""
        shown = []
        with self._writing():
            for number, (source, result) in enumerate(samples):
                if isinstance(result, bytes):
                    path = self.samples / f"{step:06d}" / f"{number:02d}{ENDINGS.get(result[:4], '.bin')}"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(result)
                    result = path.relative_to(self.folder).as_posix()
                shown.append((source, result))
            text = json.dumps(shown, ensure_ascii=False, indent=1) + "\n"
            replace_file(self.samples / f"{step:06d}.json", text.encode())
        return shown

    def _write_environment(self, facts: dict[str, Any]) -> None:
        replace_file(self.environment, (json.dumps(facts, indent=1) + "\n").encode())

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A full disk or a missing permission is one clear line."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise TrainingError(f"cannot write into the run folder {self.folder}: {reason}") from error


def environment(seed: int) -> dict[str, Any]:
    """What a result may depend on besides the recipe."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "versions": versions,
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "command": sys.argv,
        "commit": _commit(),
        "seed": seed,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str | None:
    """The git commit of this source, where it is a checkout with git at hand."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--verify", "-q", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
