"""The GGUF container (llama.cpp): metadata, a table of tensors, and their blocks of numbers as torch tensors.

    "GGUF" version counts | key type value ... | name dims type offset ... | padding | data, each tensor aligned

The header is read here, so that every fault is told with its place; the arithmetic of the quantised types is the
kept `gguf` package's. Source: the format's description (docs/gguf.md of ggml).
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from formers.errors import CheckpointError
from formers.extras import optional
from formers.files import expanded, regular
from formers.pretrained.mapping import finite

MAGIC, VERSIONS = b"GGUF", (2, 3)
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
# number of a type -> name, values per block, bytes per block
TYPES = {
    0: ("F32", 1, 4),       1: ("F16", 1, 2),       30: ("BF16", 1, 2),
    8: ("Q8_0", 32, 34),    2: ("Q4_0", 32, 18),    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),    7: ("Q5_1", 32, 24),    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210),
}  # fmt: skip
PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
CHUNK = 2**22  # values that are dequantised at a time
MOST_DIMENSIONS = 4  # of the format


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies: `shape` as torch counts (rows first), `start` and `size` in bytes of the file."""

    name: str
    shape: tuple[int, ...]
    kind: str
    start: int
    size: int


@dataclass(frozen=True)
class GgufFile:
    path: Path
    metadata: Mapping[str, Any]
    entries: Mapping[str, Entry]
    data: mmap.mmap

    def stored(self, entry: Entry) -> memoryview:
        """The bytes of a tensor as they lie in the file."""
        return memoryview(self.data)[entry.start : entry.start + entry.size]

    def tensor(self, name: str, dtype: torch.dtype = torch.float32) -> Tensor:
        """One tensor, dequantised piece by piece. Raises CheckpointError for NaN or infinite values."""
        entry = self.entries[name]
        rows = math.prod(entry.shape[:-1])
        width = entry.shape[-1] if entry.shape else 1
        out = torch.empty(rows, width, dtype=dtype)
        blocks = np.frombuffer(self.stored(entry), np.uint8).reshape(rows, -1)
        step = max(1, CHUNK // max(1, width))
        for first in range(0, rows, step):
            values = decode(blocks[first : first + step], entry.kind)
            if not finite(values):
                raise CheckpointError(f"{self.path}: tensor {name} holds NaN or infinite values; get the file again")
            out[first : first + step] = values
        return out.reshape(entry.shape)


def decode(blocks: np.ndarray[Any, Any], kind: str) -> Tensor:
    """(rows, bytes) of a type as (rows, values). Raises PackageError without the package."""
    if kind in PLAIN:
        return torch.from_numpy(blocks.copy()).view(PLAIN[kind])
    gguf: Any = optional("gguf", "gguf", f"a GGUF file with {kind} weights")
    return torch.from_numpy(gguf.dequantize(blocks, gguf.GGMLQuantizationType[kind]))


def open_gguf(path: str | Path) -> GgufFile:
    """The header of a file, its data mapped and not yet read.

    Raises CheckpointError, one line: not a GGUF file, another version, cut short, a type that is not read here.
    """
    path = expanded(path)
    try:
        regular(path)
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise CheckpointError(f"{path} is empty; get the file again")
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except OSError as fault:
        raise CheckpointError(f"cannot read {path}: {fault.strerror or fault}") from fault
    return HeaderReader(path, data).read()


class HeaderReader:
    """Reads the header from its beginning to its end; `at` is the next byte."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.at = path, data, 0

    def read(self) -> GgufFile:
        tensors, keys = self.preamble()
        metadata: dict[str, Any] = {}
        for _ in range(keys):
            key = self.name()
            if key in metadata:
                raise CheckpointError(f"{self.path} gives {key} twice")
            metadata[key] = self.value(self.number("I"), key)
        table = [self.entry() for _ in range(tensors)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise CheckpointError(f"{self.path}: general.alignment is {alignment!r}, expected a positive number")
        origin = -(-self.at // alignment) * alignment
        entries: dict[str, Entry] = {}
        for name, shape, kind, offset, size in table:
            if name in entries:
                raise CheckpointError(f"{self.path} has the tensor {name} twice")
            end = origin + offset + size
            if end > len(self.data):
                raise CheckpointError(
                    f"{self.path} is cut short: tensor {name} ends at byte {end:,}, but the file has "
                    f"{len(self.data):,} bytes; get the file again"
                )
            entries[name] = Entry(name, shape, kind, origin + offset, size)
        return GgufFile(self.path, metadata, entries, self.data)

    def preamble(self) -> tuple[int, int]:
        """How many tensors and keys there are."""
        magic = self.data[:4]
        if magic != MAGIC:
            if self.data[:16] == b"version https://":
                raise CheckpointError(f"{self.path} is a Git LFS pointer, no weights; run git lfs pull")
            raise CheckpointError(f"{self.path} is not a GGUF file: it begins with {magic!r}, expected {MAGIC!r}")
        self.at = 4
        version = self.number("I")
        if version not in VERSIONS:
            if version % 65536 == 0 and version:
                raise CheckpointError(f"{self.path} is big-endian, which is not read here; get a little-endian one")
            raise CheckpointError(f"{self.path} is GGUF version {version}, expected 2 or 3; convert the model again")
        return self.count(self.number("Q"), 24), self.count(self.number("Q"), 13)

    def count(self, number: int, least: int) -> int:
        """A count of things of at least so many bytes each, which therefore cannot be more than the file holds."""
        self.room(number * least)
        return number

    def room(self, size: int) -> None:
        if self.at + size > len(self.data):
            raise CheckpointError(
                f"{self.path} is cut short or damaged: at byte {self.at:,} of its header it announces {size:,} more "
                f"bytes, but ends at {len(self.data):,}; get the file again"
            )

    def number(self, form: str) -> Any:
        size = struct.calcsize("<" + form)
        self.room(size)
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += size
        return value

    def name(self) -> str:
        (name,) = self.texts(1)
        if not name.isprintable():
            raise CheckpointError(f"{self.path} is damaged: a name in its header is {name!r:.60}; get the file again")
        return name

    def texts(self, count: int) -> list[str]:
        """A vocabulary has hundreds of thousands, hence one plain loop."""
        texts, at, data, end, length = [], self.at, self.data, len(self.data), struct.Struct("<Q").unpack_from
        try:
            for _ in range(count):
                start = at + 8
                at = start + length(data, at)[0]
                if at > end:
                    self.at = start
                    self.room(at - start)
                texts.append(data[start:at].decode("utf-8"))
        except struct.error:
            self.at = at
            self.room(8)
        except UnicodeDecodeError as fault:
            raise CheckpointError(f"{self.path}: the text at byte {start:,} is not UTF-8 ({fault.reason})") from fault
        self.at = at
        return texts

    def value(self, kind: int, key: str) -> Any:
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind == STRING:
            return self.texts(1)[0]
        if kind != ARRAY:
            raise CheckpointError(f"{self.path}: {key} has the unknown value type {kind}; known: 0 to 12")
        item, length = self.number("I"), self.number("Q")
        if item in SCALARS:
            form = np.dtype("<?" if SCALARS[item] == "?" else "<" + np.dtype(SCALARS[item]).str[1:])
            self.room(length * form.itemsize)
            values = np.frombuffer(self.data, form, length, self.at).tolist()
            self.at += length * form.itemsize
            return values
        if item == STRING:
            return self.texts(self.count(length, 8))
        raise CheckpointError(f"{self.path}: {key} is an array of type {item}, which is not read here")

    def entry(self) -> tuple[str, tuple[int, ...], str, int, int]:
        """Name, shape, type, offset into the data and size of one tensor."""
        name = self.name()
        where, dimensions = f"{self.path}: tensor {name}", self.number("I")
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise CheckpointError(f"{where} has {dimensions} dimensions, expected 1 to {MOST_DIMENSIONS}")
        shape = tuple(reversed([self.number("Q") for _ in range(dimensions)]))  # theirs: the fastest first
        number, offset = self.number("I"), self.number("Q")
        if number not in TYPES:
            names = ", ".join(kind for kind, *_ in TYPES.values())
            raise CheckpointError(f"{where} has type {number}, which is not read here; expected one of {names}")
        kind, values, size = TYPES[number]
        if not all(shape) or shape[-1] % values:
            raise CheckpointError(f"{where} has shape {shape}, but rows of {kind} are multiples of {values}")
        return name, shape, kind, offset, math.prod(shape) // values * size
