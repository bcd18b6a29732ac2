"""Folders of pictures: class folders, train/ val/ test/ above them, and what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from formers.data.files import fault, held, listed

# Whatever their case.
ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # what the hub calls the table of a folder


def folder_labels(name: str, folder: Path, paths: Sequence[str]) -> list[str]:
    """The class of each picture: the name of its folder, the first where they are nested.

    Raises DataError: pictures beside class folders, or no such folders; one that is empty.
    """
    stray = next((path for path in paths if "/" not in path), None)
    if stray is not None:
        beside = "beside class folders" if any("/" in path for path in paths) else "and no class folders"
        fix = "make a folder of each class and move its pictures there, or give a table with their paths and labels"
        raise fault(name, f"holds pictures {beside} ({stray}): {fix}")
    labels = [path.partition("/")[0] for path in paths]
    classes = set(labels)
    empty = [entry for entry in held(name, folder) if entry[0] != "." and entry not in classes]
    empty = [entry for entry in empty if os.path.isdir(folder / entry)]
    if empty:
        fix = f"put pictures into it ({', '.join(ENDINGS)}) or remove it"
        raise fault(name, f"the class folder {listed(empty)} holds no picture: {fix}")
    return labels


def table_of_folder(folder: Path) -> str | None:
    """The table of its pictures that a folder holds."""
    return next((name for name in METADATA if os.path.isfile(folder / name)), None)
