"""Search: a folder of pictures and its index, the model that the index is of, and what is like a query.

FOLDER/.formers-index/, or --index PLACE where a folder may not be written, has an index for each model.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from formers.errors import ConfigError, DataError
from formers.fields import Between, Natural, check
from formers.files import expanded, resolved
from formers.phrases import duration
from formers.systems.system import Event, Remark, Typed

if TYPE_CHECKING:
    from PIL.Image import Image

    from formers.systems.picture_search import FoundPicture

PLACE = ".formers-index"
NAMED = 10  # unreadable pictures that are named, when they are met
MOST_DRAWN = 100  # pictures of a sheet


@dataclass(frozen=True, kw_only=True)
class Search:
    """Where to search, and for what."""

    folder: Annotated[Path, Typed("FOLDER", positional=True)]
    """The pictures in it and below it."""
    query: Annotated[str | None, Typed("TEXT", positional=True)] = None
    """What they show, in words."""
    model: Annotated[str | None, Typed("MODEL")] = None
    """CLIP, or for --picture any model of pictures (default: that of the index)."""
    picture: Path | None = None
    """Search for what is like this picture."""
    file: Annotated[str | None, Typed("FILE")] = None
    """Search for each line, or a column's texts; -: standard input."""
    duplicates: Annotated[float | None, Typed("X"), Between(-1, 1)] = None
    """The pairs of pictures that are at least so alike, such as 0.95."""
    top: Natural = 10
    """So many results."""
    index: Annotated[Path | None, Typed("PLACE")] = None
    """Where the index is (default: in the folder, as .formers-index)."""

    def __post_init__(self) -> None:
        check(self)
        if sum(each is not None for each in (self.query, self.picture, self.file, self.duplicates)) > 1:
            raise ConfigError("give words, --picture, --file or --duplicates, one of them")
        if self.query is not None and not self.query.strip():
            raise ConfigError('the words to search for are empty: formers search FOLDER "a red apple"')

    def words(self) -> list[str]:
        """The queries that are texts. Raises DataError for one that is empty."""
        from formers.systems.inputs import CommandInputs
        from formers.systems.texts import Texts

        if self.file is None:
            return [self.query] if self.query is not None else []
        return Texts.of_command(CommandInputs(file=self.file), Typed(), {}).filled(what="search for")[1]


def search(
    folder: str | Path,
    query: str | None = None,
    *,
    model: str | Path | None = None,
    picture: str | Path | None = None,
    top: int = 10,
    index: str | Path | None = None,
    opening: Mapping[str, Any] | None = None,
) -> list[FoundPicture]:
    """The pictures of a folder that show what the words say, or are like a picture, best first; see `Search`.

    opening: how the model is opened, as `formers.load` takes it. Raises FormersError as the command does.
    """
    from formers.systems.picture_search import FoundPicture

    options = Search(
        folder=Path(folder),
        query=query,
        model=None if model is None else str(model),
        picture=None if picture is None else Path(picture),
        top=top,
        index=None if index is None else Path(index),
    )
    return [event for event in searching(options, opening or {}) if isinstance(event, FoundPicture)]


