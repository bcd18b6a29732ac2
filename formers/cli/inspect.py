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
    from torch import Tensor

    from formers.models.causal import CausalLM
    from formers.models.transformer import Transformer
    from formers.systems.translation import Translator

# What there is to see of the models of each system (`look` finds the function); all of it takes a moment to compute.
KINDS = {
    "language": ("attention", "lens", "probabilities", "cache", "positions", "parameters", "curve"),
    "translation": ("attention", "positions", "parameters", "curve"),
}
WHAT = tuple(dict.fromkeys(kind for kinds in KINDS.values() for kind in kinds))
OF_TEXT = ("attention", "lens", "probabilities", "cache")
# Option -> the kinds that read it.
OPTIONS = {"--target": ("attention",), "--layer": ("attention",), "--head": ("attention",), "--max-tokens": ("cache",)}
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
        typer.Argument(
            metavar="[TEXT]", help=f"The text that is read ({', '.join(OF_TEXT)}).", show_default=False
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target", metavar="TEXT", help="The translation to read (attention; default: the model's own)."
        ),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option("--layer", min=1, metavar="N", help="Layer, from 1 (attention; default: the last)."),
    ] = None,
    head: Annotated[
        int | None, typer.Option("--head", min=1, metavar="N", help="Only this head, from 1 (attention).")
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", min=2, metavar="N", help="Tokens to write (cache; default: 256)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.png", help="Where to write the picture.")
    ] = None,
    allow_bin: AllowBin = False,
    offline: Offline = False,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Look inside: attention, logit lens, probabilities, weights, learning curve.

    [bold]Language models:[/bold] attention (of every head), lens (what each layer would say),
    probabilities (of every token), cache (the time that it saves), positions, parameters, curve.

    [bold]Translation models:[/bold] attention, positions, parameters, curve (of learning).
    """
    given = {"--target": target, "--layer": layer, "--head": head, "--max-tokens": max_tokens}
    request = Request(what, model, text or "", target, layer, head, max_tokens)
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
    from formers.cli import inspect_language
    from formers.registry import SYSTEM_OF_MODEL

    system = SYSTEM_OF_MODEL[type(opened.model).__name__]
    if request.what not in KINDS[system]:
        raise ConfigError(
            f'{request.model} is a {system} model, which has no "{request.what}" to inspect; '
            f"it has: {', '.join(KINDS[system])}"
        )
    if system == "language" and request.what in OF_TEXT:
        return inspect_language.KINDS[request.what]
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


def show_parameters(network: Transformer | CausalLM) -> None:
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
    note(f"{size(sum(map(bytes_of, network.parameters())))} as {kind_of(network.embedding.weight)}")


def bytes_of(weight: Tensor) -> int:
    """Memory of a weight in the form that it is kept in."""
    from formers.blocks.weight import Int8, Weight

    if isinstance(weight, Weight) and isinstance(weight.form, Int8):
        return weight.form.numbers.nbytes + weight.form.scale.nbytes
    return weight.nbytes


def kind_of(weight: Tensor) -> str:
    from formers.blocks.weight import Int8, Weight

    eight = isinstance(weight, Weight) and isinstance(weight.form, Int8)
    return "int8" if eight else str(weight.dtype).removeprefix("torch.")


def weights(network: Transformer | CausalLM) -> Iterator[tuple[str, tuple[int, ...], int, str]]:
    """(name, shape, numbers, note) of each weight; what is shared counts once; the note says with what."""
    from formers.models.transformer import Transformer

    seen: dict[int, str] = {}
    for name, weight in network.named_parameters(remove_duplicate=False):
        first = seen.setdefault(id(weight), name)
        if first == name:
            yield name, tuple(weight.shape), weight.numel(), ""
        else:
            yield name, tuple(weight.shape), 0, f"shared: is {first}"
    table = network.embedding
    if isinstance(network, Transformer) and network.target_embedding is not None:
        table = network.target_embedding
    shape, first = tuple(table.weight.shape), seen[id(table.weight)]
    if isinstance(network, Transformer) and network.target_embedding is None:
        yield "target_embedding.weight", shape, 0, f"shared: is {first}"
    if network.head is None:
        yield "head.weight", shape, 0, f"shared: is {first}"
    for name, fixed in network.named_buffers():
        yield name, tuple(fixed.shape), 0, f"{fixed.numel():,} fixed numbers"


def curve(source: str) -> Figure:
    """The learning curve of a run."""
    if not is_run(source):
        raise ConfigError(f"{source}: is not a run folder (it has no recipe.toml), so it has no curve")
    from formers.studio import pictures
    from formers.training.run import Run

    return pictures.learning_curve(
        Run(Path(source).expanduser()).read_events(), f"learning curve of {source}"
    )
