"""Files that are there whole or not at all, flushed to the disk, and JSON with one clear line per fault."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from formers import shapes
from formers.errors import CheckpointError, FormersError

TEMPORARY = ".tmp-"  # begins the names of what is being written, or removed: a kill may leave such files
MOST_JSON = 100 * 2**20  # bytes: tokenizers of a quarter of a million words have 35 MB
MOST_TEXT = 2**20  # bytes of a chat template, a recipe
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")  # what only half of a character is written with
Content = bytes | Callable[[Path], None]  # of a file, or what writes it


def as_json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n").encode()


def read_json(path: Path, shape: Any = dict[str, Any], *, most: int = MOST_JSON) -> Any:
    """What a JSON file holds: an object, or what the type hint `shape` says (see `formers.shapes`).

    Raises CheckpointError when the file is missing, unreadable, larger than `most` bytes or of another shape.
    """
    try:
        return parse_json(read_bytes(path, most=most), shape, str(path))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} has no {path.name}") from None
    except OSError as fault:
        raise CheckpointError(f"cannot read {path}: {fault.strerror}") from fault


def read_bytes(path: Path, *, most: int) -> bytes:
    """A regular file of at most `most` bytes. Raises CheckpointError for anything else, OSError."""
    regular(path)
    if (size := path.stat().st_size) > most:
        raise CheckpointError(f"{path} is {size:,} bytes long, expected at most {most:,}")
    return path.read_bytes()


def read_source(
    path: Path, *, folder: Path | None = None, option: str = "", error: type[FormersError] = CheckpointError
) -> str:
    """A text that is obeyed: a recipe, a template. folder: it may not be a link out of it; option: that named it.

    Raises `error` for what is no regular file, too long, not UTF-8, or elsewhere.
    """
    what = f"{option} {path}".strip()
    try:
        if folder is not None and leads_out(path, folder):
            raise error(f"{what} is a link to a file outside of its folder; put the file itself there")
        return read_bytes(path, most=MOST_TEXT).decode("utf-8")
    except CheckpointError as fault:
        raise error(str(fault)) from fault
    except FileNotFoundError:
        raise error(f"{what}: there is no such file") from None
    except UnicodeDecodeError as fault:
        raise error(f"{what} is no text in UTF-8 (byte {fault.start:,}); save it as UTF-8") from fault
    except (OSError, ValueError) as fault:
        raise error(f"{what} cannot be read ({fault})") from fault


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a path in a folder is a link that ends elsewhere; in a hub's cache all files are links to its blobs."""
    folder, place = resolved(folder), resolved(path)
    blobs = folder.parents[1] / "blobs" if folder.parent.name == "snapshots" else folder
    return not (place.is_relative_to(folder) or place.is_relative_to(blobs))


def resolved(path: Path) -> Path:
    """Where a path leads; a circle of links, for which `Path.resolve` raises a fault of its own, leads to itself."""
    return Path(os.path.realpath(path))


def expanded(path: str | Path) -> Path:
    """The path with ~ as the home folder; an unknown ~user stays as it is written."""
    return Path(os.path.expanduser(path))


def regular(path: Path) -> Path:
    """The path, of what is there and is a file. Raises CheckpointError for a pipe or device, which would never end."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise CheckpointError(f"{path} is {'a folder' if stat.S_ISDIR(mode) else 'no regular file'}, expected a file")
    return path


def parse_json(
    text: str | bytes,
    shape: Any,
    what: str,
    *,
    error: type[FormersError] = CheckpointError,
    fix: str = "get the file again",
) -> Any:
    """The value of a JSON text that has the shape of a type hint. Raises `error`, which begins with `what`.

    fix: what to do about a text that is no JSON.
    """
    try:
        value = json.loads(text, parse_constant=_finite, parse_float=_finite)
        if _SURROGATE.search(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as fault:
        raise error(f"{what} is nested too deeply to be read") from fault
    except UnicodeEncodeError as fault:
        raise error(f"{what} holds half of a character (a lone surrogate), which is no text") from fault
    except ValueError as fault:
        raise error(f"{what} is not valid JSON ({fault}); {fix}") from fault
    if message := shapes.fault(value, shape):
        raise error(f"{what}: {message}")
    return value


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"{digits:.40} is no finite number")
    return value


def write_file(path: Path, content: Content) -> None:
    """Write a file, and the folder that it is in. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)


