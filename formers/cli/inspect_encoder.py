"""`formers inspect` of encoders: attention of [CLS] and between tokens, sentences in the plane, positions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from formers.cli.output import note
from formers.errors import ConfigError, DataError
from formers.studio import encoder_pictures, pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from formers.cli.inspect import Request
    from formers.models.encoder import Encoder

MOST = 128  # tokens that a picture of attention has room for
POSITIONS = 64  # positions in a picture of them


def body_of(opened: Any) -> Encoder:
    from formers.models.heads import body

    found = body(opened.model)
    assert found is not None  # `look` has seen to it
    return found


def attention(opened: Any, request: Request) -> Figure:
    """Every head of one layer over the text (or pair), an overview of all layers, and the row of [CLS]."""
    from formers.systems.inspection import encoder_attention
    from formers.text.reader import Reader

    if request.target is not None:
        raise ConfigError("--target is of translation models; the second text of a pair is --second")
    if opened.tokenizer is None:
        raise ConfigError(f"{request.model} has no tokenizer files, so text cannot be read; add tokenizer.json")
    encoder = body_of(opened)
    stack = encoder.config.stack
    request.check(stack.layers, "layer")
    request.check(stack.heads, "head")
    reader = Reader(opened.tokenizer, encoder.config.length, segments=encoder.config.segments)
    (read,) = reader.read([request.text], None if request.second is None else [request.second])
    if len(read.ids) > MOST or read.overflowing:
        limit = min(MOST, encoder.config.length)
        raise DataError(
            f"the text has more than {limit} tokens, which a picture (or this model) has no room for; shorten it"
        )
    layer = (request.layer or stack.layers) - 1
    which = f"layer {layer + 1} of {stack.layers}" + (f", head {request.head}" if request.head else "")
    return encoder_pictures.attention(
        opened.tokenizer.pieces(read.ids),
        encoder_attention(encoder, reader.batch([read])),
        layer,
        None if request.head is None else request.head - 1,
        f"{request.quoted}, {which}",
    )


def embedding_map(opened: Any, request: Request) -> Figure:
    """The texts of a file as points, those that are alike near each other."""
    from formers.data.sources import read_table
    from formers.studio.projection import plane

    if request.file is None:
        raise ConfigError(f"map of what? formers inspect {request.model} map --file texts.csv [--labels COLUMN]")
    whole = read_table(request.file)
    column = request.column or next(
        (name for name in ("text", "sentence", "en") if name in whole.columns), next(iter(whole.columns))
    )
    columns = [column, *([request.labels] if request.labels else [])]
    table = read_table(request.file, columns=columns, text=[column], drop_empty=True)
    total = len(table)
    if request.count < total:
        table = table.select([round(i * total / request.count) for i in range(request.count)])
    texts = table.columns[column]
    labels = label_names(table, request.labels)
    found = plane(opened.encode(texts), request.method)
    method = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}[request.method]
    shown = f"{len(texts):,}" if len(texts) == total else f"{len(texts):,} of {total:,}"
    note(
        f"{shown} texts of {table.name}, column {column}"
        + (f"; {table.dropped:,} empty rows left out" if table.dropped else "")
    )
    title = f"{shown} texts of {Path(table.name).name} as {request.name} sees them ({method})"
    return encoder_pictures.embedding_map(found.places, texts, labels, title, found.names)


def label_names(table: Any, column: str | None) -> list[str] | None:
    """The labels of all rows; numbers of classes by their names, where the file carries these."""
    from dataclasses import replace

    from formers.data.labels import file_names, spelled

    if column is None:
        return None
    names = file_names(table, column)
    return [spelled(value) for value in replace(table, names={column: names}).named(column)]


def positions(opened: Any, request: Request) -> Figure:
    """How the encoder tells positions apart, whichever way it does."""
    import torch

    from formers.blocks.stack import Stack
    from formers.systems.inspection import rotary_table

    encoder = body_of(opened)
    count = min(POSITIONS, encoder.config.length)
    with torch.no_grad():
        stack = encoder.stack
        if not isinstance(stack, Stack):
            span = stack.config.span
            table = stack.places if stack.norm_places is None else stack.norm_places(stack.places)
            near = table[max(0, span - count) : span + count].float().cpu().numpy()
            return pictures.positions(near, f"relative places of {request.name}, from {min(span, count)} before on")
        if encoder.positions is not None:
            tables = encoder.positions(0, count, torch.zeros(1)).float().cpu().numpy()
            return pictures.positions(tables, f"learned positions of {request.name}")
        if stack.rotary is not None:
            return pictures.positions(rotary_table(stack.rotary, count), f"rotary positions of {request.name}")
        if stack.relative is None:
            raise ConfigError(f"{request.model} has no positions to look at")
        bias = stack.relative(2 * count + 1, 2 * count + 1)[0, :, count].float().cpu().numpy()
        return pictures.relative_positions({"encoder": bias}, f"relative positions of {request.name}")


KINDS: dict[str, Callable[[Any, Request], Figure]] = {
    "attention": attention,
    "map": embedding_map,
    "positions": positions,
}
