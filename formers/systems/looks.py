"""What there is to see of every model: attention, positions, parameters, learning curve."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from formers.errors import ConfigError, DataError, on_a_line, shortened
from formers.fields import Natural
from formers.systems.system import NOWHERE, Event, Line, Look, Origin, ResultTable, Typed

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from formers.pictures.attention import AttentionMap

HERE = "systems.looks"
EVERY = (
    Look("attention", "Who looks at whom, every head of a layer.", f"{HERE}:AttentionLook", f"{HERE}:attention"),
    Look("positions", "How it tells positions apart.", f"{HERE}:PlainLook", f"{HERE}:positions"),
    Look("parameters", "Every weight, and how many numbers there are.", f"{HERE}:PlainLook", f"{HERE}:parameters"),
    Look("curve", "The learning curve of a run.", f"{HERE}:PlainLook", f"{HERE}:curve", opens=False),
)
POSITIONS = 64  # positions in a picture of them
MOST_ENCODED, MOST_READ = 128, 256  # tokens that a picture of an encoder's, a decoder's attention has room for


@dataclass(frozen=True)
class Picture:
    """A picture, drawn when it is written."""

    name: str
    draw: Callable[[], Figure] = field(metadata={"json": False})
    endings: tuple[str, ...] = field(default=(".png", ".svg", ".pdf"), metadata={"json": False})

    def line(self) -> str:
        return self.name

    def write(self, path: Path) -> None:
        from formers.pictures.figure import save

        save(self.draw(), path)


@dataclass(frozen=True, kw_only=True)
class PlainLook:
    """A look at the model itself."""

    origin: Origin = NOWHERE
    """The model."""


@dataclass(frozen=True, kw_only=True)
class AttentionLook:
    """A look at who looks at whom while a text is read."""

    origin: Origin = NOWHERE
    """The model."""
    text: Annotated[str, Typed("TEXT", positional=True)] = ""
    """The text that is read."""
    target: str = ""
    """The translation to read (default: the model's own)."""
    second: str = ""
    """The second text of a pair (encoders)."""
    layer: Natural | None = None
    """Layer, from 1 (default: the last)."""
    head: Natural | None = None
    """Only this head, from 1."""

    def __post_init__(self) -> None:
        of_what("attention", self)

    def draw(self, *maps: AttentionMap, first: bool = False) -> Picture:
        """The layer and head that are asked for; raises ConfigError for those that the model does not have."""
        from formers.pictures.attention import draw_attention

        layers, heads = min(len(each.weights) for each in maps), maps[-1].weights.shape[1]
        for name, number, most in (("layer", self.layer, layers), ("head", self.head, heads)):
            if number is not None and number > most:
                raise ConfigError(f"--{name} ({number}) must be 1 to {most}")
        which = f"layer {self.layer or layers} of {layers}" + (f", head {self.head}" if self.head else "")
        head = None if self.head is None else self.head - 1
        title, layer = f"{quoted(self.text)}, {which}", (self.layer or 0) - 1
        return Picture("attention", lambda: draw_attention(maps, title, layer=layer, head=head, first=first))


def of_what(name: str, look: Any) -> None:
    """Refuse a look at nothing. Raises ConfigError."""
    if not look.text.strip():
        raise ConfigError(f'{name} of what? formers inspect {look.origin.name} {name} "I ate an apple"')


def quoted(text: str) -> str:
    """A text as a title shows it."""
    return f"“{shortened(on_a_line(text), 60)}”"


def attention(opened: Any, options: AttentionLook) -> Iterator[Event]:
    """Every head of one layer over the text, and an overview of all layers; of encoders the row of [CLS] too."""
    from formers.models.heads import body, network_of
    from formers.models.transformer import Transformer

    headed = body(opened.model) is not None or network_of(opened.model) is not opened.model
    if options.second and not headed:
        raise ConfigError(f"--second is of encoders, but {options.origin.name} is none; leave it out")
    if isinstance(opened.model, Transformer):
        yield translation_attention(opened, options)
        return
    if options.target:
        raise ConfigError(
            "--target is of translation models; leave it out (the second text of a pair, for an encoder, is --second)"
        )
    yield (encoder_attention if headed else decoder_attention)(opened, options)


def translation_attention(translator: Any, options: AttentionLook) -> Picture:
    from formers.pictures.attention import AttentionMap

    maps = translator.attention(options.text, options.target or None)
    return options.draw(
        AttentionMap(maps.encoder, maps.source, maps.source, "encoder: source looks at source"),
        AttentionMap(maps.cross, maps.target, maps.source, "decoder: translation looks at source"),
    )


def decoder_attention(language: Any, options: AttentionLook) -> Picture:
    from formers.pictures.attention import AttentionMap
    from formers.systems.inspection import attention_maps

    tokens = read(language, options.text, MOST_READ)
    names = language.needs_tokenizer().pieces(tokens)
    return options.draw(AttentionMap(attention_maps(language.model, tokens)["decoder"], names, names))


def read(language: Any, text: str, drawn: int | None = None) -> list[int]:
    """A text as tokens, as a language model reads it; drawn: most that a picture has room for.

    Raises DataError for more than fit, and for a text without tokens.
    """
    tokens = [*language.opening, *language.needs_tokenizer().encode_plain([text])[0]]
    longest = language.model.config.length
    drawn = longest if drawn is None else drawn
    if len(tokens) > min(longest, drawn):
        limit = f"this model reads at most {longest:,}" if longest <= drawn else f"a picture has room for {drawn}"
        raise DataError(f"the text has {len(tokens):,} tokens, but {limit}; shorten it")
    if not tokens:
        raise DataError("the text has no tokens for this tokenizer; give another one")
    return tokens


def encoder_attention(opened: Any, options: AttentionLook) -> Picture:
    from formers.models.heads import network_of
    from formers.pictures.attention import AttentionMap
    from formers.systems.inspection import attention_maps
    from formers.systems.reading import reader_of

    config = opened.model.config
    (text,) = reader_of(opened.tokenizer, config).read([options.text], [options.second] if options.second else None)
    if len(text.ids) > MOST_ENCODED or text.overflowing:
        limit = min(MOST_ENCODED, config.length)
        raise DataError(
            f"the text has more than {limit} tokens, which a picture (or this model) has no room for; shorten it"
        )
    pieces = opened.tokenizer.pieces(text.ids)
    segments = text.type_ids if config.segments > 1 else None
    network: Any = network_of(opened.model)
    again = [vars(config).get("start", 0), *text.ids[:-1]]  # what an encoder-decoder below a head reads it behind
    maps = attention_maps(network, text.ids, segments=segments, target=again)
    names = {"encoder": "encoder: text looks at text", "cross": "decoder: text looks at what its encoder read"}
    drawn = names if len(maps) > 1 else dict.fromkeys(maps, "")
    shown = [AttentionMap(maps[kind], pieces, pieces, name) for kind, name in drawn.items()]
    return options.draw(*shown, first=drawn.keys() == {"encoder"})


def positions(opened: Any, options: PlainLook) -> Iterator[Event]:
    """How the model tells positions apart, whichever way it does."""
    from formers.models.heads import network_of
    from formers.pictures.positions import draw_positions
    from formers.systems.inspection import position_tables

    network: Any = network_of(opened.model)
    tables = position_tables(network, min(POSITIONS, network.config.length))
    if not tables.kind:
        raise ConfigError(f"{options.origin.name} has no positions to look at")
    title = f"{tables.kind} positions of {options.origin.short}"
    yield Picture("positions", lambda: draw_positions(tables.vectors, tables.biases, title))


def parameters(opened: Any, options: PlainLook) -> Iterator[Event]:
    """Every weight with its shape and count, alike ones of all layers in one row, and the totals of each part."""
    yield from parameter_tables(opened.model)


def parameter_tables(network: nn.Module) -> Iterator[Event]:
    from formers.systems.inspection import parameter_table, storage

    rows: dict[tuple[str, tuple[int, ...], str], list[int]] = {}
    totals: dict[str, int] = {}
    for name, shape, count, remark in parameter_table(network):
        any_layer = re.sub(r"\.\d+\.", ".*.", name), shape, re.sub(r"\.\d+\.", ".*.", remark)
        rows.setdefault(any_layer, []).append(count)
        part = name.partition(".")[0]
        totals[part] = totals.get(part, 0) + count
    cells: list[Sequence[Any]] = []
    for (name, shape, remark), counts in rows.items():
        layers, numbers = len(counts) if "*" in name else "", f"{sum(counts):,}" if any(counts) else "-"
        cells.append((name, " x ".join(map(str, shape)), layers, numbers, remark))
    columns = ["name", "shape", "layers", "numbers", ""]
    yield ResultTable("parameters", columns, cells, right=["shape", "layers", "numbers"])
    everything = sum(totals.values())
    cells = [(part, f"{count:,}", f"{count / everything:.1%}") for part, count in totals.items() if count]
    cells.append(("all", f"{everything:,}", "100%"))
    yield ResultTable("totals", ["part", "numbers", "share"], cells, right=["numbers", "share"])
    number_of_bytes, form = storage(network)
    yield Line(f"{number_of_bytes / 2**20:,.1f} MB as {form}")


def curve(opened: None, options: PlainLook) -> Iterator[Event]:
    """The learning curve of a run."""
    from formers.pictures.curve import draw_curve
    from formers.training.run import Run

    name = options.origin.name
    folder = Path(name).expanduser()
    if not (folder / "recipe.toml").is_file():
        raise ConfigError(f"{name}: is not a run folder (it has no recipe.toml), so it has no curve")
    events = list(Run(folder).read_events())
    yield Picture("curve", lambda: draw_curve(events, f"learning curve of {name}"))
