"""`formers inspect`: pictures of what a model does inside, and the numbers behind them; the table of parameters."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from formers.cli.options import AllowBin, Device, Dtype, Model, Offline, is_run, open_model, out_file
from formers.cli.output import note, show_table, size
from formers.errors import ConfigError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from formers.pictures.attention import AttentionMap
    from formers.systems.translation import Translator

# What there is to see of the models of each system (`look` finds the function); all of it takes a moment to compute.
KINDS = {
    "language": ("attention", "lens", "probabilities", "cache", "positions", "parameters", "curve"),
    "translation": ("attention", "positions", "parameters", "curve"),
    "embedding": ("attention", "map", "positions", "parameters", "curve"),
}
KINDS |= {
    each: ("attention", "positions", "parameters", "curve")
    for each in ("masked", "classification", "tagging", "answering")
}
WHAT = tuple(dict.fromkeys(kind for kinds in KINDS.values() for kind in kinds))
OF_TEXT = ("attention", "lens", "probabilities", "cache")
# Option -> the kinds that read it.
OPTIONS = {
    **dict.fromkeys(("--target", "--second", "--layer", "--head"), ("attention",)),
    "--max-tokens": ("cache",),
    **dict.fromkeys(("--file", "--column", "--labels", "--method", "--count"), ("map",)),
}
POINTS = 2000  # texts in a map
POSITIONS = 64  # positions in a picture of them


@dataclass(frozen=True)
class Request:
    """What the user wants to see."""

    what: str
    model: str
    text: str
    target: str | None = None
    layer: int | None = None
    head: int | None = None
    max_tokens: int | None = None
    second: str | None = None
    file: str | None = None
    column: str | None = None
    labels: str | None = None
    method: str = "pca"
    count: int = POINTS

    def check(self, layers: int, heads: int) -> None:
        """Refuse a --layer or --head that the model does not have."""
        for name, number, most in (("layer", self.layer, layers), ("head", self.head, heads)):
            if number is not None and number > most:
                raise ConfigError(f"--{name} ({number}) must be 1 to {most}")

    def draw_attention(self, *maps: AttentionMap, first: bool = False) -> Figure:
        """The layer and head that are asked for; the number of layers is the last map's."""
        from formers.pictures.attention import draw_attention

        layers = len(maps[-1].weights)
        which = f"layer {self.layer or layers} of {layers}" + (f", head {self.head}" if self.head else "")
        head = None if self.head is None else self.head - 1
        return draw_attention(maps, f"{self.quoted}, {which}", layer=(self.layer or 0) - 1, head=head, first=first)

    @property
    def quoted(self) -> str:
        """The text as a title shows it."""
        line = " ".join(self.text.split())
        return f"“{line}”" if len(line) <= 60 else f"“{line[:59].rstrip()}…”"

    @property
    def name(self) -> str:
        """The model's, without the folders that it lies in."""
        return Path(self.model).expanduser().resolve().name


