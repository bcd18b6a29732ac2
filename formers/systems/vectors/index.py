"""Vectors that are searched exactly: keys beside them, kept in files that only grow, mapped into memory when read.

    FOLDER/index.json          keys, payloads, whose vectors they are, how many, their checksum: written whole, last
    FOLDER/vectors-0.f32       rows of little-endian float32, appended to; a new file where much was removed

A kill at any moment leaves what index.json says: rows behind its last one are not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from formers.errors import ConfigError, DataError, FormersError, shown
from formers.fields import Between
from formers.files import flush, parse_json, read_bytes, replace_file
from formers.shapes import Closed
from formers.systems.vectors.mining import Vectors, blocks

FILE, VECTORS = "index.json", re.compile(r"vectors-(\d{1,18})\.f32")
MOST_BYTES = 2**30  # of index.json: about 15 million keys
STEP = 4096  # rows that are copied at once
HOLES = 0.25  # share of removed rows from which on the file of vectors is written anew
UNIT = 1e-3  # a unit vector in half precision is as long as 1 to about 5e-4


class IndexShape(TypedDict):
    """index.json but for its checksum."""

    version: Literal[1]
    model: str
    dim: Annotated[int, Between(0, 2**20)]
    generation: Annotated[int, Between(0)]
    """The number in the name of the file of vectors."""
    vectors: int
    """CRC-32 of that file's rows."""
    keys: list[str]
    """One for each row; "": it was removed."""
    payloads: list[Any]
    about: dict[str, Any]


class CheckedShape(TypedDict):
    """index.json."""

    checksum: int
    index: Annotated[IndexShape, Closed()]


