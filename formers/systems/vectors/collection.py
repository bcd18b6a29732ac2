"""Indexes in a folder that follow what they are made of: what is new or changed is read, what is gone leaves them.

    PLACE/0123456789abcdef/     an index for each model, by its fingerprint: see `index`; `about` says how it is opened
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from formers.errors import ConfigError, DataError
from formers.files import remove_folder
from formers.notes import note
from formers.systems.system import Progress
from formers.systems.vectors.index import FILE, VectorIndex
from formers.systems.vectors.mining import Vectors

SECONDS = 20.0  # between saves: so much of the work is lost by a kill
UNREADABLE = "unreadable"  # of `about`: key -> [its stamp, why]


class Encoded(NamedTuple):
    """Some keys that were read: those with vectors, and why the others have none."""

    keys: Sequence[str]
    vectors: Vectors
    faults: Mapping[str, str]


def stored(place: Path) -> dict[Path, VectorIndex | DataError]:
    """The indexes of a place by folder; the fault of one that is damaged."""
    indexes: dict[Path, VectorIndex | DataError] = {}
    for path in sorted(place.glob(f"*/{FILE}")):
        try:
            indexes[path.parent] = VectorIndex.load(path.parent)
        except DataError as fault:
            indexes[path.parent] = fault
    return indexes


def the_only(place: Path) -> VectorIndex:
    """The index of a place that has one. Raises ConfigError where there is none, or several; DataError: it is damaged."""
    indexes = list(stored(place).values())
    if not indexes:
        raise ConfigError(f"there is no index in {place} yet: give --model, a run, a model folder or a hub id")
    if len(indexes) > 1:
        names = sorted({str(each.about.get("model")) for each in indexes if isinstance(each, VectorIndex)})
        raise ConfigError(f"{place} has {len(indexes)} indexes: give --model, one of {', '.join(names)}")
    if isinstance(indexes[0], DataError):
        raise indexes[0]
    return indexes[0]


def of_model(place: Path, model: str, about: Mapping[str, Any]) -> tuple[Path, VectorIndex]:
    """The index of the model with this fingerprint, empty where there is none yet, and its folder.

    about: how the model is opened; one that is opened alike and has another fingerprint was another one: its index is
    removed. Raises DataError for one that is damaged, OSError.
    """
    folder = place / model[:16]
    for path, index in stored(place).items():
        if path == folder and isinstance(index, DataError):
            raise index
        if path != folder and isinstance(index, VectorIndex) and about.items() <= index.about.items():
            note(f"{path} was made with {about.get('model')} as it was before: it is removed, and all is read again")
            remove_folder(path)
    index = VectorIndex.load(folder) if (folder / FILE).exists() else VectorIndex(model)
    index.about |= about
    return folder, index
