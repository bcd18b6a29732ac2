"""Splits of a folder: which of its files, or which folder in it, is for training, validation or test."""

from __future__ import annotations

import os
import re
from pathlib import Path

from formers.data.files import fault, held, listed, located

SPLITS = {  # split -> what its folder may be called
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
SHARDS = (".parquet", ".tar")


def has_split(name: str, split: str) -> bool:
    """Whether a folder holds files or a folder of this split beside those for training."""
    folder = located(name)
    if not os.path.isdir(folder):
        return False
    inside = folders_of_splits(name, folder)
    if {"train", split} <= inside.keys():
        return True
    names = held(name, folder)
    return any(shards_among(names, "train", kind) and shards_among(names, split, kind) for kind in SHARDS)


def of_split(name: str, folder: Path, split: str, kind: str = ".parquet") -> list[str]:
    """The Parquet files (or of another kind) of one split in a folder; never all: that would mix the test set in."""
    names = held(name, folder)
    files = shards_among(names, split, kind)
    if not files:
        fix = "name a file, or a pattern such as " + os.path.join(name, f"*{kind}")
        raise fault(name, f"a folder without {split}*{kind}; it holds {listed(names) or 'nothing'}; {fix}")
    return [os.path.join(name, entry) for entry in files]


def shards_among(names: list[str], split: str, kind: str) -> list[str]:
    """`train.parquet`, `train-00000-of-00002.parquet` and so on."""
    return [name for name in names if re.fullmatch(re.escape(split) + r"([-_.].*)?" + re.escape(kind), name)]


def split_folder(name: str, folder: Path, split: str) -> str:
    """The folder of a split in one that holds folders of splits; else the folder itself.

    Raises DataError for a split that is not among those there.
    """
    inside = folders_of_splits(name, folder)
    if inside and split not in inside:
        raise fault(name, f"no folder of the split {split}; it holds {listed(inside.values())}")
    return inside.get(split, name)


def folders_of_splits(name: str, folder: Path) -> dict[str, str]:
    """Split -> its folder in one that holds such folders and no others: `train` beside `car` and `bus` is a class."""
    inside = [entry for entry in held(name, folder) if entry[0] != "." and os.path.isdir(folder / entry)]
    words = {word: split for split, words in SPLITS.items() for word in words}
    if not all(entry.lower() in words for entry in inside):
        return {}
    return {words[entry.lower()]: os.path.join(name, entry) for entry in inside}
