"""Pictures that a verb works on, wherever they come from: decoded a group at a time, under the names of messages."""

from __future__ import annotations

import base64
import binascii
import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from formers.data.bad_rows import refuse
from formers.data.medium import PICTURES
from formers.errors import ConfigError, DataError, shown
from formers.files import expanded
from formers.systems.inputs import CommandInputs
from formers.systems.system import Typed

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")
GROUP = 64  # pictures that are decoded and worked on together


class Pictures:
    """Pictures by name, each decoded when it is worked on."""

    word: ClassVar[str] = "PICTURE"
    schema: ClassVar[Mapping[str, Any]] = {
        "type": "array",
        "items": {
            "type": "string",
            "contentEncoding": "base64",
            "description": "A PNG, JPEG or other file in base64; a data: URL too.",
        },
    }

    def __init__(self, names: Sequence[str], image: Callable[[int], Image]) -> None:
        """image: the picture of a number from 0, RGB and upright, which raises DataError for what is none."""
        self.names, self.image = names, image

    @classmethod
    def of_files(cls, paths: Sequence[str]) -> Pictures:
        """Pictures of files."""
        from formers.images.decode import decode

        return cls(paths, lambda row: decode(expanded(paths[row]), paths[row]))

    @classmethod
    def of_contents(cls, contents: Sequence[bytes], names: Sequence[str]) -> Pictures:
        """Pictures that are in memory, as files have them."""
        from formers.images.decode import decode

        return cls(names, lambda row: decode(contents[row], names[row]))

    @classmethod
    def of_command(cls, inputs: CommandInputs, typed: Typed, options: Mapping[str, Any]) -> Pictures:
        """Arguments are files, patterns, and folders with all pictures below; --file is a list of paths, or a table
        with pictures in a column; - is one picture on standard input.
        """
        standard = inputs.arguments == ("-",) or inputs.file == "-"
        inputs = inputs.checked(cls.word, typed)
        if standard:
            return cls.of_contents([sys.stdin.buffer.read()], ["standard input"])
        if inputs.file is None:
            if not inputs.arguments:
                raise ConfigError("there is no picture: give files, folders or patterns, --file, or - for one on "
                                  "standard input")  # fmt: skip
            return cls.of_files([path for name in inputs.arguments for path in files_of(name)])
        from formers.data.documents import TABLES
        from formers.data.files import ending, numbered_lines

        named = inputs.file.startswith(("hf:", "builtin:")) or os.path.isdir(expanded(inputs.file))
        if inputs.column or named or ending(inputs.file) in TABLES:
            from formers.data.pictures import read_pictures

            table = read_pictures(inputs.file, image=inputs.column or "image")
            return cls([table.where(row) for row in range(len(table))], table.image)
        lines = [line for line in numbered_lines(inputs.file).values() if line.strip()]
        beside = expanded(inputs.file).parent
        paths = [line if os.path.exists(expanded(line)) else str(beside / line) for line in lines]
        return cls.of_files(paths)

    @classmethod
    def of_request(cls, value: Any, where: str) -> Pictures:
        """A picture in base64, or a list of them."""
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise ConfigError(f"{where}: got {shown(value)}, expected a picture in base64, or a list of such")
        names = [f"{where} {number} of {len(texts)}" for number in range(1, len(texts) + 1)]
        return cls.of_contents([unwrapped(text, name) for text, name in zip(texts, names, strict=True)], names)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[list[tuple[str, Image]]]:
        """(name, picture) of a group at a time, without those that are left out (`bad_rows`).

        Raises DataError for what is no picture, and where none is left.
        """
        left = False
        for start in range(0, len(self), GROUP):
            group = []
            for row in range(start, min(start + GROUP, len(self))):
                try:
                    group.append((self.names[row], self.image(row)))
                except DataError as error:
                    refuse(error)
            if group:
                left = True
                yield group
        if not left:
            raise DataError(f"none of the {len(self):,} picture(s) can be used")

    def worked(self, work: Callable[[list[tuple[str, Image]]], Iterable[T]]) -> Iterator[T]:
        """What `work` gives for each group."""
        for group in self:
            yield from work(group)


def files_of(name: str) -> list[str]:
    """The file of this name, those that a pattern matches, or all pictures in a folder and below it, sorted.

    Raises DataError where there is none.
    """
    path = expanded(name)
    if os.path.isdir(path):
        files = (os.path.join(folder, file) for folder, _, names in os.walk(path) for file in names)
        if found := sorted(file for file in files if Path(file).suffix.lower() in PICTURES.endings):
            return found
        raise DataError(
            f"{name}: a folder without a picture; expected files that end in {', '.join(PICTURES.endings[:4])} ..."
        )
    if os.path.exists(path):
        return [name]
    if glob.has_magic(name) and (found := sorted(glob.glob(str(path), recursive=True))):
        return found
    raise DataError(f"{name}: there is no such picture, folder or pattern; give the path of a picture file")


def unwrapped(text: str, where: str) -> bytes:
    """The bytes of base64, which may be a data: URL."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise DataError(f"{where}: got {shown(text)}, expected the bytes of a picture in base64") from None
