"""WebDataset: tar files whose members with one name up to the first dot are a row; their files stay where they are."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from formers.data.bad_rows import refuse
from formers.data.files import decoded, fault, located, missing, no_column, regular
from formers.data.limits import budget
from formers.data.medium import Medium
from formers.errors import DataError


class TarMember(NamedTuple):
    """A picture or sound in a tar file."""

    file: str
    name: str
    start: int
    size: int

    def read(self) -> bytes:
        """Its bytes. Raises OSError."""
        with open(located(self.file), "rb") as file:
            file.seek(self.start)
            return file.read(self.size)

    @property
    def place(self) -> str:
        return f"{self.file}, {self.name}"


def read_archives(
    medium: Medium, name: str, files: Sequence[str], columns: Sequence[str], column: str
) -> tuple[list[TarMember], dict[str, list]]:
    """The media of tar files, and the wanted columns beside them: `text` of .txt, `label` of .cls, keys of .json.

    Texts are read, files only located. Raises DataError: a broken or packed file, links and other odd members, a
    name twice, a row without a file or a wanted column.
    """
    media: list[TarMember] = []
    values: dict[str, list] = {column: [] for column in columns}
    allowed, size = budget(), 0
    for file in files:
        for stem, parts in grouped(file).items():
            size += sum(member.size for kind, member in parts.items() if f".{kind}" not in medium.endings)
            allowed.check(name, rows=len(media) + 1, bytes=size)
            try:
                member, row = row_of(medium, f"{file}, {stem}", parts, columns, column)
            except DataError as error:
                refuse(error)
                continue
            media.append(member)
            for wanted in columns:
                values[wanted].append(row[wanted])
    return media, values


def row_of(
    medium: Medium, where: str, parts: dict[str, TarMember], columns: Sequence[str], column: str
) -> tuple[TarMember, dict[str, Any]]:
    """The picture or sound of a row, and what stands beside it where columns are wanted."""
    found = [kind for kind in parts if f".{kind}" in medium.endings]
    if len(found) != 1:
        got = f"{len(found)} {medium.word}s" if found else f"no {medium.word}"
        raise fault(where, f"a row with {got}, expected one: its members are {', '.join(parts)}")
    row = dict(fields(parts)) if columns else {}
    if any(wanted not in row for wanted in columns):
        raise no_column(where, columns, [column, *row])
    return parts[found[0]], row


def grouped(file: str) -> dict[str, dict[str, TarMember]]:
    """Name up to the first dot -> ending -> member, in the order of the file."""
    path = located(file)
    if not os.path.exists(path):
        raise missing(file, path)
    size = regular(file)
    if not file.lower().endswith(".tar"):
        raise fault(file, "a packed tar file cannot be read in any order; unpack it to .tar (gunzip)")
    rows: dict[str, dict[str, TarMember]] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for entry in archive:
                archive.members.clear()  # type: ignore[attr-defined]  # else all of a large file are kept
                if entry.isdir():
                    continue
                where = f"{file}, {entry.name}"
                if not entry.isreg() or entry.issparse():
                    kind = "a link" if entry.issym() or entry.islnk() else "no plain file"
                    raise fault(where, f"is {kind}, expected plain files only; write the tar file without it")
                if entry.offset_data + entry.size > size:
                    raise fault(where, "is cut off: the tar file ends before it; copy it again")
                folder, _, last = entry.name.rpartition("/")
                stem, _, kind = last.partition(".")
                if not stem:
                    continue  # hidden
                parts = rows.setdefault(f"{folder}/{stem}" if folder else stem, {})
                if kind.lower() in parts:
                    raise fault(where, "stands twice in the tar file; a name up to its first dot is one row")
                parts[kind.lower()] = TarMember(file, entry.name, entry.offset_data, entry.size)
    except PermissionError:
        raise fault(file, "no permission to read it; allow it with: chmod u+r") from None
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        raise fault(file, f"broken tar file ({error}); copy or write it again") from None
    return rows


def fields(parts: dict[str, TarMember]) -> Iterator[tuple[str, Any]]:
    """(column, value) of what stands beside the file of a row."""
    for kind, member in parts.items():
        if kind not in ("txt", "cls", "json"):
            continue
        text = decoded(member.place, member.read()).strip()
        if kind == "txt":
            yield "text", text
        elif kind == "cls":
            yield "label", int(text) if text.isascii() and text.isdecimal() else text
        else:
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise fault(member.place, f"bad JSON: {error}") from None
            if not isinstance(row, dict):
                raise fault(member.place, "expected an object such as {...}")
            yield from row.items()
