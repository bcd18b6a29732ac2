"""`formers adapt`: fine-tune a few weights of a model; merge adapters into it, or look at one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from formers.adapters.changes import adapter_changes
from formers.cli.command import own_command
from formers.cli.options import Change, Ignored, Opening
from formers.cli.output import note, show_table, size
from formers.errors import ConfigError, nearest
from formers.files import try_folder
from formers.processes import alike
from formers.systems.system import Typed

USAGE = "expected MODEL, or: merge MODEL ADAPTER... OUT, or: show ADAPTER"


@dataclass(frozen=True)
class AdaptOptions:
    """What learns, of which model; or what is merged or shown."""

    what: Annotated[tuple[str, ...], Typed("MODEL | merge MODEL ADAPTER... OUT | show ADAPTER", positional=True)]
    """The model to train; or adapters to merge into a model, written to OUT; or one to look at. A folder that is called
    merge or show: ./merge."""
    recipe: Annotated[str | None, Typed("RECIPE")] = None
    """What to learn (default: the offline recipe of such models)."""
    lora: Annotated[str | None, Typed("KEY=VALUE,...")] = None
    """LoRA: rank, alpha, dropout, targets (q+v, all-linear), rslora=true; default: rank=8,alpha=16,targets=q+v."""
    bitfit: bool = False
    """Only biases learn."""
    head: bool = False
    """Only the output head learns, or the last block where it has none."""
    set: Change = ()
    """Change a field of the recipe."""
    run: Annotated[Path | None, Typed("FOLDER")] = None
    """The run folder (default: runs/ and recipe and kind)."""
    fresh: bool = False
    """Delete the run that is there, and begin anew."""
    plain: bool = False
    """Plain lines also on a terminal."""
    json: bool = False
    """Print every event as a line of JSON."""
    shares: Annotated[str | None, Typed("X,X,...")] = None
    """merge: how much of each adapter (default: all of it)."""
    overwrite: bool = False
    """merge: replace the model files of a folder that is there."""
    allow_bin: bool = False
    """Also read pytorch_model.bin (weights only, no code)."""
    offline: bool = False
    """Take hub models from the cache only."""
    ignore_key: Ignored = ()
    """Take this key of config.json for absent, which is not computed here and is known to change nothing."""


@own_command
def run(options: AdaptOptions) -> None:
    """Fine-tune few weights of a model (LoRA, biases, head), merge adapters.

    LoRA unless told otherwise. The run holds an adapter, a small folder that opens like a model:
    [bold]formers generate RUN[/bold]. LoRA is written as the library peft writes it, and read from there.
    """
    verb, *rest = options.what
    if verb not in ("merge", "show") and rest:
        raise ConfigError(f"adapt {' '.join(options.what)}: {USAGE}{nearest(verb, ('merge', 'show'))}")
    opening = Opening(allow_bin=options.allow_bin, offline=options.offline, ignore_key=options.ignore_key)
    if verb == "show":
        if len(rest) != 1:
            raise ConfigError(f"adapt show: got {len(rest)} names, {USAGE}")
        show(rest[0], opening)
    elif verb == "merge":
        if len(rest) < 3:
            raise ConfigError(f"adapt merge: got {len(rest)} names, {USAGE}")
        try_folder(out := Path(rest[-1]), overwrite=options.overwrite)
        merge(rest[0], rest[1:-1], out, options.shares, opening)
    else:
        if sum((options.lora is not None, options.bitfit, options.head)) > 1:
            raise ConfigError("give one of --lora, --bitfit and --head")
        train(verb, options)


def train(model: str, options: AdaptOptions) -> None:
    """Train an adapter: `formers train` with the model to start from and the [adapter] section filled in."""
    from formers.cli import train as command
    from formers.recipe import default_folder
    from formers.registry import locate, system_of

    kind = "bitfit" if options.bitfit else "head" if options.head else "lora"
    name = options.recipe or alike(lambda: system_of(locate(model), model)).recipe
    usual = default_folder(name)
    folder = options.run or usual.with_name(f"{usual.name.removesuffix('-lora')}-{kind}")
    changes = [f"model.start={model}", *alike(lambda: adapter_changes(kind, options.lora)), *options.set]
    shown = {"plain": options.plain, "json": options.json, "ignore_key": options.ignore_key}
    command.run(recipe=name, run=folder, set=changes, fresh=options.fresh, **shown)


def merge(model: str, adapters: list[str], out: Path, shares: str | None, opening: Opening) -> None:
    """Write a model with adapters, or shares of them, merged into it."""
    from formers.pretrained.load import load_model
    from formers.pretrained.peft.adapters import merged, read_adapter
    from formers.registry import locate, open_loaded

    try:
        parts = [float(share) for share in shares.split(",")] if shares else [1.0] * len(adapters)
    except ValueError:
        raise ConfigError(f"--shares {shares}: expected numbers, for example 0.5,0.5") from None
    if len(parts) != len(adapters):
        raise ConfigError(f"--shares {shares}: got {len(parts)} numbers for {len(adapters)} adapters")
    place = locate(model, **opening.place())
    loaded = load_model(place, allow_bin=opening.allow_bin, ignore_keys=opening.ignore_key)
    opened = [read_adapter(locate(name, **opening.place())) for name in adapters]
    for adapter, share in zip(opened, parts, strict=True):
        loaded = merged(adapter, loaded, share)
    open_loaded(loaded).save(out)
    note(f"wrote {out}: {model} with {', '.join(adapters)} merged into it")


def show(name: str, opening: Opening) -> None:
    """What an adapter changes, and how much."""
    from formers.pretrained.peft.adapters import read_adapter
    from formers.pretrained.peft.summary import weights_of
    from formers.registry import locate

    adapter = read_adapter(locate(name, **opening.place()))
    note(f"{adapter.folder}: {adapter.kind} of {adapter.base or 'a model that it does not name'}")
    count = sum(tensor.numel() for tensor in adapter.tensors.values())
    stored = sum(tensor.nbytes for tensor in adapter.tensors.values())
    note(f"{count:,} numbers in {len(adapter.tensors)} tensors, {size(stored)}")
    if adapter.kind == "lora":
        root = "sqrt(rank)" if adapter.raw.get("use_rslora") else "rank"
        note(f"dropout {adapter.raw.get('lora_dropout', 0)}, scale alpha / {root}")
    title, columns, rows, right = weights_of(adapter)
    show_table(title, columns, rows, right=right)
