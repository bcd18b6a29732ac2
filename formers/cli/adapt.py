"""`formers adapt`: fine-tune a few weights of a model; merge adapters into it, or look at one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from formers.cli.options import AllowBin, Change, Offline
from formers.cli.output import note, show_table, size
from formers.errors import ConfigError, nearest

if TYPE_CHECKING:
    from formers.pretrained.peft.adapters import Adapter

USAGE = "expected MODEL, or: merge MODEL ADAPTER... OUT, or: show ADAPTER"
LORA = {"rank": "rank", "alpha": "alpha", "dropout": "dropout", "targets": "targets", "rslora": "rank_stabilised"}


def run(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL | merge MODEL ADAPTER... OUT | show ADAPTER",
            help="The model to train; or adapters to merge into a model, written to OUT; or one to look at. "
            "A folder that is called merge or show: ./merge.",
            show_default=False,
        ),
    ],
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="RECIPE", help="What to learn (default: the offline recipe of such models)."),
    ] = None,
    lora: Annotated[
        str | None,
        typer.Option(
            "--lora",
            metavar="KEY=VALUE,...",
            help="LoRA: rank, alpha, dropout, targets (q+v, all-linear), rslora=true; default: rank=8,alpha=16,"
            "targets=q+v.",
        ),
    ] = None,
    bitfit: Annotated[bool, typer.Option("--bitfit", help="Only biases learn.")] = False,
    head: Annotated[
        bool, typer.Option("--head", help="Only the output head learns, or the last block where it has none.")
    ] = False,
    change: Change = None,
    folder: Annotated[
        Path | None,
        typer.Option("--run", metavar="FOLDER", help="The run folder (default: runs/ and recipe and kind)."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the run that is there, and begin anew.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Plain lines also on a terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every event as a line of JSON.")] = False,
    shares: Annotated[
        str | None,
        typer.Option("--shares", metavar="X,X,...", help="merge: how much of each adapter (default: all of it)."),
    ] = None,
    allow_bin: AllowBin = False,
    offline: Offline = False,
) -> None:
    """Fine-tune few weights of a model (LoRA, biases, head), merge adapters.

    LoRA unless told otherwise. The run holds an adapter, a small folder that opens like a model:
    [bold]formers generate RUN[/bold]. LoRA is written as the library peft writes it, and read from there.
    """
    verb, rest = what[0], what[1:]
    if verb not in ("merge", "show") and rest:
        raise ConfigError(f"adapt {' '.join(what)}: {USAGE}{nearest(verb, ('merge', 'show'))}")
    if verb == "show":
        if len(rest) != 1:
            raise ConfigError(f"adapt show: got {len(rest)} names, {USAGE}")
        show(rest[0], offline)
    elif verb == "merge":
        if len(rest) < 3:
            raise ConfigError(f"adapt merge: got {len(rest)} names, {USAGE}")
        merge(rest[0], rest[1:-1], Path(rest[-1]), shares, allow_bin, offline)
    else:
        if sum((lora is not None, bitfit, head)) > 1:
            raise ConfigError("give one of --lora, --bitfit and --head")
        kind = "bitfit" if bitfit else "head" if head else "lora"
        train(verb, recipe, [*adapter_changes(kind, lora), *(change or ())], kind, folder, fresh, plain, as_json)


def adapter_changes(kind: str, lora: str | None) -> list[str]:
    """The --set of the recipe's [adapter] section."""
    changes = [f"adapter.kind={kind}"]
    for part in filter(None, (lora or "").split(",")):
        key, equals, value = part.partition("=")
        if key not in LORA or not equals:
            raise ConfigError(f"--lora {part}: expected KEY=VALUE{nearest(key, LORA)}")
        if key == "targets":
            value = "[" + ", ".join(f"'{name}'" for name in value.split("+")) + "]"
        changes.append(f"adapter.{LORA[key]}={value}")
    return changes


def train(
    model: str,
    recipe: str | None,
    changes: list[str],
    kind: str,
    folder: Path | None,
    fresh: bool,
    plain: bool,
    as_json: bool,
) -> None:
    """Train an adapter: `formers train` with the model to start from and the [adapter] section filled in."""
    from formers.cli import train as command
    from formers.recipe import default_folder
    from formers.registry import locate, system_of

    name = recipe or system_of(locate(model), model).recipe
    usual = default_folder(name)
    folder = folder or usual.with_name(f"{usual.name.removesuffix('-lora')}-{kind}")
    command.run(name, folder, [f"model.start={model}", *changes], fresh, plain, as_json)


def merge(model: str, adapters: list[str], out: Path, shares: str | None, allow_bin: bool, offline: bool) -> None:
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
    loaded = load_model(locate(model, allow_bin=allow_bin, offline=True if offline else None), allow_bin=allow_bin)
    found = [read_adapter(locate(each, offline=True if offline else None)) for each in adapters]
    for adapter, share in zip(found, parts, strict=True):
        loaded = merged(adapter, loaded, share)
    open_loaded(loaded).save(out)
    note(f"wrote {out}: {model} with {', '.join(adapters)} merged into it")


def show(name: str, offline: bool) -> None:
    """What an adapter changes, and how much."""
    from formers.pretrained.peft.adapters import read_adapter
    from formers.registry import locate

    adapter = read_adapter(locate(name, offline=True if offline else None))
    note(f"{adapter.folder}: {adapter.kind} of {adapter.base or 'a model that it does not name'}")
    count = sum(tensor.numel() for tensor in adapter.tensors.values())
    stored = sum(tensor.nbytes for tensor in adapter.tensors.values())
    note(f"{count:,} numbers in {len(adapter.tensors)} tensors, {size(stored)}")
    if adapter.kind == "lora":
        show_lora(adapter)
        return
    rows = [(key, " x ".join(map(str, tensor.shape))) for key, tensor in sorted(adapter.tensors.items())]
    show_table("the weights that learned, in place of the model's own", ["name", "shape"], rows, right=["shape"])


def show_lora(adapter: Adapter) -> None:
    """One row for each kind of matrix: how many, ranks, scales, and the mean norm of what is added to one."""
    from formers.pretrained.peft.summary import summary

    note(
        f"dropout {adapter.raw.get('lora_dropout', 0)}, "
        f"scale alpha / {'sqrt(rank)' if adapter.raw.get('use_rslora') else 'rank'}"
    )
    rows = [
        (row.name, row.count, row.shape, row.ranks, row.scales, f"{row.norm:.4g}")
        for row in summary(adapter.raw, adapter.tensors, str(adapter.folder))
    ]
    columns = ["matrix", "number", "out x in", "rank", "scale", "mean norm"]
    show_table("what is added to each kind of matrix", columns, rows, right=columns[1:])
