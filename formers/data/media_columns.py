"""Which column of a source holds pictures or sounds, seen in its first row, before anything else of it is read."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from typing import Any

from formers.data.files import ending, located, matching
from formers.data.media import shards_of
from formers.data.medium import MEDIA, Medium, table_of_folder
from formers.data.rows import FolderRows, ParquetRows
from formers.data.sources import builtin_table, hub_data, read_table
from formers.data.splits import split_folder
from formers.data.webdataset import fields, grouped
from formers.errors import DataError


def media_column(row: Mapping[str, Any]) -> tuple[str, Medium] | None:
    """The first column that holds a picture or a sound, or the path of one."""
    return next(((column, medium) for column, value in row.items() for medium in MEDIA if medium.holds(value)), None)


def first_row(name: str, split: str) -> Mapping[str, Any]:
    """The first row of a source that may hold pictures or sounds; of one that cannot, nothing. Raises DataError."""
    if name.startswith("builtin:"):
        return builtin_table(name, None, split, 0, 1).row(0)
    if name.startswith("hf:"):
        with hub_data(name, split) as data:
            kinds = {column: type(feature).__name__ for column, feature in data.features.items()}
            names = {medium.feature: f"x{medium.endings[0]}" for medium in MEDIA}
            return {column: names.get(kind) for column, kind in kinds.items()}
    path, files = located(name), [name]
    if os.path.isdir(path):
        if not (files := shards_of(name, path, split)):
            inside = split_folder(name, path, split)
            if table := table_of_folder(located(inside)):
                return first_row(os.path.join(inside, table), split)
            return of_folder(inside)
    elif not os.path.exists(path):
        files = matching(path) if glob.has_magic(name) else []
    kind = ending(files[0]) if files else ""
    if kind == ".parquet":
        return ParquetRows(name, files).row(0)
    if kind == ".tar":
        parts = next(iter(grouped(files[0]).values()), {})
        held = {medium.column: f"x.{end}" for end in parts for medium in MEDIA if f".{end}" in medium.endings}
        return {**held, **dict(fields(parts))}
    if medium := next((medium for medium in MEDIA if kind in medium.endings), None):
        return {medium.column: files[0]}
    if kind in (".csv", ".tsv", ".jsonl", ".ndjson", ".json"):
        return read_table(files[0], text=[], drop_empty=None).row(0)
    return {}


def of_folder(name: str) -> Mapping[str, Any]:
    """Of a folder of pictures or sounds, if it is one."""
    for medium in MEDIA:
        try:
            path = FolderRows(name, medium.endings).paths[0]
        except DataError:
            continue
        return {medium.column: path, "label": path.partition("/")[0]} if "/" in path else {medium.column: path}
    return {}
