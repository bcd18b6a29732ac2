"""Checkpoints that are there whole or not at all: written beside their place, flushed to disk, then renamed.

A checkpoint folder is what the task saves (a loadable model, of averaged weights if `average` is on), plus
training.safetensors (the weights as they learn, the optimizer's memory), training.json (step, position ...).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from formers.errors import CheckpointError, shortened
from formers.fields import Between
from formers.files import read_json, regular, remove_folder, replace_file, replaced_folder

TENSORS, FACTS, BEST = "training.safetensors", "training.json", "best.json"


class Best(TypedDict):
    """The best evaluation so far, as best.json has it."""

    step: Annotated[int, Between(0)]
    monitor: str
    value: float


def write(
    root: Path, step: int, save: Callable[[Path], None], tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> Path:
    """Write the checkpoint `<root>/<step>`; a full disk or a missing permission leaves only an error."""
    final, earlier = path_of(root, step), steps(root)
    try:
        with replaced_folder(final) as fresh:
            save(fresh)
            save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, fresh / TENSORS)
            (fresh / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    except (OSError, SafetensorError, CheckpointError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error  # of what the task writes
        reason = cause.strerror or cause if isinstance(cause, OSError) else cause
        intact = "; the earlier checkpoints are intact" if earlier else ""
        raise CheckpointError(f"cannot save the checkpoint {final}: {reason}{intact}") from error
    return final


def read(folder: Path, shape: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and the facts of a checkpoint, which have this shape."""
    try:
        return load_file(regular(folder / TENSORS)), read_json(folder / FACTS, shape)
    except (OSError, SafetensorError, CheckpointError) as error:
        fix = "remove it to go on from the one before"
        reason = shortened(str(error), 300)
        raise CheckpointError(f"cannot go on from the checkpoint {folder}: {reason}; {fix}") from error


def steps(root: Path) -> list[int]:
    """The steps that have a checkpoint, ascending."""
    if not root.is_dir():
        return []
    names = (path.name for path in root.iterdir() if (path / FACTS).is_file())
    return sorted(int(name) for name in names if re.fullmatch("[0-9]{6,18}", name))


def path_of(root: Path, step: int) -> Path:
    """Where the checkpoint of this step is."""
    return root / f"{step:06d}"


def mark_best(root: Path, best: Best | None) -> None:
    """Write best.json: {"step", "monitor", "value"}; None removes it."""
    if best is None:
        (root / BEST).unlink(missing_ok=True)
        return
    text = (json.dumps(best) + "\n").encode()
    if not (root / BEST).is_file() or (root / BEST).read_bytes() != text:
        replace_file(root / BEST, text)


def read_best(root: Path) -> Best | None:
    """What best.json says, or None where there is none. Raises CheckpointError for one that says something else."""
    return read_json(root / BEST, Best) if (root / BEST).exists() else None


def tidy(root: Path, keep: int, best: Best | None) -> None:
    """Name the best checkpoint, then remove all but it and the last `keep`."""
    try:
        mark_best(root, best)
        for step in steps(root)[:-keep]:
            if best is None or step != best["step"]:
                remove_folder(path_of(root, step))
    except OSError as error:
        raise CheckpointError(f"cannot tidy the checkpoints in {root}: {error}") from error
