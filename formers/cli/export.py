"""`formers export`: any model that loads, written as a Hugging Face folder with safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from formers.cli.options import AllowBin, Dtype, Model, Offline, open_model
from formers.cli.output import note, size


def run(
    model: Model,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write.", show_default=False)],
    allow_bin: AllowBin = False,
    dtype: Dtype = None,
    offline: Offline = False,
) -> None:
    """Write a model as a Hugging Face folder with safetensors."""
    system = open_model(model, allow_bin=allow_bin, dtype=dtype, offline=offline)
    system.save(folder)
    note(f"{folder}:")
    for path in sorted(folder.iterdir()):
        note(f"  {path.name}  ({size(path.stat().st_size)})")
