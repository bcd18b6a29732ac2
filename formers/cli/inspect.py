"""`formers inspect`: pictures of attention, positions and the learning curve; the table of parameters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from formers.cli.options import AllowBin, Model, Offline, is_run, open_model, out_file
from formers.cli.output import note, show_table, size
from formers.errors import ConfigError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from formers.models.transformer import Transformer
    from formers.systems.translation import Translator

WHAT = ("attention", "positions", "parameters", "curve")
POSITIONS = 64  # positions in a picture of them


def run(
    model: Model,
    what: Annotated[str, typer.Argument(metavar="|".join(WHAT), help="What to look at.", show_default=False)],
    text: Annotated[
        str | None,
        typer.Argument(metavar="[TEXT]", help="The text that is translated (attention).", show_default=False),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="TEXT", help="The translation to read (default: the model's own)."),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option("--layer", min=1, metavar="N", help="Layer, counted from 1 (default: the last)."),
    ] = None,
    head: Annotated[
        int | None, typer.Option("--head", min=1, metavar="N", help="Only this head, from 1.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.png", help="Where to write the picture.")
    ] = None,
    allow_bin: AllowBin = False,
    offline: Offline = False,
) -> None:
    """Look inside: attention, positions, parameters, learning curve."""
    from formers.studio import pictures

    if what not in WHAT:
        raise ConfigError(f'inspect MODEL "{what}" is not known{nearest(what, WHAT)}')
    if what == "attention" and not (text and text.strip()):
        raise ConfigError(f'attention of what? formers inspect {model} attention "I ate an apple"')
    out_file(out)
    if what == "curve":
        drawn = curve(model)
    else:
        translator = open_model(model, allow_bin=allow_bin, offline=offline)
        if what == "parameters":
            show_parameters(translator.model)
            return
        if what == "attention":
            drawn = attention(translator, text or "", target, layer, head)
        else:
            drawn = positions(translator.model, model)
    folder = Path(model).expanduser() / "samples" if is_run(model) else Path()
    note(f"wrote {pictures.save(drawn, out or folder / f'{what}.png')}")


def attention(
    translator: Translator, text: str, target: str | None, layer: int | None, head: int | None
) -> Figure:
    """Encoder self-attention and decoder cross-attention of one layer."""
    from formers.studio import pictures

    translator.needs_tokenizer()
    maps = translator.attention(text, target)
    for name, number, most in (
        ("layer", layer, min(len(maps.encoder), len(maps.cross))),
        ("head", head, maps.cross.shape[1]),
    ):
        if number is not None and number > most:
            raise ConfigError(f"--{name} ({number}) must be 1 to {most}")
    place = -1 if layer is None else layer - 1
    heads = slice(None) if head is None else slice(head - 1, head)
    which = f"layer {layer or len(maps.cross)} of {len(maps.cross)}" + (f", head {head}" if head else "")
    shown = text if len(text) <= 60 else text[:59] + "…"
    return pictures.attention(
        maps.source, maps.target, maps.encoder[place][heads], maps.cross[place][heads], f"“{shown}”, {which}"
    )


def positions(network: Transformer, name: str) -> Figure:
    """How the model tells positions apart, whichever way it does."""
    import torch

    from formers.studio import pictures

    kind, count = network.config.positions, min(POSITIONS, network.config.length)
    like = torch.zeros(1)
    if kind == "relative":
        biases = {}
        with torch.no_grad():
            for part, stack in (("encoder", network.encoder), ("decoder", network.decoder)):
                if stack.relative is not None:
                    bias = stack.relative(2 * count + 1, 2 * count + 1)[0, :, count]
                    if stack.causal:  # what comes later is never looked at
                        bias[:, count + 1 :] = 0
                    biases[part] = bias.float().numpy()
        return pictures.relative_positions(biases, f"relative positions of {name}")
    with torch.no_grad():
        if kind == "rotary":
            assert network.encoder.rotary is not None
            turn = network.encoder.rotary.at(0, count, like)
            half = turn.cos.shape[1] // 2
            table = torch.cat([turn.cos[:, half:], turn.sin[:, half:]], 1)
        else:
            assert network.source_positions is not None
            table = network.source_positions(0, count, like)
    title = {"split_sinusoidal": "sinusoidal (split)"}.get(kind, kind)
    return pictures.positions(table.detach().float().numpy(), f"{title} positions of {name}")


def show_parameters(network: Transformer) -> None:
    """Every weight with its shape and count, what is shared, and the totals of each part."""
    rows = []
    totals: dict[str, int] = {}
    for name, shape, count, note_ in weights(network):
        rows.append((name, " x ".join(map(str, shape)), f"{count:,}" if count else "-", note_))
        part = name.partition(".")[0]
        totals[part] = totals.get(part, 0) + count
    show_table("parameters", ["name", "shape", "numbers", ""], rows, right=["shape", "numbers"])
    everything = sum(totals.values())
    show_table(
        "totals",
        ["part", "numbers", "share"],
        [(part, f"{count:,}", f"{count / everything:.1%}") for part, count in totals.items() if count]
        + [("all", f"{everything:,}", "100%")],
        right=["numbers", "share"],
    )
    weight = network.embedding.weight
    note(f"{size(everything * weight.element_size())} as {str(weight.dtype).removeprefix('torch.')}")


def weights(network: Transformer) -> Iterator[tuple[str, tuple[int, ...], int, str]]:
    """(name, shape, numbers, note) of each weight; what is shared counts once; the note says with what."""
    seen: dict[int, str] = {}
    for name, weight in network.named_parameters(remove_duplicate=False):
        first = seen.setdefault(id(weight), name)
        if first == name:
            yield name, tuple(weight.shape), weight.numel(), ""
        else:
            yield name, tuple(weight.shape), 0, f"shared: is {first}"
    table = network.embedding if network.target_embedding is None else network.target_embedding
    shape, first = tuple(table.weight.shape), seen[id(table.weight)]
    if network.target_embedding is None:
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
