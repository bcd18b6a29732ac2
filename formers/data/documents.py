"""Texts as documents: plain text files, folders and patterns of them, tables, the hub, built-in data."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from formers.data.files import ending, fault, held, listed, located, matching, quoted, read_text
from formers.data.limits import budget
from formers.data.readers import READERS
from formers.data.sources import Table, read_table
from formers.errors import DataError

TABLES = READERS.keys() - {".txt"}
SEPARATORS = ("file", "blank", "line")
BLANK = r"\n(?:[ \t]*\n)+"


def read_documents(
    source: str,
    *,
    column: str = "text",
    separator: str = "file",
    split: str = "train",
    seed: int = 0,
    count: int | None = None,
    drop_empty: bool = False,
    settings: Mapping[str, str] | None = None,
) -> Table:
    """A table of one column, a document in each row.

    source      what it is
    ----------  ----------------------------------------------------------------------------------------------
    a table     .tsv .csv .jsonl .json .parquet, hf:NAME, builtin:NAME as `read_table` reads them: `column`
    a file      any other is plain text in UTF-8, of one document or of several (`separator`); .gz too
    a pattern   `texts/*.txt`: the files that match, sorted
    a folder    its Parquet files of `split`, else its .txt files, those in folders inside it too; if some of them
                are called train*.txt, then those called like `split` only

    separator: "file" (a file is one document), "blank" (blank lines), "line" (a line is one document), else a mark
    in the text such as <|endoftext|>. Line ends become a line feed. Blank documents between separators do not count;
    a blank file is an error unless `drop_empty`. Raises DataError, one line that says where.
    """
    files = text_files(source, split)
    if files is None:
        return read_table(
            source, columns=[column], split=split, seed=seed, count=count, drop_empty=drop_empty, settings=settings
        )
    texts: list[str] = []
    lines: list[int] = []
    owners: list[str] = []
    empty, marked = 0, separator in SEPARATORS
    for file in files:
        text = read_text(file).replace("\r\n", "\n")
        marked = marked or separator in text
        if separator != "file":
            budget().check(file, rows=text.count({"line": "\n", "blank": "\n\n"}.get(separator, separator)))
        if not text.strip():
            if not drop_empty:
                fix = "; remove it or set data.drop_empty = true" if len(files) > 1 else ""
                raise fault(file, f"there is no text in it{fix}")
            empty += 1
        for line, document in split_text(text, separator):
            texts.append(document)
            lines.append(line)
            owners.append(file)
    if not texts:
        raise fault(source, "there is no text in it")
    if not marked:
        mark = f"the mark rows.separator = {quoted(separator)}"
        raise fault(source, f"{mark} is nowhere in it; known words: {', '.join(SEPARATORS)}")
    table = Table(source, {column: texts}, lines=lines, dropped=empty, files=owners if len(files) > 1 else None)
    return table if count is None or count >= len(table) else table.select(range(count))


def text_files(source: str, split: str) -> list[str] | None:
    """The plain text files that a source means; None where it is something for `read_table`, or nothing."""
    if source.startswith(("hf:", "builtin:")) or not source.strip() or "\0" in source:
        return None
    path = located(source)
    if os.path.isdir(path):
        return _in_folder(source, path, split)
    if os.path.exists(path):
        return None if ending(source) in TABLES else [source]
    if not glob.has_magic(source):
        return None
    files = matching(path)
    tables = [file for file in files if ending(file) in TABLES]
    if tables and len(tables) < len(files):
        other = next(file for file in files if file not in tables)
        raise fault(source, f"{tables[0]} is a table and {other} is plain text: name them one by one")
    return None if tables or not files else files


def _in_folder(source: str, folder: Path, split: str) -> list[str] | None:
    if any(re.fullmatch(re.escape(split) + r"([-_.].*)?\.parquet", name) for name in held(source, folder)):
        return None
    files = sorted(str(path) for path in folder.rglob("*") if re.search(r"\.txt(\.gz)?$", path.name) and path.is_file())
    if not files:
        names = listed(held(source, folder)) or "nothing"
        raise fault(source, f"a folder without .txt files and without {split}*.parquet; it holds {names}")
    if any(Path(file).name.startswith("train") for file in files):
        files = [file for file in files if Path(file).name.startswith(split)]
        if not files:
            raise fault(source, f"the folder has files named train*.txt, but none named {split}*.txt")
    return files


def split_text(text: str, separator: str) -> Iterator[tuple[int, str]]:
    """(line from 1, document) of every document in a text."""
    if separator == "file":
        if text.strip():
            yield 1, text
        return
    pattern = {"blank": BLANK, "line": "\n"}.get(separator, re.escape(separator))
    start, line = 0, 1
    for stop, following in [*(mark.span() for mark in re.finditer(pattern, text)), (len(text), len(text))]:
        document = text[start:stop]
        if document.strip():
            inner = document.lstrip("\n")
            yield line + len(document) - len(inner), inner.rstrip("\n")
        line += text.count("\n", start, following)
        start = following


def cut(table: Table, column: str, share: float) -> tuple[Table, Table]:
    """The text without its last part, and the last `share` of its characters.

    The cut is at one place: the document that lies there is cut in two.
    """
    texts: list[str] = table.columns[column]
    place = int(sum(map(len, texts)) * (1 - share))
    row = 0
    while row < len(texts) - 1 and place >= len(texts[row]):
        place -= len(texts[row])
        row += 1
    first, last = texts[row][:place], texts[row][place:]
    front = table.select(range(row + bool(first.strip())))
    back = table.select(range(row + (not last.strip()), len(texts)))
    if not len(front) or not len(back):
        got = f"{sum(map(len, texts)):,} characters are too few to set a share of {share} of them aside"
        raise DataError(f"{table.name}: {got} for validation; give data.validation")
    if first.strip():
        front.columns[column][-1] = first
    if last.strip():
        back.columns[column][0] = last
        if back.lines is not None:
            back = replace(back, lines=[back.lines[0] + first.count("\n"), *back.lines[1:]])
    return front, back
