"""Sounds that a verb works on, wherever they come from: read when they are worked on, also those that last hours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from formers.data.bad_rows import refuse
from formers.data.medium import SOUNDS
from formers.errors import DataError
from formers.systems.inputs import CommandInputs
from formers.systems.media import NamedContents, of_command, of_files, of_request, schema_of
from formers.systems.system import Typed

if TYPE_CHECKING:
    from formers.sound.decode import Samples, Sound

T = TypeVar("T")


@dataclass(frozen=True)
class SoundSource:
    """One sound that is not read yet."""

    name: str
    """Of messages: a path, a row of a table."""
    content: bytes | Path
    """Its file, or where that is."""

    def whole(self, rate: int) -> Sound:
        """All of it at a rate. Raises DataError, as the others do."""
        from formers.sound.decode import decode, resampled

        return resampled(decode(self.content, self.name), rate)

    def pieces(self, rate: int, *, start: float = 0.0, end: float = math.inf) -> Iterator[Samples]:
        """Its samples a piece at a time, so that hours take no more memory than seconds; start, end: in seconds."""
        from formers.sound.decode import stream

        return stream(self.content, self.name, rate, start=start, end=end)

    def seconds(self) -> float:
        """How long it is, as its header says; 0 where that does not."""
        from formers.sound.decode import opened

        with opened(self.content, self.name) as file:
            return file.seconds


class Sounds:
    """Sounds by name."""

    word: ClassVar[str] = "SOUND"
    schema: ClassVar[Mapping[str, Any]] = schema_of("WAV, FLAC, MP3")

    def __init__(self, contents: NamedContents) -> None:
        self.names, self.content = contents

    @classmethod
    def of_files(cls, paths: list[str]) -> Sounds:
        """Sounds of files."""
        return cls(of_files(paths))

    @classmethod
    def of_command(cls, inputs: CommandInputs, typed: Typed, options: Mapping[str, Any]) -> Sounds:
        """Files, patterns, folders, --file or -, as `media.of_command` reads them."""
        return cls(of_command(SOUNDS, cls.word, inputs, typed))

    @classmethod
    def of_request(cls, value: Any, where: str) -> Sounds:
        """A sound in base64, or a list of them."""
        return cls(of_request(SOUNDS, value, where))

    def __len__(self) -> int:
        return len(self.names)

    def worked(self, work: Callable[[SoundSource], Iterable[T]]) -> Iterator[T]:
        """What `work` gives for each sound, but for those that it raises DataError for where these are left out
        (`bad_rows`). Raises DataError for the first else, and where none is left.
        """
        left = False
        for row, name in enumerate(self.names):
            try:
                yield from work(SoundSource(name, self.content(row)))
                left = True
            except DataError as error:
                refuse(error if name in str(error) else DataError(f"{name}: {error}"))
        if not left:
            raise DataError(f"none of the {len(self):,} sound(s) can be used")
