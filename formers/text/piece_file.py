"""What a SentencePiece model file holds, read without the library: pieces, their scores, how text is normalised.

The file is one protocol buffer message (sentencepiece_model.proto of the SentencePiece project). A message is a row of
fields, each a key (number << 3 | type) and a value: type 0 a varint, 1 eight bytes, 2 a length and bytes, 5 four bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from formers.errors import CheckpointError
from formers.files import MOST_JSON, read_bytes

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)  # the types of a piece
UNIGRAM = 1  # of the kinds of models


class ScoredPiece(NamedTuple):
    text: str
    score: float
    """Its log probability."""
    kind: int


@dataclass(frozen=True)
class PieceFile:
    pieces: list[ScoredPiece]
    """In the order of their ids."""
    unigram: bool
    byte_fallback: bool
    """Whether characters without a piece become their bytes."""
    characters: bytes
    """The compiled table of replaced characters; empty: none are."""
    dummy_prefix: bool
    """Whether a space is put before every text."""
    remove_spaces: bool
    """Whether spaces at both ends, and all of several but one, are left out."""

    @property
    def unknown(self) -> int:
        """The id of a character without a piece."""
        return next(number for number, piece in enumerate(self.pieces) if piece.kind == UNKNOWN)


def read_piece_file(path: Path) -> PieceFile:
    """Raises CheckpointError for a file that is no SentencePiece model."""
    try:
        return parse_pieces(read_bytes(path, most=MOST_JSON), path)
    except OSError as fault:
        raise CheckpointError(f"{path} is not a SentencePiece model ({fault}); get the file again") from fault


def parse_pieces(content: bytes, path: Path) -> PieceFile:
    """The same of a file that has been read."""
    try:
        file = _parse(content)
    except (ValueError, LookupError, TypeError, struct.error) as fault:  # cut off, or something else entirely
        raise CheckpointError(f"{path} is not a SentencePiece model ({fault}); get the file again") from fault
    if not any(piece.kind == UNKNOWN for piece in file.pieces):
        raise CheckpointError(f"{path} is not a SentencePiece model (no unknown piece); get the file again")
    return file


def _parse(data: bytes) -> PieceFile:
    pieces: list[ScoredPiece] = []
    trainer: dict[int, int | bytes] = {}
    normaliser: dict[int, int | bytes] = {}
    for number, value in _fields(data):
        if number == 1:
            piece = dict(_fields(_bytes(value)))
            [score] = struct.unpack("<f", _bytes(piece.get(2, bytes(4))))
            pieces.append(ScoredPiece(_bytes(piece[1]).decode(), score, _number(piece.get(3, NORMAL))))
        elif number in (2, 3):
            (trainer if number == 2 else normaliser).update(_fields(_bytes(value)))
    return PieceFile(
        pieces,
        unigram=trainer.get(3, UNIGRAM) == UNIGRAM,
        byte_fallback=bool(trainer.get(35, 0)),
        characters=_bytes(normaliser.get(2, b"")),
        dummy_prefix=bool(normaliser.get(3, 1)),
        remove_spaces=bool(normaliser.get(4, 1)),
    )


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The (number, value) of each field of a message; four and eight bytes are left as they are."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind not in (1, 2, 5):
            raise ValueError(f"byte {at} begins no field")
        size, at = _varint(data, at) if kind == 2 else (8 if kind == 1 else 4, at)
        if at + size > len(data):
            raise ValueError(f"it ends within a field of {size} bytes")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError(f"a number before byte {at} has no end")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a text should be")
    return value


def _number(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("a text where a number should be")
    return value
