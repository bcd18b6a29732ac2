"""What the files in a folder or a column hold, pictures or sounds: how they are known, opened and named.

One table, reader and report serve both; what differs is a value of `Medium`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from formers.data.files import fault, held, listed

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # what the hub calls the table of a folder


@dataclass(frozen=True)
class Medium:
    """Pictures, or sounds."""

    word: str
    """Of messages."""
    column: str
    """What their column is mostly called."""
    endings: tuple[str, ...]
    """Of their files, whatever the case."""
    feature: str
    """The class of such a column in `datasets`."""
    room: str
    """Where files are decoded: a module's name, imported when it is used, because `--help` loads this file."""
    source: tuple[str, str, str, str]
    """What a built-in source has in their place: its module and class, the methods that decode and encode it."""

    @cached_property
    def generated(self) -> type:
        """The class of what a built-in source has in their place."""
        module, name, _, _ = self.source
        return getattr(import_module(module), name)

    def decode(self, content: bytes | Path, name: str) -> Any:
        """The picture or the sound; name: for faults. Raises DataError."""
        return import_module(self.room).decode(content, name)

    def of_generated(self, value: Any) -> Any:
        """The picture or the sound of what is built in."""
        return getattr(value, self.source[2])()

    def encode_generated(self, value: Any) -> bytes:
        """The file of what is built in."""
        return getattr(value, self.source[3])()

    def holds(self, value: Any) -> bool:
        """Whether a value of a column is one, or the path of one; bytes alone may be either."""
        if isinstance(value, Mapping):
            if not {"bytes", "path"} <= value.keys():
                return False
            return self.of_bytes(value["bytes"]) if value["bytes"] else self.holds(value["path"])
        if isinstance(value, bytes):
            return self.of_bytes(value)
        return isinstance(value, self.generated) or (isinstance(value, str) and value.lower().endswith(self.endings))

    def of_bytes(self, content: bytes) -> bool:
        return is_sound(content) == (self is SOUNDS)


def is_sound(content: bytes) -> bool:
    """Whether the beginning of a file is that of a sound; else it is taken for a picture."""
    return (
        (content[:4] in (b"RIFF", b"RF64") and content[8:12] == b"WAVE")
        or content.startswith((b"fLaC", b"OggS", b"ID3", b"FORM", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"\x1a\x45"))
        or (content[4:8] == b"ftyp" and content[8:12] not in (b"avif", b"avis", b"heic", b"mif1"))
    )


PICTURES = Medium(
    "picture",
    "image",
    (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif"),
    "Image",
    "formers.images.decode",
    ("formers.data.builtin.shapes", "Scene", "image", "png"),
)
SOUNDS = Medium(
    "sound",
    "audio",
    (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".m4a", ".mp4", ".webm", ".aac"),
    "Audio",
    "formers.sound.decode",
    ("formers.data.builtin.dialtones", "Dialled", "sound", "wav"),
)
MEDIA = (PICTURES, SOUNDS)


def folder_labels(medium: Medium, name: str, folder: Path, paths: Sequence[str]) -> list[str]:
    """The class of each file: the name of its folder, the first where they are nested.

    Raises DataError: files beside class folders, or no such folders; one that is empty.
    """
    stray = next((path for path in paths if "/" not in path), None)
    if stray is not None:
        beside = "beside class folders" if any("/" in path for path in paths) else "and no class folders"
        fix = (
            f"make a folder of each class and move its {medium.word}s there, or give a table of their paths and labels"
        )
        raise fault(name, f"holds {medium.word}s {beside} ({stray}): {fix}")
    labels = [path.partition("/")[0] for path in paths]
    classes = set(labels)
    empty = [entry for entry in held(name, folder) if entry[0] != "." and entry not in classes]
    empty = [entry for entry in empty if os.path.isdir(folder / entry)]
    if empty:
        fix = f"put {medium.word}s into it ({', '.join(medium.endings)}) or remove it"
        raise fault(name, f"the class folder {listed(empty)} holds no {medium.word}: {fix}")
    return labels


def table_of_folder(folder: Path) -> str | None:
    """The table of its files that a folder holds."""
    return next((name for name in METADATA if os.path.isfile(folder / name)), None)
