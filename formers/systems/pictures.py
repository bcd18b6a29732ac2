"""Pictures that a verb works on, wherever they come from: decoded a group at a time, under the names of messages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from formers.data.bad_rows import refuse
from formers.data.medium import PICTURES
from formers.errors import ConfigError, DataError, shown
from formers.files import expanded
from formers.systems.inputs import CommandInputs
from formers.systems.media import NamedContents, of_command, of_files, of_request, schema_of
from formers.systems.system import Typed

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")
GROUP = 64  # pictures that are decoded and worked on together


class Pictures:
    """Pictures by name, each decoded when it is worked on."""

    word: ClassVar[str] = "PICTURE"
    schema: ClassVar[Mapping[str, Any]] = schema_of("PNG, JPEG")

    def __init__(self, names: Sequence[str], image: Callable[[int], Image]) -> None:
        """image: the picture of a number from 0, RGB and upright, which raises DataError for what is none."""
        self.names, self.image = names, image
        self.requested = False  # a request takes what comes of each; a command line needs a place for it

    @classmethod
    def of_named(cls, contents: NamedContents) -> Pictures:
        """Pictures of files that are somewhere, or in memory."""
        names, content = contents
        return cls(names, lambda row: PICTURES.decode(content(row), names[row]))

    @classmethod
    def of_files(cls, paths: Sequence[str]) -> Pictures:
        """Pictures of files."""
        return cls.of_named(of_files(paths))

    @classmethod
    def of_command(cls, inputs: CommandInputs, typed: Typed, options: Mapping[str, Any]) -> Pictures:
        """Files, patterns, folders, --file or -, as `media.of_command` reads them."""
        return cls.of_named(of_command(PICTURES, cls.word, inputs, typed))

    @classmethod
    def of_request(cls, value: Any, where: str) -> Pictures:
        """A picture in base64, or a list of them."""
        pictures = cls.of_named(of_request(PICTURES, value, where))
        pictures.requested = True
        return pictures

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
            raise self.none_left()

    def none_left(self) -> DataError:
        return DataError(f"none of the {len(self):,} picture(s) can be used")

    def worked(self, work: Callable[[list[tuple[str, Image]]], Iterable[T]], *, alone: bool = False) -> Iterator[T]:
        """What `work` gives for each group (alone: each picture), without the pictures that it raises DataError for
        where such are left out (`bad_rows`). Raises DataError for the first else, and where none is left."""
        left = False
        for group in self:
            parts = [[picture] for picture in group] if alone else [group]
            while parts:
                part = parts.pop(0)
                try:
                    yield from list(work(part))
                    left = True
                except DataError as error:
                    if len(part) == 1:
                        refuse(error)
                    parts += [[picture] for picture in part if len(part) > 1]
        if not left:
            raise self.none_left()


def are_pictures(inputs: CommandInputs) -> bool:
    """Whether inputs that may be texts or pictures are pictures: files or patterns of such, folders, or a file with a
    column of pictures or a list of their paths. Standard input has texts. Raises ConfigError for some of both.
    """
    names: Sequence[str] = inputs.arguments
    if inputs.file not in (None, "-"):
        from formers.data.files import numbered_lines
        from formers.data.media_columns import first_row

        if row := first_row(inputs.file, "train"):
            return PICTURES.holds(row.get(inputs.column or PICTURES.column))
        names = [line for line in numbered_lines(inputs.file).values() if line.strip()][:1]
    are = [name.lower().endswith(PICTURES.endings) or os.path.exists(expanded(name)) for name in names]
    if any(are) and not all(are):
        one, other = names[are.index(True)], names[are.index(False)]
        raise ConfigError(f"got the picture {one} and the text {shown(other)}: give pictures or texts, not both")
    return any(are)
