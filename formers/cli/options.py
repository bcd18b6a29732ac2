"""Options that several verbs share, and the model that they open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from formers.errors import ConfigError

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A run, a model folder, a .gguf file, or a hub id (owner/name[@revision]).",
        show_default=False,
    ),
]
AllowBin = Annotated[bool, typer.Option("--allow-bin", help="Also read pytorch_model.bin (weights only, no code).")]
Offline = Annotated[bool, typer.Option("--offline", help="Take hub models from the cache only.")]
Dtype = Annotated[
    str | None, typer.Option("--dtype", metavar="fp32|bf16|fp16|int8", help="Number format of the weights.")
]
Device = Annotated[str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1 ... (default: cpu).")]
Change = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a field of the recipe; may be given many times."),
]


def open_model(
    source: str, *, allow_bin: bool = False, offline: bool = False, dtype: str | None = None, device: str | None = None
) -> Any:
    """What `formers.load` gives; `offline` False leaves the choice to the environment (HF_HUB_OFFLINE)."""
    from formers.registry import load

    return load(source, dtype=dtype, device=device, allow_bin=allow_bin, offline=True if offline else None)


def is_run(source: str) -> bool:
    """Whether MODEL names a run folder."""
    return (Path(source).expanduser() / "recipe.toml").is_file()


def out_file(path: Path | None) -> Path | None:
    """--out, checked before the long work that ends in writing it."""
    if path is not None and path.is_dir():
        raise ConfigError(f"--out {path}: is a folder, expected a file")
    if path is not None and not path.parent.is_dir():
        raise ConfigError(f"--out {path}: the folder {path.parent} does not exist")
    return path
