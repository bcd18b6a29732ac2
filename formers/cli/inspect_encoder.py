"""`formers inspect` of encoders: attention of [CLS] and between tokens, sentences in the plane."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from formers.cli.output import note
from formers.errors import ConfigError, DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from formers.cli.inspect import Request

MOST = 128  # tokens that a picture of attention has room for


def attention(opened: Any, request: Request) -> Figure:
    """Every head of one layer over the text (or pair), an overview of all layers, and the row of [CLS]."""
    from formers.models.heads import body
    from formers.pictures.attention import AttentionMap
    from formers.systems.inspection import attention_maps
    from formers.text.reader import Reader

    if request.target is not None:
        raise ConfigError("--target is of translation models; the second text of a pair is --second")
    if opened.tokenizer is None:
        raise ConfigError(f"{request.model} has no tokenizer files, so text cannot be read; add tokenizer.json")
    encoder = body(opened.model)
    assert encoder is not None  # `look` has seen to it
    config = encoder.config
    request.check(config.stack.layers, config.stack.heads)
    reader = Reader(opened.tokenizer, config.length, segments=config.segments)
    (read,) = reader.read([request.text], None if request.second is None else [request.second])
    if len(read.ids) > MOST or read.overflowing:
        limit = min(MOST, config.length)
        raise DataError(
            f"the text has more than {limit} tokens, which a picture (or this model) has no room for; shorten it"
        )
    pieces = opened.tokenizer.pieces(read.ids)
    maps = attention_maps(encoder, read.ids, segments=read.type_ids if config.segments > 1 else None)
    return request.draw_attention(AttentionMap(maps["encoder"], pieces, pieces), first=True)


def embedding_map(opened: Any, request: Request) -> Figure:
    """The texts of a file as points, those that are alike near each other."""
    from formers.data.sources import read_table
    from formers.pictures.map import draw_map
    from formers.systems.projection import plane

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
    points = plane(opened.encode(texts), request.method)
    method = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}[request.method]
    shown = f"{len(texts):,}" if len(texts) == total else f"{len(texts):,} of {total:,}"
    note(
        f"{shown} texts of {table.name}, column {column}"
        + (f"; {table.dropped:,} empty rows left out" if table.dropped else "")
    )
    title = f"{shown} texts of {Path(table.name).name} as {request.name} sees them ({method})"
    return draw_map(points.places, texts, labels, title, points.names)


def label_names(table: Any, column: str | None) -> list[str] | None:
    """The labels of all rows; numbers of classes by their names, where the file carries these."""
    from dataclasses import replace

    from formers.data.labels import file_names, spelled

    if column is None:
        return None
    names = file_names(table, column)
    return [spelled(value) for value in replace(table, names={column: names}).named(column)]


KINDS: dict[str, Callable[[Any, Request], Figure]] = {"attention": attention, "map": embedding_map}
