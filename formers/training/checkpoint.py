"""Checkpoints that are there whole or not at all: written beside their place, flushed to disk, then renamed.

A checkpoint folder is what the task saves (a loadable model, of averaged weights if `average` is on), plus
training.safetensors (the weights as they learn, the optimizer's memory), training.json (step, position ...).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from formers.errors import CheckpointError

TEMPORARY = ".tmp-"
TENSORS, FACTS, BEST = "training.safetensors", "training.json", "best.json"


def write(
    root: Path, step: int, save: Callable[[Path], None], tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> Path:
    """Write the checkpoint `<root>/<step>`; a full disk or a missing permission leaves only an error."""
    final, temporary = root / f"{step:06d}", root / f"{TEMPORARY}{step:06d}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save(temporary)
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary / TENSORS)
        (temporary / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        for path in [*temporary.rglob("*"), temporary]:
            _flush(path)
        _remove(final)
        os.rename(temporary, final)
        _flush(root)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"cannot save the checkpoint {final}: {error}; the earlier checkpoints are intact"
        ) from error
    return final


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and the facts of a checkpoint."""
    try:
        return load_file(folder / TENSORS), json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"cannot go on from the checkpoint {folder}: {error}; remove it to go on from the one before"
        ) from error


def steps(root: Path) -> list[int]:
    """The steps that have a checkpoint, ascending."""
    if not root.is_dir():
        return []
    return sorted(int(path.name) for path in root.iterdir() if path.name.isdigit() and (path / FACTS).is_file())


def path_of(root: Path, step: int) -> Path:
    """Where the checkpoint of this step is."""
    return root / f"{step:06d}"


def mark_best(root: Path, best: Mapping[str, Any] | None) -> None:
    """Write best.json: {"step", "monitor", "value"}; None removes it."""
    if best is None:
        (root / BEST).unlink(missing_ok=True)
    elif read_best(root) != dict(best):
        replace(root / BEST, json.dumps(best) + "\n")


def read_best(root: Path) -> dict[str, Any] | None:
    """What best.json says, or None."""
    try:
        return json.loads((root / BEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def tidy(root: Path, keep: int, best: Mapping[str, Any] | None) -> None:
    """Name the best checkpoint, then remove all but it and the last `keep`."""
    try:
        mark_best(root, best)
        for step in steps(root)[:-keep]:
            if best is None or step != best["step"]:
                _remove(path_of(root, step))
    except OSError as error:
        raise CheckpointError(f"cannot tidy the checkpoints in {root}: {error}") from error


def clean(root: Path) -> None:
    """Remove what an interrupted save left."""
    if root.is_dir():
        for path in root.iterdir():
            if path.name.startswith(TEMPORARY):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def replace(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    temporary = path.with_name(TEMPORARY + path.name)
    temporary.write_text(text, encoding="utf-8")
    _flush(temporary)
    os.replace(temporary, path)


def _remove(folder: Path) -> None:
    """Remove a checkpoint: first its name, so that a half-removed one is never taken for whole."""
    if folder.exists():
        doomed = folder.with_name(f"{TEMPORARY}old-{folder.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        os.rename(folder, doomed)
        shutil.rmtree(doomed)


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot flush a folder
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
