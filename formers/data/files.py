"""Files of data: what is wrong with one in one line, which paths a name means, the text of a file within a budget."""

from __future__ import annotations

import glob
import gzip
import os
import stat
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from formers.data.bad_rows import are_left_out, refuse
from formers.data.limits import budget
from formers.errors import DataError, near, nearest

SHOWN = 12  # names listed in an error before "and 29 more": an error stays one readable line
COMPRESSED = ".gz"
LINE_FEED = b"\n"
CHUNK = 2**20  # bytes that are unpacked at a time
# How a file begins that is no text -> what it is, and the cure
FOREIGN = {
    b"\x1f\x8b": "a gzip file: let its name end in .gz",
    b"PK\x03\x04": "a zip file or a spreadsheet: unpack it, or save its sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet: save its sheet as CSV",
    b"PAR1": "a Parquet file: let its name end in .parquet",
    b"\x28\xb5\x2f\xfd": "packed by zstd: unpack it, or pack it with gzip",
    b"BZh": "packed by bzip2: unpack it, or pack it with gzip",
    b"\xfd7zXZ": "packed by xz: unpack it, or pack it with gzip",
    b"SQLite format 3": "a database: write its table as CSV",
    b"%PDF-": "a PDF: save its text",
    b"version https://git-lfs": "only the pointer to a file of Git LFS: fetch the file with git lfs pull",
    b"<!doctype html": "a web page, not the file that it links to: download that",
    b"<html": "a web page, not the file that it links to: download that",
}
# Byte order marks -> the encoding; that of four bytes begins with that of two
MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


class MissingColumn(DataError):
    """A source without columns that are wanted: `columns`."""

    def __init__(self, message: str, columns: Sequence[str]) -> None:
        super().__init__(message)
        self.columns = tuple(columns)


def located(name: str) -> Path:
    """The path that a name means; unlike Path.expanduser, an unknown `~user` stays as it is written."""
    return Path(os.path.expanduser(name))


def ending(name: str) -> str:
    """The ending that names the format: `.tsv` of `Train.TSV.gz`; `.parquet.gz` is none and stays."""
    path = Path(name)
    last = path.suffix.lower()
    if last != COMPRESSED:
        return last
    inner = Path(path.stem).suffix.lower()
    return inner if inner and inner != ".parquet" else inner + COMPRESSED


# ---- faults ------------------------------------------------------------------------------------------------


def fault(where: str, what: str) -> DataError:
    """One line, whatever a file name, a value or a library's message contains."""
    return DataError(_joined(where, what))


def _joined(where: str, what: str) -> str:
    return "\\n".join(line for line in f"{where}: {what}".splitlines() if line.strip())


def quoted(value: object) -> str:
    """A value for a message: quoted, and cut when long."""
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..." + ('"' if isinstance(value, str) else "")


