"""`formers inspect`: pictures of what a model does inside, and the numbers behind them; the table of parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from formers.cli.options import AllowBin, Device, Dtype, Model, Offline, is_run, open_model, out_file
from formers.cli.output import note, show_table, size
from formers.errors import ConfigError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from formers.models.causal import CausalLM
    from formers.models.transformer import Transformer
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

    def check(self, most: int, name: str) -> None:
        """Refuse a --layer or --head that the model does not have."""
        number = self.layer if name == "layer" else self.head
        if number is not None and number > most:
            raise ConfigError(f"--{name} ({number}) must be 1 to {most}")

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
        drawn: Figure | None = curve(model)
    else:
        opened = open_model(model, allow_bin=allow_bin, offline=offline, dtype=dtype, device=device)
        drawn = look(opened, request)(opened, request)
    if drawn is not None:
        from formers.studio import pictures

        folder = Path(model).expanduser() / "samples" if is_run(model) else Path()
        note(f"wrote {pictures.save(drawn, out or folder / f'{what}.png')}")


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
    return {"attention": attention, "positions": positions_of, "parameters": parameters_of}[request.what]


def attention(translator: Translator, request: Request) -> Figure:
    """Encoder self-attention and decoder cross-attention of one layer."""
    from formers.studio import pictures

    translator.needs_tokenizer()
    layer, head = request.layer, request.head
    maps = translator.attention(request.text, request.target)
    request.check(min(len(maps.encoder), len(maps.cross)), "layer")
    request.check(maps.cross.shape[1], "head")
    place = -1 if layer is None else layer - 1
    heads = slice(None) if head is None else slice(head - 1, head)
    which = f"layer {layer or len(maps.cross)} of {len(maps.cross)}" + (f", head {head}" if head else "")
    return pictures.attention(
        maps.source, maps.target, maps.encoder[place][heads], maps.cross[place][heads], f"{request.quoted}, {which}"
    )


def positions_of(opened: Any, request: Request) -> Figure:
    return positions(opened.model, request.name)


def positions(network: Transformer | CausalLM, name: str) -> Figure:
    """How the model tells positions apart, whichever way it does."""
    import torch

    from formers.models.causal import CausalLM
    from formers.studio import pictures
    from formers.systems.inspection import position_tables, rotary_table

    kind, count = network.config.positions, min(POSITIONS, network.config.length)
    like = torch.zeros(1)
    title = f"{ {'split_sinusoidal': 'sinusoidal (split)'}.get(kind, kind) } positions of {name}"
    if isinstance(network, CausalLM):
        return pictures.positions(position_tables(network, count), title)
    if kind == "rotary":
        assert network.encoder.rotary is not None
        return pictures.positions(rotary_table(network.encoder.rotary, count), title)
    with torch.no_grad():
        if kind != "relative":
            assert network.source_positions is not None
            return pictures.positions(network.source_positions(0, count, like).float().cpu().numpy(), title)
        biases = {}
        for part, stack in (("encoder", network.encoder), ("decoder", network.decoder)):
            if stack.relative is not None:
                bias = stack.relative(2 * count + 1, 2 * count + 1)[0, :, count]
                if stack.causal:  # what comes later is never looked at
                    bias[:, count + 1 :] = 0
                biases[part] = bias.float().cpu().numpy()
        return pictures.relative_positions(biases, title)


def parameters_of(opened: Any, request: Request) -> None:
    show_parameters(opened.model)


def show_parameters(network: nn.Module) -> None:
    """Every weight with its shape and count, alike ones of all layers in one row, and the totals of each part."""
    rows: dict[tuple[str, tuple[int, ...], str], list[int]] = {}
    totals: dict[str, int] = {}
    for name, shape, count, note_ in weights(network):
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
    note(f"{size(sum(map(bytes_of, network.parameters())))} as {kind_of(next(network.parameters()))}")


def bytes_of(weight: Tensor) -> int:
    """Memory of a weight in the form that it is kept in."""
    from formers.kernels.matrix import Int8
    from formers.kernels.weight import Weight

    if isinstance(weight, Weight) and isinstance(weight.form, Int8):
        return weight.form.numbers.nbytes + weight.form.scale.nbytes
    return weight.nbytes


def kind_of(weight: Tensor) -> str:
    from formers.kernels.matrix import Int8
    from formers.kernels.weight import Weight

    eight = isinstance(weight, Weight) and isinstance(weight.form, Int8)
    return "int8" if eight else str(weight.dtype).removeprefix("torch.")


def weights(network: nn.Module) -> Iterator[tuple[str, tuple[int, ...], int, str]]:
    """(name, shape, numbers, note) of each weight; what is shared counts once; the note says with what."""
    seen: dict[int, str] = {}
    for name, weight in network.named_parameters(remove_duplicate=False):
        first = seen.setdefault(id(weight), name)
        if first == name:
            yield name, tuple(weight.shape), weight.numel(), ""
        else:
            yield name, tuple(weight.shape), 0, f"shared: is {first}"
    for name, table in tied(network):
        yield name, tuple(table.shape), 0, f"shared: is {seen[id(table)]}"
    for name, fixed in network.named_buffers():
        yield name, tuple(fixed.shape), 0, f"{fixed.numel():,} fixed numbers"


def tied(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What a model does without because it uses another weight: its name, and that weight."""
    from formers.models.causal import CausalLM
    from formers.models.heads import MaskedWords, Pretraining
    from formers.models.transformer import Transformer

    if isinstance(network, MaskedWords | Pretraining):
        yield "words.weight", network.encoder.embedding.weight
    if not isinstance(network, Transformer | CausalLM):
        return
    table = network.embedding
    if isinstance(network, Transformer):
        if network.target_embedding is None:
            yield "target_embedding.weight", table.weight
        else:
            table = network.target_embedding
    if network.head is None:
        yield "head.weight", table.weight


def curve(source: str) -> Figure:
    """The learning curve of a run."""
    if not is_run(source):
        raise ConfigError(f"{source}: is not a run folder (it has no recipe.toml), so it has no curve")
    from formers.studio import pictures
    from formers.training.run import Run

    return pictures.learning_curve(Run(Path(source).expanduser()).read_events(), f"learning curve of {source}")
