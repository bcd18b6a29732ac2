"""Tagged sentences as text: a word and its tag a line, a blank line between sentences."""

from __future__ import annotations

import re

from formers.data.files import ending, fault, quoted, text_lines
from formers.data.sources import Table

# ending -> (place of the word in a line, place of its tag): CoNLL-U has ten columns between tabs, the fourth of which
# is the universal part of speech; the others hold the word first and the tag last, between tabs or spaces.
PLACES = {".conllu": (1, 3), ".conll": (0, -1), ".iob": (0, -1), ".iob2": (0, -1), ".bio": (0, -1)}
SPACES = re.compile(r"[ \t]+")  # a space that does not break is a part of its word
DOCUMENT = "-DOCSTART-"  # begins the line of CoNLL-2003 between documents


def is_conll(name: str) -> bool:
    return ending(name) in PLACES


def read_conll(name: str, tokens: str, tags: str) -> Table:
    """A column of words and one of tags, a list for each sentence; comments and CoNLL-U's joined words are skipped.

    Columns are parted by tabs where every line has one (words may hold spaces then), else by spaces and tabs; every
    line has as many as the first. Raises DataError, one line with the line number, for another, or an empty word.
    """
    universal = ending(name) == ".conllu"
    place, at = PLACES[ending(name)]
    lines = [(number, line.strip(" ")) for number, line in enumerate(text_lines(name), 1)]
    filled = [line for _, line in lines if line.strip("\t") and not line.startswith(("#", DOCUMENT))]
    tabs = universal or all("\t" in line for line in filled)
    width = len(columns_of(filled[0], tabs)) if filled else 0
    sentences: list[tuple[int, list[str], list[str]]] = []
    fresh = True
    for number, line in lines:
        fields = columns_of(line, tabs)
        if not line.strip("\t") or line.startswith(DOCUMENT):
            fresh = True
            continue
        if line.startswith("#") and (universal or len(fields) != width):
            continue
        if universal and fields[0] and not fields[0].isdecimal():
            continue  # "3-4" is a word that the next lines take apart, "8.1" one that is not in the text
        if len(fields) < (4 if universal else 2) or not fields[place] or not fields[at]:
            wanted = "ten columns between tabs" if universal else "a word and its tag"
            raise fault(f"{name}, line {number}", f"got {quoted(line)}, expected {wanted}")
        if len(fields) != width:
            parted = "tabs" if tabs else "spaces or tabs"
            got = f"got {len(fields)} columns between {parted}, expected {width} as in the first line of the file"
            raise fault(f"{name}, line {number}", f"{got}: {quoted(line)}")
        if fresh:
            sentences.append((number, [], []))
            fresh = False
        sentences[-1][1].append(fields[place])
        sentences[-1][2].append(fields[at])
    if not sentences:
        raise fault(name, "there are no sentences, expected a word and its tag a line")
    numbers, words, labels = map(list, zip(*sentences, strict=True))
    return Table(name, {tokens: words, tags: labels}, numbers)


def columns_of(line: str, tabs: bool) -> list[str]:
    """The fields of a line, without empty ones at its end."""
    fields = [field.strip(" ") for field in line.split("\t")] if tabs else SPACES.split(line.strip(" \t"))
    while len(fields) > 1 and not fields[-1]:
        fields.pop()
    return fields
