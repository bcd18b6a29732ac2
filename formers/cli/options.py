"""Options that several verbs share: the model and how it is opened, the fields of a recipe, the file to write."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from formers.errors import ConfigError
from formers.fields import Field
from formers.systems.system import System, Typed

MODEL_HELP = "A run, a model folder, a .gguf or .safetensors file, or a hub id (owner/name[@revision])."
MODEL = Field("model", str, dataclasses.MISSING, MODEL_HELP, False, (Typed("MODEL", positional=True),))
LEFT_OUT = "Leave out rows of a file or standard input that cannot be used, and count them."
SKIP_BAD = Field("skip_bad", bool, False, LEFT_OUT, False, ())
Change = Annotated[tuple[str, ...], Typed(metavar="SECTION.KEY=VALUE")]
Ignored = Annotated[tuple[str, ...], Typed(metavar="NAME")]


@dataclass(frozen=True)
class Destination:
    """Where results go, and in which form."""

    out: Path | None = None
    """Write here instead of standard output."""
    json: bool = False
    """Print one JSON object for each result."""


@dataclass(frozen=True)
class Opening:
    """How a model is opened. `offline` False leaves the choice to the environment (HF_HUB_OFFLINE)."""

    dtype: Annotated[str | None, Typed(metavar="fp32|bf16|fp16|int8")] = None
    """Number format of the weights."""
    int8: bool = False
    """Weights of eight bits: the same as --dtype int8."""
    device: Annotated[str | None, Typed(metavar="NAME")] = None
    """cpu, cuda, cuda:1 ... (default: cpu)."""
    allow_bin: bool = False
    """Also read pytorch_model.bin (weights only, no code)."""
    offline: bool = False
    """Take hub models from the cache only."""
    ignore_key: Ignored = ()
    """Take this key of config.json for absent, which is not computed here and is known to change nothing."""

    def __post_init__(self) -> None:
        if self.int8 and self.dtype not in (None, "int8"):
            raise ConfigError(f"--int8 and --dtype {self.dtype}: give one of them")

    def place(self) -> dict[str, Any]:
        """What `registry.locate` takes."""
        return {"allow_bin": self.allow_bin, "offline": True if self.offline else None}

    def arguments(self) -> dict[str, Any]:
        """What `formers.load` takes."""
        how = {"device": self.device, "ignore_keys": tuple(self.ignore_key), **self.place()}
        return {"dtype": "int8" if self.int8 else self.dtype, **how}

    def located(self, model: str) -> tuple[Path, System]:
        """Where a model is, which is found once, and its system; it is not opened yet."""
        from formers.registry import locate, system_of

        place = locate(model, **self.place())
        return place, system_of(place, model)
