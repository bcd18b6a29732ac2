"""What `encode` gives: texts, pictures or sounds with their vectors, as lines or as one file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from formers.errors import ConfigError, on_a_line, shortened
from formers.files import replace_file
from formers.systems.pictures import Pictures
from formers.systems.system import Event, Progress, Remark, Result
from formers.systems.texts import Texts

if TYPE_CHECKING:
    from PIL.Image import Image

SEEN = 6  # numbers of a vector that are shown


@dataclass(frozen=True)
class Encoded:
    """A text, or a picture or a sound by its name, and its vector."""

    text: str | None
    picture: str | None
    sound: str | None
    vector: Sequence[float]
    """In as few digits as give the float32 back."""

    def line(self) -> str:
        """A look at it."""
        numbers = " ".join(f"{number: .4f}" for number in self.vector[:SEEN])
        more = " ..." if len(self.vector) > SEEN else ""
        name = shortened(on_a_line(self.text or self.picture or self.sound or ""), 60)
        return f"{numbers}{more} ({len(self.vector)})\t{name}"


@dataclass(frozen=True, kw_only=True)
class EncodeEither:
    """What to turn into vectors, by a model that reads pictures, texts, or both."""

    pictures: Pictures | None = None
    """Pictures: files, folders with all below them, patterns."""
    texts: Texts | None = None
    """Texts; - is standard input."""

    def __post_init__(self) -> None:
        if (self.pictures is None) == (self.texts is None):
            raise ConfigError("give pictures or texts, one of them")


@dataclass(frozen=True)
class EncodedInputs:
    """Texts, pictures or sounds and their vectors, a numpy array (inputs, dim): one file, or a line each."""

    names: Sequence[str]
    vectors: Any
    word: Literal["text", "picture", "sound"]
    """What they are."""
    endings: tuple[str, ...] = field(default=(".npy", ".parquet"), metadata={"json": False})

    def results(self) -> Sequence[Result]:
        blank = {"text": None, "picture": None, "sound": None}
        return [
            Encoded(**{**blank, self.word: name}, vector=[float(str(number)) for number in vector])
            for name, vector in zip(self.names, self.vectors, strict=True)
        ]

    def line(self) -> str:
        return "\n".join(result.line() for result in self.results())

    def write(self, path: Path) -> None:
        """Vectors alone (.npy), or with their texts or names."""
        if path.suffix == ".npy":
            import numpy as np

            replace_file(path, lambda beside: np.save(beside, self.vectors))
            return
        from formers.extras import optional

        arrow = optional("pyarrow", "parquet", f"--out {path}")
        parquet = optional("pyarrow.parquet", "parquet", f"--out {path}")
        numbers = arrow.FixedSizeListArray.from_arrays(arrow.array(self.vectors.reshape(-1)), self.vectors.shape[1])
        table = arrow.table({self.word: self.names, "vector": numbers})
        replace_file(path, lambda beside: parquet.write_table(table, beside))


def encoded_pictures(pictures: Pictures, encode: Callable[[Sequence[Image]], Any]) -> Iterator[Event]:
    """The vector of every picture, a group at a time; encode: (pictures, dim) of a group."""
    import numpy as np

    begin, names, parts = time.perf_counter(), list[str](), list[Any]()

    def work(group: Sequence[tuple[str, Image]]) -> Iterator[Event]:
        parts.append(encode([image for _, image in group]))
        names.extend(name for name, _ in group)
        yield Progress(len(names), len(pictures), "encoding")

    yield from pictures.worked(work)
    seconds = time.perf_counter() - begin
    yield Remark(f"{len(names):,} picture(s) in {seconds:.1f} s ({len(names) / max(seconds, 1e-9):,.1f} pictures/s)")
    yield EncodedInputs(names, np.concatenate(parts), "picture")
