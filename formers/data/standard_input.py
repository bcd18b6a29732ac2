"""Standard input: its lines as they come, all of it as a text or a file; texts that may be typed, a file, or it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from formers.data.bad_rows import refuse
from formers.data.files import read_text
from formers.errors import DataError

LONGEST_NAME = 1000  # a longer argument is a text, not the name of a file
GROUP = 64  # most lines that are worked on together


def typed_lines(places: list[int]) -> Iterator[list[str]]:
    """Lines of standard input as they come: those that are there already together, at most GROUP.

    places: gets their numbers; lines that are no text have none where they are left out.
    """
    number, rest = 0, b""
    incoming: Any = sys.stdin.buffer
    while data := incoming.read1(65536):  # what there is by now; waits where there is nothing
        *whole, rest = (rest + data).split(b"\n")
        for start in range(0, len(whole), GROUP):
            texts = decoded(whole[start : start + GROUP], number + start + 1)
            places += texts
            yield list(texts.values())
        number += len(whole)
    if rest:
        texts = decoded([rest], number + 1)
        places += texts
        yield list(texts.values())


def decoded(lines: Sequence[bytes], number: int) -> dict[int, str]:
    """Lines of standard input as text, by number; the first has the number."""
    texts = {}
    for at, line in enumerate(lines, number):
        try:
            texts[at] = line.decode("utf-8").removesuffix("\r")
        except UnicodeDecodeError as error:
            where = f"standard input, line {at}, byte {error.start + 1}"
            refuse(DataError(f"{where}: not UTF-8; convert it, for example with iconv"))
    return texts


def standard_input() -> str:
    """All of it, without the line feed at its end."""
    return "\n".join(decoded(sys.stdin.buffer.read().split(b"\n"), 1).values()).removesuffix("\n")


def table_ending(data: bytes) -> str:
    """The ending that a table's name would have."""
    if data.startswith(b"PAR1"):
        return ".parquet"
    first = data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    line = data.partition(b"\n")[0]
    return {b"{": ".jsonl", b"[": ".json"}.get(first, ".tsv" if b"\t" in line else ".csv")


@contextmanager
def spooled(*, plain: bool) -> Iterator[str]:
    """The name of a file that has standard input, of text, or of what it looks like; it is gone afterwards."""
    with TemporaryDirectory() as folder:
        data = sys.stdin.buffer.read()
        path = Path(folder) / f"standard-input{'.txt' if plain else table_ending(data)}"
        path.write_bytes(data)
        yield str(path)


def passage_of(given: str, option: str) -> str:
    """The text that a `Passage` is: as it was given, what a file holds, or standard input."""
    if given == "-":
        text = standard_input()
    elif len(given) < LONGEST_NAME and "\n" not in given and os.path.isfile(os.path.expanduser(given)):
        text = read_text(given)
    elif " " not in given.strip() and ("/" in given or given.endswith((".txt", ".md"))):
        raise DataError(f"{option} {given}: there is no such file; give a file, or the text itself in quotes")
    else:
        text = given
    if not text.strip():
        raise DataError(f"{option} {given}: is empty, expected a text")
    return text
