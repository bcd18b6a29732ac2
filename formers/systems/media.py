"""Files of pictures or sounds that a command line or a request names, under the names of messages."""

from __future__ import annotations

import base64
import binascii
import glob
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from formers.data.medium import Medium
from formers.errors import ConfigError, DataError, shown
from formers.files import expanded
from formers.systems.inputs import CommandInputs
from formers.systems.system import Typed


class NamedContents(NamedTuple):
    """Files by name, each read when it is asked for."""

    names: Sequence[str]
    content: Callable[[int], bytes | Path]
    """Of a number from 0; raises DataError."""


def schema_of(example: str) -> Mapping[str, Any]:
    """The JSON Schema of files in a request."""
    description = f"A {example} or other file in base64; a data: URL too."
    return {"type": "array", "items": {"type": "string", "contentEncoding": "base64", "description": description}}


def of_files(paths: Sequence[str]) -> NamedContents:
    return NamedContents(paths, lambda row: expanded(paths[row]))


def of_command(medium: Medium, word: str, inputs: CommandInputs, typed: Typed) -> NamedContents:
    """Arguments are files, patterns, and folders with all files below; --file is a list of paths, or a table with
    files in a column; - is one on standard input.
    """
    standard = inputs.arguments == ("-",) or inputs.file == "-"
    inputs = inputs.checked(word, typed)
    if standard:
        content = sys.stdin.buffer.read()
        return NamedContents(["standard input"], lambda row: content)
    if inputs.file is None:
        if not inputs.arguments:
            raise ConfigError(f"there is no {medium.word}: give files, folders or patterns, --file, or - for one on "
                              "standard input")  # fmt: skip
        return of_files([path for name in inputs.arguments for path in files_of(medium, name)])
    from formers.data.documents import TABLES
    from formers.data.files import ending, numbered_lines

    named = inputs.file.startswith(("hf:", "builtin:")) or os.path.isdir(expanded(inputs.file))
    if inputs.column or named or ending(inputs.file) in TABLES:
        from formers.data.media import read_media

        table = read_media(medium, inputs.file, files=inputs.column or medium.column)
        return NamedContents([table.where(row) for row in range(len(table))], table.content)
    lines = [line for line in numbered_lines(inputs.file).values() if line.strip()]
    beside = expanded(inputs.file).parent
    return of_files([line if os.path.exists(expanded(line)) else str(beside / line) for line in lines])


def of_request(medium: Medium, value: Any, where: str) -> NamedContents:
    """A file in base64, or a list of them."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"{where}: got {shown(value)}, expected a {medium.word} in base64, or a list of such")
    names = [f"{where} {number} of {len(texts)}" for number in range(1, len(texts) + 1)]
    contents = [unwrapped(medium, text, name) for text, name in zip(texts, names, strict=True)]
    return NamedContents(names, contents.__getitem__)


def files_of(medium: Medium, name: str) -> list[str]:
    """The file of this name, those that a pattern matches, or all of the medium in a folder and below it, sorted.

    Raises DataError where there is none.
    """
    path = expanded(name)
    if os.path.isdir(path):
        files = (os.path.join(folder, file) for folder, _, names in os.walk(path) for file in names)
        if fitting := sorted(file for file in files if Path(file).suffix.lower() in medium.endings):
            return fitting
        ends = ", ".join(medium.endings[:4])
        raise DataError(f"{name}: a folder without a {medium.word}; expected files that end in {ends} ...")
    if os.path.exists(path):
        return [name]
    if glob.has_magic(name) and (fitting := sorted(glob.glob(str(path), recursive=True))):
        return fitting
    raise DataError(f"{name}: there is no such {medium.word}, folder or pattern; give the path of a {medium.word} file")


def unwrapped(medium: Medium, text: str, where: str) -> bytes:
    """The bytes of base64, which may be a data: URL."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise DataError(f"{where}: got {shown(text)}, expected the bytes of a {medium.word} in base64") from None
