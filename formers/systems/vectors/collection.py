"""Indexes in a folder that follow what they are made of: what is new or changed is read, what is gone leaves them.

PLACE/0123456789abcdef/     an index for each model, by its fingerprint: see `index`; `about` says how it is opened
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from formers.errors import ConfigError, DataError
from formers.files import remove_folder
from formers.notes import note
from formers.systems.system import Progress
from formers.systems.vectors.index import FILE, VectorIndex
from formers.systems.vectors.mining import Vectors

SECONDS = 20.0  # between saves: so much of the work is lost by a kill
UNREADABLE = "unreadable"  # of `about`: key -> [its stamp, why]


class EncodedBatch(NamedTuple):
    """Some keys that were read: those with vectors, and why the others have none."""

    keys: Sequence[str] = ()
    vectors: Vectors = np.empty((0, 0), np.float32)
    """(keys, dim)"""
    faults: Mapping[str, str] = MappingProxyType({})


def stored(place: Path) -> dict[Path, VectorIndex | DataError]:
    """The indexes of a place by folder; the fault of one that is damaged."""
    indexes: dict[Path, VectorIndex | DataError] = {}
    for path in sorted(place.glob(f"[0-9a-f]*/{FILE}")):  # no other name: of what is half removed
        try:
            indexes[path.parent] = VectorIndex.load(path.parent)
        except DataError as fault:
            indexes[path.parent] = fault
    return indexes


def the_only(place: Path) -> VectorIndex:
    """The index of a place that has one. Raises ConfigError: there is none, or several; DataError: it is damaged."""
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

    about: how the model is opened; an index of one that was opened alike is of the model as it was before: it goes.
    Raises DataError for one that is damaged, OSError.
    """
    folder = place / model[:16]
    indexes = stored(place)
    for path, other in indexes.items():
        if path != folder and isinstance(other, VectorIndex) and about.items() <= other.about.items():
            note(f"{about['model']} is another model than before: its index of {len(other):,} is made anew")
            remove_folder(path)
    index = indexes.get(folder, VectorIndex(model))
    if isinstance(index, DataError):
        raise index
    if not about.items() <= index.about.items():
        index.about |= about
        index.save(folder)
    return folder, index


def update(
    index: VectorIndex,
    folder: Path,
    stamps: Mapping[str, Any],
    encode: Callable[[Sequence[str]], Iterator[EncodedBatch]],
    what: str,
) -> Generator[Progress, None, list[str]]:
    """Make an index that of `stamps`: key -> what changes when it does. Only what is new or changed is read.

    It is saved in its folder now and then, and however this ends. encode: reads keys, some at a time; those without a
    vector are not read again until their stamp changes. Returns the keys that were read. Raises OSError.
    """
    unreadable = index.about.setdefault(UNREADABLE, {})
    stale = [key for key in index.keys if index.payload(key) != stamps.get(key)]
    unstuck = [key for key, (stamp, _) in unreadable.items() if stamp != stamps.get(key)]
    index.remove(stale)
    for key in unstuck:
        del unreadable[key]
    new = [key for key in stamps if key not in index and key not in unreadable]
    if not (stale or unstuck or new):
        return new
    done, saved = 0, time.monotonic()
    try:
        yield Progress(done, len(new), what)
        for batch in encode(new):
            if batch.keys:
                index.add(batch.keys, batch.vectors, [stamps[key] for key in batch.keys], model=index.model)
            unreadable |= {key: [stamps[key], why] for key, why in batch.faults.items()}
            done += len(batch.keys) + len(batch.faults)
            if time.monotonic() - saved >= SECONDS:
                index.save(folder)
                saved = time.monotonic()
            yield Progress(done, len(new), what)
    except (KeyboardInterrupt, GeneratorExit):
        note(f"{done:,} of {len(new):,} are read and kept in {folder}: the same command goes on")
        raise
    finally:
        index.save(folder)
    return new
