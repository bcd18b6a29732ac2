"""A run is a folder: recipe.toml, environment.json, events.jsonl, checkpoints/<step>/, samples/."""

from __future__ import annotations

import errno
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, TypedDict

import torch

from formers.errors import TrainingError
from formers.files import (
    TEMPORARY,
    expanded,
    parse_json,
    read_json,
    remove_folder,
    remove_leftovers,
    replace_file,
    resolved,
)
from formers.training import checkpoint
from formers.training.events import Event, Recorded, to_json
from formers.training.lock import LOCK, hold
from formers.training.precision import PrecisionFacts

PACKAGES = ("formers", "torch", "numpy", "safetensors", "tokenizers", "pyarrow", "pillow", "soundfile")
ENDINGS = {b"\x89PNG": ".png", b"RIFF": ".wav"}


class Decisions(TypedDict, total=False):
    """What a run settles once."""

    precision: PrecisionFacts


class EnvironmentShape(TypedDict, total=False):
    """What is read of environment.json again."""

    decisions: Decisions


class Run:
    """The folder of one training run. Making the object touches nothing; `hold` and `open` do."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.recipe = self.folder / "recipe.toml"
        self.environment = self.folder / "environment.json"
        self.events = self.folder / "events.jsonl"
        self.checkpoints = self.folder / "checkpoints"
        self.samples = self.folder / "samples"
        place = resolved(self.folder)
        self.replaced = place.with_name(f"{TEMPORARY}replaced-{place.name}")

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes out. Raises TrainingError, which names the one that is in."""
        with ExitStack() as stack:
            with self.writing():
                stack.enter_context(hold(self.folder))
            yield

    def recover(self) -> None:
        """Put back what was being replaced when the process was killed."""
        if self.replaced.exists() and not self.folder.exists():
            with self.writing():
                self.replaced.rename(resolved(self.folder))

    def holds_other_files(self) -> bool:
        """Whether something is in the folder besides what every start leaves there."""
        entries = self.folder.iterdir() if self.folder.is_dir() else ()
        return any(entry.name != LOCK and not entry.name.startswith(TEMPORARY) for entry in entries)

    def begin_anew(self, staged: Path) -> None:
        """Put a prepared folder, which lies in that of the run, in its place; what was there is `replaced` until
        `forget`.
        """
        with self.writing():
            place = resolved(self.folder)
            if self.latest() is not None:
                remove_folder(self.replaced)
            aside = self.replaced
            if aside.exists():  # of a start that has saved nothing: what it replaced stays, and it goes
                aside = place.with_name(f"{TEMPORARY}unsaved-{place.name}")
                remove_folder(aside)
            place.rename(aside)
            (aside / staged.name).rename(place)
            if aside != self.replaced:
                remove_folder(aside)

    def forget(self) -> None:
        """Delete what this run has replaced."""
        with self.writing():
            remove_folder(self.replaced)

    def open(self, seed: int) -> None:
        """Create the folders, remove what an interrupted save left, write environment.json."""
        with self.writing():
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self.samples.mkdir(exist_ok=True)
            remove_leftovers(self.checkpoints)
            self._write_environment(environment(seed) | {"decisions": self.decisions()})

    def save_recipe(self, text: str) -> None:
        """Write recipe.toml: the resolved recipe, which can be run again."""
        with self.writing():
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

    def usable(self) -> Path | None:
        """The best checkpoint, else the last."""
        return self.best() or self.latest()

    def decisions(self) -> Decisions:
        """What an earlier start of this run decided (the precision), so that a later one does the same."""
        if not self.environment.exists():
            return {}
        return read_json(self.environment, EnvironmentShape).get("decisions", {})

    def decide(self, name: str, value: Any) -> None:
        """Keep a decision for later starts."""
        facts = read_json(self.environment)
        facts["decisions"] = {**self.decisions(), name: value}
        with self.writing():
            self._write_environment(facts)

    def record(self, event: Event) -> None:
        """Append the event to events.jsonl, at once visible to whoever tails it."""
        line = json.dumps(to_json(event) | {"time": round(time.time(), 3)}, ensure_ascii=False) + "\n"
        with self.writing(), self.events.open("ab", buffering=0) as file:
            size, data = file.seek(0, os.SEEK_END), line.encode("utf-8", "backslashreplace")
            if file.write(data) < len(data):  # the disk is full: half a line would spoil the next one
                file.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def read_events(self) -> Iterator[dict[str, Any]]:
        """The recorded events as JSON objects; a last line that a kill cut short is left out.

        Raises CheckpointError for a line that is no event.
        """
        if self.events.is_file():
            with self.events.open(encoding="utf-8", errors="replace") as file:
                for number, line in enumerate(file, 1):
                    if line.endswith("\n"):
                        yield parse_json(line, Recorded, f"{self.events} line {number}")

    def rewind(self, step: int) -> None:
        """Drop recorded events of later steps: they are about to happen again."""
        if self.events.is_file():
            kept = [line for line in self.read_events() if line["step"] <= step]
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept)
            with self.writing():
                replace_file(self.events, text.encode())

    def save_samples(self, step: int, samples: Sequence[tuple[str, str | bytes]]) -> list[tuple[str, str]]:
        """Write samples/<step>.json, pictures and sounds in samples/<step>/; gives (input, text or file)."""
        shown = []
        with self.writing():
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
    def writing(self) -> Iterator[None]:
        """A full disk or a missing permission is one clear line."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise TrainingError(f"cannot write into the run folder {self.folder}: {reason}") from error


def model_folder(name: str | Path) -> Path:
    """The model folder of a run, as `Run.usable` says, or the folder itself."""
    place = expanded(name)
    return Run(place).usable() or place if (place / "checkpoints").is_dir() else place


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