def replace_file(path: Path, content: Content) -> None:
    """Write a file, and the folder that it is in, whole or not at all. Raises OSError, which names it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(path) as beside:
        write_file(beside, content)


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """A new file beside `path`, of the same ending, to write into; then it takes that place, or is gone after a fault.

    A link goes on leading there; a pipe or device is written itself. Raises OSError, which names `path`.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    place, beside = resolved(path), None
    try:
        mode = place.stat().st_mode & 0o777 if place.exists() else 0o666 & ~_umask()
        beside = _beside(place)
        yield beside
        flush(beside)
        beside.chmod(mode)
        beside.replace(place)
    except OSError as fault:
        if fault.filename not in (None, str(beside)) or isinstance(fault, ConnectionError):
            raise  # not of this file: of what is read for it, or of a pipe
        reason = fault.strerror or f"only a part could be written ({fault}); is the disk full?"  # so numpy tells it
        raise OSError(fault.errno or errno.EIO, reason, str(path)) from fault
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)


def try_file(path: Path) -> None:
    """Find out now whether a file can be written at `path` later. Raises OSError, which names it."""
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    if path.exists() and not path.is_file():
        return
    try:
        beside = _beside(resolved(path))
        try:
            beside.write_bytes(b"0")
            flush(beside)
        finally:
            beside.unlink()
    except OSError as fault:
        raise OSError(fault.errno, fault.strerror, str(path)) from fault


def try_folder(path: Path, *, overwrite: bool) -> None:
    """Find out now whether a folder can be written later. Raises CheckpointError for one that is there and not empty,
    unless `overwrite`, and for a file; OSError, which names it.
    """
    if path.exists() and not path.is_dir():
        raise CheckpointError(f"cannot write the folder {path}: a file of that name exists")
    if path.is_dir() and not overwrite and any(path.iterdir()):
        raise CheckpointError(f"{path} is not empty; name another folder, or give --overwrite")
    above = next(parent for parent in path.absolute().parents if parent.is_dir())
    try:
        try_file(above / f"{TEMPORARY}{path.name}")
    except OSError as fault:
        raise OSError(fault.errno, fault.strerror, str(path)) from fault


@contextmanager
def text_file(path: Path) -> Iterator[TextIO]:
    """A file of text that takes its place when it is whole."""
    with replaced_file(path) as beside, beside.open("w", encoding="utf-8") as file:
        yield file


@contextmanager
def replaced_folder(path: Path, keep: Callable[[str], bool] = lambda name: False) -> Iterator[Path]:
    """A new folder beside `path` to write into; then it is flushed and takes that place, or is gone after a fault.

    keep: names in the folder of before that stay where the new one lacks them. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{path.name}-", dir=path.parent))
    try:
        yield fresh
        mask = _umask()  # which not every writer of a file asks for
        for written in [*fresh.rglob("*"), fresh]:
            written.chmod((0o777 if written.is_dir() else 0o666) & ~mask)
            flush(written)
        _swap(fresh, path, keep)
        flush(path.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder: first its name, so that a half-removed one is never taken for whole. Raises OSError."""
    if path.exists():
        doomed = path.with_name(f"{TEMPORARY}old-{path.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        path.rename(doomed)
        shutil.rmtree(doomed)


def remove_leftovers(folder: Path) -> None:
    """Remove what an interrupted write left in a folder. Raises OSError."""
    for path in folder.glob(f"{TEMPORARY}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def flush(path: Path) -> None:
    """Make sure that a file, or the names in a folder, are on the disk and not only in memory. Raises OSError."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot flush a folder
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(fresh: Path, path: Path, keep: Callable[[str], bool]) -> None:
    """Put `fresh` where `path` is, and what is kept of `path` into it."""
    if not path.exists():
        fresh.rename(path)
        return
    kept = [entry.name for entry in path.iterdir() if keep(entry.name)]
    old = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}old-{path.name}-", dir=path.parent))
    path.rename(old / "folder")
    try:
        fresh.rename(path)
    except OSError:
        (old / "folder").rename(path)
        old.rmdir()
        raise
    for name in kept:
        if not (path / name).exists():
            (old / "folder" / name).rename(path / name)
    shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path) -> Path:
    """A new and empty file in the folder of `path`, of the same ending."""
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=path.suffix, dir=path.parent)
    os.close(descriptor)
    return Path(name)


def _umask() -> int:
    """The mask of new files; reading it means setting it, for an instant."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
