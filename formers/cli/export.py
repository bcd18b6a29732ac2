"""`formers export`: any model that loads, written as a Hugging Face folder with safetensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from formers.cli.command import own_command
from formers.cli.options import Opening
from formers.cli.output import note, size
from formers.fields import Part
from formers.files import try_folder
from formers.systems.system import Typed


@dataclass(frozen=True)
class ExportOptions:
    """What to write, and where."""

    model: Annotated[str, Typed("MODEL", positional=True)]
    """A run, a model folder, a .gguf file, or a hub id (owner/name[@revision])."""
    folder: Annotated[Path, Typed("FOLDER", positional=True)]
    """Where to write: a folder that is empty or not there yet."""
    overwrite: bool = False
    """Replace the model files of a folder that is there."""
    opening: Annotated[Opening, Part()] = field(default_factory=Opening)
    """How the model is opened."""


@own_command
def run(options: ExportOptions) -> None:
    """Write a model as a Hugging Face folder with safetensors."""
    from formers.registry import load

    try_folder(options.folder, overwrite=options.overwrite)
    load(options.model, **options.opening.arguments()).save(options.folder)
    note(f"{options.folder}:")
    for path in sorted(options.folder.iterdir()):
        note(f"  {path.name}  ({size(path.stat().st_size)})")
