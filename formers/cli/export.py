"""`formers export`: any model that loads, written as a Hugging Face folder with safetensors, or as an ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

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
    """A run, a model folder, a .gguf or .safetensors file, or a hub id (owner/name[@revision])."""
    target: Annotated[Path, Typed("TARGET", positional=True)]
    """Where to write: a folder that is empty or not there yet, or a file FILE.onnx (encoders of texts and pictures)."""
    overwrite: bool = False
    """Replace the file, or the model files of the folder, that is there."""
    tower: Literal["", "picture", "text"] = ""
    """The tower of CLIP that a graph is of."""
    opening: Annotated[Opening, Part()] = field(default_factory=Opening)
    """How the model is opened."""


@own_command
def run(options: ExportOptions) -> None:
    """Write a model as a Hugging Face folder with safetensors, or an encoder as an ONNX graph."""
    from formers.pretrained.onnx import is_graph, write_graph
    from formers.registry import load
    from formers.systems.embedding.system import SentenceEncoder

    target, how = options.target, options.opening.arguments()
    if is_graph(target, overwrite=options.overwrite):
        system = load(options.model, **how)
        head = system.head if isinstance(system, SentenceEncoder) else None
        what = write_graph(target, system.model, head=head, tower=options.tower)
        note(f"{target}: {what} ({size(target.stat().st_size)})")
        return
    try_folder(target, overwrite=options.overwrite)
    load(options.model, **how).save(target)
    note(f"{target}:")
    for path in sorted(target.iterdir()):
        note(f"  {path.name}  ({size(path.stat().st_size)})")
