"""Checkpoints that are there whole or not at all: written beside their place, flushed to disk, then renamed.

A checkpoint folder is what the task saves (a loadable model, of averaged weights if `average` is on), plus
training.safetensors (the weights as they learn, the optimizer's memory), training.json (step, position ...).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from formers.errors import CheckpointError
from formers.files import remove_folder, replace_file, replaced_folder

TENSORS, FACTS, BEST = "training.safetensors", "training.json", "best.json"


def write(
    root: Path, step: int, save: Callable[[Path], None], tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> Path:
    """Write the checkpoint `<root>/<step>`; a full disk or a missing permission leaves only an error."""
    final = path_of(root, step)
    try:
        with replaced_folder(final) as fresh:
            save(fresh)
            save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, fresh / TENSORS)
            (fresh / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        intact = "the earlier checkpoints are intact"
        raise CheckpointError(f"cannot save the checkpoint {final}: {error}; {intact}") from error
    return final


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and the facts of a checkpoint."""
    try:
        return load_file(folder / TENSORS), json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, SafetensorError, ValueError) as error:
        fix = "remove it to go on from the one before"
        raise CheckpointError(f"cannot go on from the checkpoint {folder}: {error}; {fix}") from error


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
        replace_file(root / BEST, (json.dumps(best) + "\n").encode())


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
                remove_folder(path_of(root, step))
    except OSError as error:
        raise CheckpointError(f"cannot tidy the checkpoints in {root}: {error}") from error