def fingerprint(model: nn.Module, files: Mapping[str, bytes] | None = None) -> str:
    """Names a model by all of its weights, and by the files that say how it reads; another format is another model."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy())
    for name, content in sorted((files or {}).items()):
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:32]


class VectorIndex:
    """Unit vectors of one model by key, in the order in which they came; a payload is what JSON can say, beside each.

    A row is for ever: what is removed or replaced leaves a hole, which goes when the index is written anew.
    """

    def __init__(self, model: str, dim: int = 0) -> None:
        """model: the `fingerprint` of what makes the vectors; dim: numbers of one (0: as the first ones have)."""
        self.model, self.dim = model, dim
        self.about: dict[str, Any] = {}
        """What the owner wants to keep beside it, as JSON."""
        self._parts: list[Vectors] = []  # one after the other: those of the file, then those that came since
        self._keys: list[str] = []
        self._payloads: list[Any] = []
        self._rows: dict[str, int] = {}
        self._folder: Path | None = None
        self._generation = self._stored = self._checksum = 0  # of the file: its number, its rows, their CRC-32

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    @property
    def keys(self) -> list[str]:
        """In the order of their rows."""
        return list(filter(None, self._keys))

    def payload(self, key: str) -> Any:
        return self._payloads[self._rows[key]]

    @property
    def vectors(self) -> Vectors:
        """(keys, dim), in their order; a copy."""
        kept = [piece[list(map(bool, self._keys[at : at + len(piece)]))] for at, piece in self._pieces()]
        return np.concatenate([np.empty((0, self.dim), np.float32), *kept])

    def add(self, keys: Sequence[str], vectors: Vectors, payloads: Sequence[Any], *, model: str) -> None:
        """Put in vectors (keys, dim); a key that is there already gets the new one.

        Raises ConfigError for vectors of another model, of another size or not of length one, and for a key that is
        empty or comes twice.
        """
        self._check(vectors, model)
        if not len(keys) == len(payloads) == len(vectors):
            raise ConfigError(f"got {len(keys)} keys, {len(vectors)} vectors and {len(payloads)} payloads")
        if len(set(keys)) < len(keys) or "" in keys:
            raise ConfigError("a key is empty or comes twice")
        self.remove(key for key in keys if key in self._rows)
        self.dim = vectors.shape[1]
        self._parts.append(np.array(vectors, np.float32))
        self._payloads += payloads
        self._keys += keys  # last: should Ctrl-C come between, a row without a key is not there
        self._rows.update((key, len(self._keys) - len(keys) + place) for place, key in enumerate(keys))

    def remove(self, keys: Iterable[str]) -> None:
        """Take out keys and their vectors. Raises ConfigError for a key that is not there."""
        for key in keys:
            if key not in self._rows:
                raise ConfigError(f"the index has no key {shown(key)}")
            row = self._rows.pop(key)
            self._keys[row], self._payloads[row] = "", None

    def search(self, queries: Vectors, top: int = 10, *, model: str) -> list[list[tuple[str, float]]]:
        """For each of the queries (queries, dim) the keys with the largest inner products, and these, best first.

        top: so many, or all where there are fewer. Among equals, what came first is first. Raises ConfigError for
        queries of another model, of another size or not of length one.
        """
        self._check(queries, model)
        if top < 1:
            raise ConfigError(f"top ({top}) must be at least 1")
        count, top = len(self._keys), min(top, len(self))
        holes = torch.tensor([not key for key in self._keys], dtype=torch.bool)
        results: list[list[tuple[str, float]]] = []
        for block in blocks(count, len(queries)):
            x = torch.from_numpy(np.array(queries[block], np.float32))
            scores = torch.empty(len(x), count)
            for first, piece in self._pieces():
                scores[:, first : first + len(piece)] = x @ torch.from_numpy(piece).T
            for row in scores.masked_fill_(holes, -torch.inf).numpy():
                results.append([(self._keys[place], float(row[place])) for place in largest(row, top)])
        return results

    def save(self, folder: Path) -> None:
        """Write what is new since it was read or saved there, or all of it where much was removed. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        anew = folder != self._folder or len(self._keys) - len(self) > HOLES * len(self._keys)
        generation, stored, checksum = self._generation, self._stored, self._checksum
        if anew:
            numbers = [int(name[1]) for path in folder.iterdir() if (name := VECTORS.fullmatch(path.name))]
            generation, stored, checksum = max(numbers, default=-1) + 1, 0, 0
        path = folder / f"vectors-{generation}.f32"
        with path.open("wb" if anew else "r+b") as file:
            file.truncate(4 * self.dim * stored)  # rows that a kill left behind the last one
            file.seek(0, os.SEEK_END)
            for first, piece in self._pieces():
                if first >= stored:
                    keys = self._keys[first : first + len(piece)]
                    rows = (piece[list(map(bool, keys))] if anew else piece).astype("<f4", order="C", copy=False)
                    file.write(rows.data)
                    checksum = zlib.crc32(rows.data, checksum)
        flush(path)
        if anew:
            self._payloads = [payload for key, payload in zip(self._keys, self._payloads, strict=False) if key]
            self._keys = list(filter(None, self._keys))
            self._rows = {key: row for row, key in enumerate(self._keys)}
        self._folder, self._generation, self._stored, self._checksum = folder, generation, len(self._keys), checksum
        self._parts = [mapped(path, self._stored, self.dim)]
        body = {"version": 1, "model": self.model, "dim": self.dim, "generation": generation, "vectors": checksum}
        body |= {"keys": self._keys, "payloads": self._payloads[: self._stored], "about": self.about}
        replace_file(folder / FILE, compact({"checksum": zlib.crc32(compact(body)), "index": body}))
        for old in folder.iterdir():
            if VECTORS.fullmatch(old.name) and old != path:
                old.unlink()

    @classmethod
    def load(cls, folder: Path) -> VectorIndex:
        """What was saved in a folder; its vectors stay in their file, mapped into memory.

        Raises DataError for a folder without an index, and for one that is damaged.
        """
        if not (folder / FILE).is_file():
            raise DataError(f"{folder} holds no index (it has no {FILE})")
        try:
            checked = parse_json(
                read_bytes(folder / FILE, most=MOST_BYTES), CheckedShape, FILE, fix="it was cut off or changed"
            )
            body: IndexShape = checked["index"]
            if checked["checksum"] != zlib.crc32(compact(body)):
                raise DataError(f"{FILE} does not have its checksum")
            index, count = cls(body["model"], body["dim"]), len(body["keys"])
            path = folder / f"vectors-{body['generation']}.f32"
            index._parts = [mapped(path, count, index.dim)]
            if body["vectors"] != zlib.crc32(index._parts[0].data):
                raise DataError(f"{path.name} does not have its checksum")
        except (FormersError, OSError, ValueError) as fault:  # ValueError: a file shorter than its rows
            raise DataError(f"the index {folder} is damaged ({fault}); delete it, and have it made again") from fault
        index.about, index._keys, index._payloads = body["about"], body["keys"], body["payloads"]
        index._rows = {key: row for row, key in enumerate(index._keys) if key}
        index._folder, index._generation, index._stored = folder, body["generation"], count
        index._checksum = body["vectors"]
        return index

    def _pieces(self) -> Iterator[tuple[int, Vectors]]:
        """The rows that have a key or had one, some at a time, and the number of the first of them."""
        start = 0
        for part in self._parts:
            for place in range(0, len(part), STEP):
                yield start + place, part[place : min(place + STEP, len(self._keys) - start)]
            start += len(part)

    def _check(self, vectors: Vectors, model: str) -> None:
        if model != self.model:
            raise ConfigError(
                f"the vectors are of the model {model:.12}, the index is of {self.model:.12}: make another"
            )
        if vectors.ndim != 2 or vectors.shape[1] != (self.dim or vectors.shape[1]):
            raise ConfigError(f"vectors of shape {vectors.shape}: expected (count, {self.dim or 'dim'})")
        if not (np.abs(np.linalg.norm(vectors, axis=1) - 1) < UNIT).all():  # NaN is not
            raise ConfigError("a vector does not have length one; divide each by its length")


def largest(scores: NDArray[np.float32], top: int) -> NDArray[np.int64]:
    """The places (top,) of the largest of scores (count,), largest first; among equals the first."""
    if not top:
        return np.empty(0, np.int64)
    places = np.flatnonzero(scores >= np.partition(scores, -top)[-top])
    return places[np.argsort(-scores[places], kind="stable")[:top]]


def mapped(path: Path, rows: int, dim: int) -> Vectors:
    """The rows of a file, which are read when they are used."""
    return np.memmap(path, "<f4", "c", shape=(rows, dim)) if rows else np.empty((0, dim), np.float32)


def compact(value: Mapping[str, Any] | IndexShape) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