def searching(options: Search, opening: Mapping[str, Any], sheet: Path | None = None) -> Generator[Event, None, None]:
    """What is found, best first, after the index was brought up to date; without a query that alone.

    opening: how the model is opened, as `formers.load` takes it; sheet: the file of a picture of what is found.
    """
    from formers.systems.picture_search import FoundPicture, PictureFolder, PicturePair, picture_of
    from formers.systems.vectors.collection import UNREADABLE, of_model, update
    from formers.systems.vectors.mining import mine
    from formers.training.lock import hold

    began, words, folder = time.perf_counter(), options.words(), PictureFolder(expanded(options.folder))
    stamps = folder.stamps()
    query = None
    if options.picture is not None:  # whose fault is said before a model is opened
        query = picture_of(expanded(options.picture), str(options.picture))
    place = folder.folder / PLACE
    if options.index is not None:  # which may be one place of many folders
        place = expanded(options.index) / hashlib.sha256(os.fsencode(resolved(folder.folder))).hexdigest()[:16]
    encoder, model, about = opened(options, opening, place)
    with writable(place), hold(place, "updates this index", "keep another one (--index PLACE)"):
        path, index = of_model(place, model, about)
        new = yield from update(index, path, stamps, lambda keys: folder.encoding(encoder, keys), "reading pictures")
    faults = index.about[UNREADABLE]
    fresh = [faults[key][1] for key in new if key in faults]
    if new:
        seconds = time.perf_counter() - began
        yield Remark(f"{len(new):,} picture(s) read in {duration(seconds)}; {len(index):,} are in the index {path}")
    yield from map(Remark, fresh[:NAMED])
    if faults and len(index):
        first = "" if fresh else f"; the first: {next(iter(faults.values()))[1]}"
        yield Remark(f"left out: {len(faults):,} picture(s) that cannot be used{first}")
    if not len(index):
        first = next(iter(faults.values()))[1]
        raise DataError(f"{options.folder}: none of its {len(stamps):,} pictures can be used; the first: {first}")
    if options.duplicates is not None:
        keys = [os.path.join(options.folder, key) for key in index.keys]
        pairs = yield from mine(index.vectors, threshold=options.duplicates)
        alike = [PicturePair(round(pair.score, 6), keys[pair.first], keys[pair.second]) for pair in pairs]
        yield from alike
        yield Remark(f"{len(pairs):,} pair(s) of {len(index):,} pictures at {options.duplicates:g} or more")
        both = [FoundPicture(rank, pair.score, path) for rank, pair in enumerate(alike, 1)
                for path in (pair.first, pair.second)]  # fmt: skip
        yield from drawn(both, f"pairs at {options.duplicates:g} or more", sheet)
        return
    if query is not None:
        names = [str(options.picture)]
        vectors = encoder.encode_pictures([picture_of(expanded(names[0]), names[0], encoder)])
    elif words:
        names, vectors = words, encoder.encode_texts(words)
    else:
        yield Remark(f'{len(index):,} picture(s) are ready: formers search {options.folder} "a red apple"')
        return
    results = [
        FoundPicture(rank, round(score, 6), os.path.join(options.folder, key), name if len(names) > 1 else None)
        for name, found in zip(names, index.search(vectors, options.top, model=model), strict=True)
        for rank, (key, score) in enumerate(found, 1)
    ]
    yield from results
    yield from drawn(results, names[0] if len(names) == 1 else f"{len(names)} queries", sheet, query)


def drawn(
    results: Sequence[FoundPicture], title: str, sheet: Path | None, query: Image | None = None
) -> Iterator[Remark]:
    """Draw results, where that is asked for; says what was drawn."""
    from formers.systems.picture_search import write_sheet

    if sheet is None:
        return
    if not results:
        yield Remark(f"{sheet} is not written: there is nothing to draw")
        return
    write_sheet(results[:MOST_DRAWN], title, sheet, query)
    more = f", the first {MOST_DRAWN} of {len(results):,} pictures" if len(results) > MOST_DRAWN else ""
    yield Remark(f"wrote {sheet}{more}")


def opened(options: Search, opening: Mapping[str, Any], place: Path) -> tuple[Any, str, dict[str, Any]]:
    """What makes the vectors, its fingerprint, and how it was opened; the index says it where no model is named.

    Raises ConfigError for a model that has no vectors for such queries, and for one that was another when the index
    was made.
    """
    from formers.registry import load
    from formers.systems.picture_search import PictureEncoder, WordsEncoder, fingerprint_of
    from formers.systems.vectors.collection import the_only

    name, dtype, before = options.model, opening.get("dtype"), None
    if name is None:
        before = the_only(place)
        name, dtype = before.about["model"], dtype or before.about["dtype"]
    encoder = load(name, **{**opening, "dtype": dtype})
    if not isinstance(encoder, PictureEncoder):
        raise ConfigError(f"{name} makes no vectors of pictures: give --model a CLIP, or for --picture a ViT or ResNet")
    if (options.query or options.file) and not isinstance(encoder, WordsEncoder):
        raise ConfigError(f"{name} knows pictures and no words: search with --picture FILE, or give --model a CLIP")
    model = fingerprint_of(encoder)
    if before is not None and model != before.model:
        raise ConfigError(f"{name} is not what it was when the index was made: give --model {name} to make it anew")
    return encoder, model, {"model": name, "dtype": dtype}


@contextmanager
def writable(place: Path) -> Iterator[None]:
    """A place for an index, which is made. Raises ConfigError where that may not be."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as fault:
        if fault.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ConfigError(f"{place} cannot be written ({fault.strerror}): give --index PLACE for it") from fault
        raise
