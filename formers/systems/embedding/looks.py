"""What there is to see of sentence vectors besides what every model shows: a map of texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from formers.errors import ConfigError
from formers.fields import Between
from formers.systems.looks import Picture
from formers.systems.system import NOWHERE, Event, Line, Origin, Typed

if TYPE_CHECKING:
    from formers.data.sources import Table
    from formers.systems.embedding.system import SentenceEncoder

METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


@dataclass(frozen=True, kw_only=True)
class MapLook:
    """A look at the texts of a file."""

    origin: Origin = NOWHERE
    """The model."""
    file: Annotated[str, Typed("SOURCE")] = ""
    """Texts to put into a plane."""
    column: Annotated[str, Typed("COLUMN")] = ""
    """Column of the texts (default: text, or the first)."""
    labels: Annotated[str, Typed("COLUMN")] = ""
    """Column that colours the points."""
    method: Literal["pca", "tsne", "umap"] = "pca"
    """How vectors become points."""
    count: Annotated[int, Between(3)] = 2000
    """At most so many texts, from all over the file."""

    def __post_init__(self) -> None:
        if not self.file:
            model = self.origin.name
            raise ConfigError(f"map of what? formers inspect {model} map --file texts.csv [--labels COLUMN]")


def embedding_map(encoder: SentenceEncoder, options: MapLook) -> Iterator[Event]:
    """The texts of a file as points, those that are alike near each other."""
    from formers.data.sources import read_table
    from formers.pictures.map import draw_map
    from formers.systems.vectors.projection import plane

    columns = read_table(options.file).columns
    usual = next((name for name in ("text", "sentence", "en") if name in columns), next(iter(columns)))
    column = options.column or usual
    wanted = [column, *([options.labels] if options.labels else [])]
    table = read_table(options.file, columns=wanted, text=[column], drop_empty=True)
    total = len(table)
    if options.count < total:
        table = table.select([round(i * total / options.count) for i in range(options.count)])
    texts = table.columns[column]
    labels = names_of(table, options.labels) if options.labels else None
    points = plane(encoder.encode(texts), options.method)
    shown = f"{len(texts):,}" if len(texts) == total else f"{len(texts):,} of {total:,}"
    empty = f"; {table.dropped:,} empty rows left out" if table.dropped else ""
    yield Line(f"{shown} texts of {table.name}, column {column}{empty}")
    source, method = Path(table.name).name, METHODS[options.method]
    title = f"{shown} texts of {source} as {options.origin.short} sees them ({method})"
    yield Picture("map", lambda: draw_map(points.places, texts, labels, title, points.names))


def names_of(table: Table, column: str) -> list[str]:
    """The labels of all rows; numbers of classes by their names, where the file carries these."""
    from formers.data.labels import file_names, spelled

    return [spelled(value) for value in replace(table, names={column: file_names(table, column)}).named(column)]