def listed(names: Iterable[str]) -> str:
    """`a, b, c and 29 more`."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(quoted(str(name))[1:-1] for name in names[:SHOWN]) + more


def matching(pattern: Path) -> list[str]:
    """The files that match a pattern, sorted."""
    return sorted(path for path in glob.glob(str(pattern), recursive=True) if os.path.isfile(path))


def held(name: str, folder: Path) -> list[str]:
    """The names in a folder, sorted."""
    try:
        return sorted(os.listdir(folder))
    except PermissionError:
        raise fault(name, f"no permission to read the folder {folder}") from None


def missing(name: str, path: Path) -> DataError:
    """Why a path does not exist: the deepest folder that does, and what in it is meant."""
    folder, lost = path.parent, path
    while not os.path.isdir(folder) and folder != folder.parent:
        folder, lost = folder.parent, folder
    names = held(name, folder)
    if lost.name in names:
        reason = "a link to nothing, a file taken for a folder, or no permission"
        return fault(name, f"{lost} cannot be followed: {reason}")
    close = near(lost.name, names)
    step = "does not exist" if lost == path else f"does not exist, for there is no {quoted(lost.name)}"
    if close:
        return fault(name, f'{step}; the folder {folder} does and holds "{close}": did you mean that?')
    what = f"holds {listed(names)}" if names else "is empty"
    return fault(name, f"{step}; the folder {folder} does and {what}")


def no_column(
    where: str, wanted: Sequence[str], columns: Sequence[str], word: str = "column", hint: str = ""
) -> MissingColumn:
    """Wanted columns of which one at least is not there: those that are, and the nearest."""
    lacking = [column for column in wanted if column not in columns]
    close = nearest(lacking[0], columns) if near(lacking[0], columns) else ""
    there = f"the {word}s are {listed(columns) or 'none'}{close}{hint}"
    return MissingColumn(_joined(where, f"no {word} {quoted(lacking[0])}; {there}"), lacking)


# ---- text --------------------------------------------------------------------------------------------------


def read_text(name: str) -> str:
    """The text of a UTF-8 file (UTF-16 and -32 with their mark too), plain or .gz, without byte order mark.

    Lines that end in a lone carriage return, as long ago, end in a line feed. Faults name line and byte, from 1.
    """
    return decoded(name, read_data(name))


def read_data(name: str) -> bytes:
    """The bytes of a file of text, unpacked. Raises DataError for what begins like something else."""
    data = _unpacked(name, located(name))
    start = data[:32].lower()
    for sign, what in FOREIGN.items():
        if start.startswith(sign.lower()):
            raise fault(name, f"is no text, but {what}")
    return data


def decoded(name: str, data: bytes, line: int = 1) -> str:
    """Bytes that begin on a line of a file as text. Raises DataError with line and byte for what is none."""
    encoding = next((encoding for mark, encoding in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding.startswith(("utf-16", "utf-32")):
            got = f"byte {error.start + 1} is no {encoding.upper()} ({error.reason}); save it as UTF-8"
            raise fault(name, got) from None
        got = f"got 0x{data[error.start]:02x}, expected UTF-8"
        hint = "perhaps it is Latin-1 or Windows-1252: save the file as UTF-8"
        hint = "it is no text but a binary file: give a file of text, or a table" if b"\0" in data else hint
        raise fault(f"{name}, {_place(data, error.start, line)}", f"{got}; {hint}") from None
    if "\0" in text:
        data = text[: text.index("\0")].encode()
        hint = "perhaps it is UTF-16: save the file as UTF-8; else remove it, for example with tr -d '\\000'"
        raise fault(f"{name}, {_place(data, len(data), line)}", f"got 0x00, which is no text; {hint}")
    return text if "\n" in text else text.replace("\r", "\n")


def _place(data: bytes, at: int, line: int) -> str:
    """Where a byte is, from 1, of data that begin on a line."""
    return f"line {data.count(LINE_FEED, 0, at) + line}, byte {at - data.rfind(LINE_FEED, 0, at)}"


def _unpacked(name: str, path: Path) -> bytes:
    """The bytes of a regular file, unpacked where it is .gz. Raises DataError: no such file, over the budget."""
    allowed = budget()
    try:
        allowed.check(name, bytes=(packed := regular(name)))
        if path.suffix.lower() != COMPRESSED:
            return path.read_bytes()
        chunks, size, allowed = [], 0, allowed.of_packed(packed)
        with gzip.open(path) as file:
            while chunk := file.read(CHUNK):
                size += len(chunk)
                allowed.check(f"{name}, unpacked", bytes=size)
                chunks.append(chunk)
    except FileNotFoundError:
        raise missing(name, path) from None
    except PermissionError:
        raise fault(name, "no permission to read it; allow it with: chmod u+r") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise fault(name, f"broken gzip file ({error}); copy or compress it again") from None
    except OSError as error:
        raise fault(name, f"cannot be read ({error.strerror or error})") from None
    data = b"".join(chunks)
    if data.startswith(b"\x1f\x8b"):
        raise fault(name, "is a gzip file within a gzip file; unpack it once")
    return data


def regular(name: str) -> int:
    """The bytes of what is there. Raises DataError for a folder, and for a pipe or device, which may never end."""
    status = located(name).stat()
    if stat.S_ISDIR(status.st_mode):
        raise fault(name, "is a folder, expected a file")
    if not stat.S_ISREG(status.st_mode):
        raise fault(name, "is no regular file but a pipe or a device, expected a file; - is standard input")
    return status.st_size


def text_lines(name: str) -> list[str]:
    """The lines of a text file. Only a line feed ends one: `str.splitlines` would cut at U+2028 as well."""
    return list(numbered_lines(name).values())


def numbered_lines(name: str) -> dict[int, str]:
    """The lines of a text file by number, from 1; one that is no text is a fault of its own (`bad_rows`)."""
    data = read_data(name)
    try:
        text = decoded(name, data)
    except DataError as error:
        if not are_left_out() or data.startswith(tuple(MARKS)):
            raise
        budget().check(name, rows=data.count(LINE_FEED))
        lines: dict[int, str] = {}
        for number, line in enumerate(data.removesuffix(LINE_FEED).split(LINE_FEED), 1):
            try:
                lines[number] = decoded(name, line, number)
            except DataError as wrong:
                refuse(wrong)
        if not lines:
            raise error from None
    else:
        budget().check(name, rows=text.count("\n"))  # before an object is made of each
        lines = dict(enumerate(text.removesuffix("\n").split("\n"), 1)) if text else {}
    return {number: line.removesuffix("\r") for number, line in lines.items()}
