"""Tagged sentences as text: a word and its tag a line, a blank line between sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from formers.data.bad_rows import are_left_out, leaving_out, refuse
from formers.data.files import ending, fault, numbered_lines, quoted
from formers.data.sources import Table
from formers.errors import DataError

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
    line has as many as the first. Raises DataError, one line with the line number, for another, or an empty word;
    where bad rows are left out (`bad_rows`) most lines decide, and a wrong line costs its sentence.
    """
    universal, lenient = ending(name) == ".conllu", are_left_out()
    with leaving_out([] if lenient else None) as unread:
        lines = {number: line.strip(" ") for number, line in numbered_lines(name).items()}
    filled = [line for line in lines.values() if line.strip("\t") and not line.startswith(("#", DOCUMENT))]
    tabbed = sum("\t" in line for line in filled)
    tabs = universal or tabbed == len(filled) or (lenient and 2 * tabbed > len(filled))
    widths = Counter(len(columns_of(line, tabs)) for line in (filled if lenient else filled[:1]))
    width = widths.most_common(1)[0][0] if widths else 0
    sentences: list[tuple[int, list[str], list[str]]] = []
    for error in unread or ():
        refuse(error)
    blocks: list[list[int]] = [[]]
    for number in range(1, len(lines) + len(unread or ()) + 1):
        line = lines.get(number, "unread")
        if not line.strip("\t") or line.startswith(DOCUMENT):
            blocks.append([])
        else:
            blocks[-1].append(number)
    for block in blocks:
        if not lines.keys() >= set(block):
            continue  # a line is no text, which is said already
        try:
            rows = list(words_of(name, {number: lines[number] for number in block}, width, tabs))
        except DataError as error:
            refuse(error)
            continue
        if rows:
            sentences.append((rows[0][0], [word for _, word, _ in rows], [tag for _, _, tag in rows]))
    if not sentences:
        raise fault(name, "there are no sentences, expected a word and its tag a line")
    numbers, words, labels = map(list, zip(*sentences, strict=True))
    return Table(name, {tokens: words, tags: labels}, numbers)


def words_of(name: str, lines: Mapping[int, str], width: int, tabs: bool) -> Iterator[tuple[int, str, str]]:
    """(line number, word, tag) of a sentence. Raises DataError for a line of another form."""
    universal = ending(name) == ".conllu"
    place, at = PLACES[ending(name)]
    for number, line in lines.items():
        fields = columns_of(line, tabs)
        if line.startswith("#") and (universal or len(fields) != width):
            continue
        if universal and fields[0] and not fields[0].isdecimal():
            continue  # "3-4" is a word that the next lines take apart, "8.1" one that is not in the text
        if len(fields) < (4 if universal else 2) or not fields[place] or not fields[at]:
            wanted = "ten columns between tabs" if universal else "a word and its tag"
            raise fault(f"{name}, line {number}", f"got {quoted(line)}, expected {wanted}")
        if len(fields) != width:
            parted = "tabs" if tabs else "spaces or tabs"
            got = f"got {len(fields)} columns between {parted}, expected {width} as in other lines of the file"
            raise fault(f"{name}, line {number}", f"{got}: {quoted(line)}")
        yield number, fields[place], fields[at]


def columns_of(line: str, tabs: bool) -> list[str]:
    """The fields of a line, without empty ones at its end."""
    fields = [field.strip(" ") for field in line.split("\t")] if tabs else SPACES.split(line.strip(" \t"))
    while len(fields) > 1 and not fields[-1]:
        fields.pop()
    return fields