def run(
    model: Model,
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT", help=f"{', '.join(WHAT[:-1])} or {WHAT[-1]}, as the model has.", show_default=False
        ),
    ],
    text: Annotated[
        str | None,
        typer.Argument(metavar="[TEXT]", help=f"The text that is read ({', '.join(OF_TEXT)}).", show_default=False),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="TEXT", help="The translation to read (attention; default: the model's own)."),
    ] = None,
    layer: Annotated[
        int | None, typer.Option("--layer", min=1, metavar="N", help="Layer, from 1 (attention; default: the last).")
    ] = None,
    head: Annotated[
        int | None, typer.Option("--head", min=1, metavar="N", help="Only this head, from 1 (attention).")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=2, metavar="N", help="Tokens to write (cache; default: 256).")
    ] = None,
    second: Annotated[
        str | None, typer.Option("--second", metavar="TEXT", help="The second text of a pair (attention of encoders).")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="SOURCE", help="Texts to put into a plane (map).")
    ] = None,
    column: Annotated[
        str | None,
        typer.Option("--column", metavar="COLUMN", help="Column of the texts (map; default: text, or the first)."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="COLUMN", help="Column that colours the points (map).")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", metavar="pca|tsne|umap", help="How vectors become points (map; default: pca)."),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            min=3,
            metavar="N",
            help=f"At most so many texts, from all over the file (map; default: {POINTS:,}).",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE.png", help="Where to write the picture.")] = None,
    allow_bin: AllowBin = False,
    offline: Offline = False,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Look inside: attention, logit lens, probabilities, weights, learning curve.

    [bold]Language models:[/bold] attention (of every head), lens (what each layer would say),
    probabilities (of every token), cache (the time that it saves), positions, parameters, curve.

    [bold]Translation models:[/bold] attention, positions, parameters, curve (of learning).

    [bold]Embedding models:[/bold] attention (every head, the first token), map (the texts of a file as points),
    positions, parameters, curve.

    [bold]Other encoders:[/bold] attention, positions, parameters, curve.
    """
    given = {
        "--target": target,
        "--layer": layer,
        "--head": head,
        "--max-tokens": max_tokens,
        "--second": second,
        "--file": file,
        "--column": column,
        "--labels": labels,
        "--method": method,
        "--count": count,
    }
    request = Request(
        what,
        model,
        text or "",
        target,
        layer,
        head,
        max_tokens,
        second,
        file,
        column,
        labels,
        method or "pca",
        count or POINTS,
    )
    check(request, [name for name, value in given.items() if value is not None])
    out_file(out)
    if what == "curve":
        picture: Figure | None = curve(model)
    else:
        opened = open_model(model, allow_bin=allow_bin, offline=offline, dtype=dtype, device=device)
        picture = look(opened, request)(opened, request)
    if picture is not None:
        from formers.pictures.figure import save

        folder = Path(model).expanduser() / "samples" if is_run(model) else Path()
        note(f"wrote {save(picture, out or folder / f'{what}.png')}")


def check(request: Request, options: list[str]) -> None:
    """Refuse, before a model is opened, what does not go together."""
    what = request.what
    if what not in WHAT:
        raise ConfigError(f'inspect MODEL "{what}" is not known{nearest(what, WHAT)}')
    if what in OF_TEXT and not request.text.strip():
        raise ConfigError(f'{what} of what? formers inspect {request.model} {what} "I ate an apple"')
    if what not in OF_TEXT and request.text:
        raise ConfigError(f'"{what}" is not of a text, got {request.quoted}; leave it out')
    for option in options:
        if what not in OPTIONS[option]:
            raise ConfigError(f'{option} is of "{OPTIONS[option][0]}", got it with "{what}"; leave it out')


def look(opened: Any, request: Request) -> Callable[[Any, Request], Figure | None]:
    """What shows that of this model."""
    from formers.cli import inspect_encoder, inspect_language
    from formers.registry import SYSTEM_OF_MODEL

    system = SYSTEM_OF_MODEL[type(opened.model).__name__]
    if request.what == "attention" and request.second is not None and system in ("language", "translation"):
        raise ConfigError(f"--second is of encoders, but {request.model} is a {system} model; leave it out")
    if request.what not in KINDS[system]:
        raise ConfigError(
            f'{request.model} is a {system} model, which has no "{request.what}" to inspect; '
            f"it has: {', '.join(KINDS[system])}"
        )
    if system == "language" and request.what in OF_TEXT:
        return inspect_language.KINDS[request.what]
    if system not in ("language", "translation") and request.what in inspect_encoder.KINDS:
        return inspect_encoder.KINDS[request.what]
    return {"attention": attention, "positions": positions, "parameters": parameters_of}[request.what]


def attention(translator: Translator, request: Request) -> Figure:
    """Encoder self-attention and decoder cross-attention of one layer."""
    from formers.pictures.attention import AttentionMap

    translator.needs_tokenizer()
    maps = translator.attention(request.text, request.target)
    request.check(min(len(maps.encoder), len(maps.cross)), maps.cross.shape[1])
    return request.draw_attention(
        AttentionMap(maps.encoder, maps.source, maps.source, "encoder: source looks at source"),
        AttentionMap(maps.cross, maps.target, maps.source, "decoder: translation looks at source"),
    )


def positions(opened: Any, request: Request) -> Figure:
    """How the model tells positions apart, whichever way it does."""
    from formers.models.heads import body
    from formers.pictures.positions import draw_positions
    from formers.systems.inspection import position_tables

    network = body(opened.model) or opened.model
    tables = position_tables(network, min(POSITIONS, network.config.length))
    if not tables.kind:
        raise ConfigError(f"{request.model} has no positions to look at")
    return draw_positions(tables.vectors, tables.biases, f"{tables.kind} positions of {request.name}")


def parameters_of(opened: Any, request: Request) -> None:
    show_parameters(opened.model)


def show_parameters(network: nn.Module) -> None:
    """Every weight with its shape and count, alike ones of all layers in one row, and the totals of each part."""
    from formers.systems.inspection import parameter_table, storage

    rows: dict[tuple[str, tuple[int, ...], str], list[int]] = {}
    totals: dict[str, int] = {}
    for name, shape, count, note_ in parameter_table(network):
        any_layer = re.sub(r"\.\d+\.", ".*.", name), shape, re.sub(r"\.\d+\.", ".*.", note_)
        rows.setdefault(any_layer, []).append(count)
        part = name.partition(".")[0]
        totals[part] = totals.get(part, 0) + count
    show_table(
        "parameters",
        ["name", "shape", "layers", "numbers", ""],
        [
            (
                name,
                " x ".join(map(str, shape)),
                len(counts) if "*" in name else "",
                f"{sum(counts):,}" if any(counts) else "-",
                note_,
            )
            for (name, shape, note_), counts in rows.items()
        ],
        right=["shape", "layers", "numbers"],
    )
    everything = sum(totals.values())
    show_table(
        "totals",
        ["part", "numbers", "share"],
        [(part, f"{count:,}", f"{count / everything:.1%}") for part, count in totals.items() if count]
        + [("all", f"{everything:,}", "100%")],
        right=["numbers", "share"],
    )
    number_of_bytes, form = storage(network)
    note(f"{size(number_of_bytes)} as {form}")


def curve(source: str) -> Figure:
    """The learning curve of a run."""
    if not is_run(source):
        raise ConfigError(f"{source}: is not a run folder (it has no recipe.toml), so it has no curve")
    from formers.pictures.curve import draw_curve
    from formers.training.run import Run

    return draw_curve(Run(Path(source).expanduser()).read_events(), f"learning curve of {source}")
