"""Tagged sentences as text: a word and its tag a line, a blank line between sentences."""

from __future__ import annotations

from formers.data.files import ending, fault, quoted, text_lines
from formers.data.sources import Table

# ending -> (place of the word in a line, place of its tag): CoNLL-U has ten columns between tabs, the fourth of which
# is the universal part of speech; the others hold the word first and the tag last, between spaces or tabs.
PLACES = {".conllu": (1, 3), ".conll": (0, -1), ".iob": (0, -1), ".iob2": (0, -1), ".bio": (0, -1)}


def is_conll(name: str) -> bool:
    return ending(name) in PLACES


def read_conll(name: str, tokens: str, tags: str) -> Table:
    """A column of words and one of tags, a list for each sentence; comments and CoNLL-U's joined words are skipped.

    Raises DataError, one line with the line number, for a line without a tag.
    """
    universal = ending(name) == ".conllu"
    place, at = PLACES[ending(name)]
    rows: list[tuple[list[str], list[str]]] = []
    lines: list[int] = []
    fresh = True
    for number, line in enumerate(text_lines(name), 1):
        fields = line.split("\t") if universal else line.split()
        if not line.strip() or line.startswith("-DOCSTART-"):
            fresh = True
            continue
        if line.startswith("#") and (universal or len(fields) < 2):
            continue
        if universal and fields[0] and not fields[0].isdecimal():
            continue  # "3-4" is a word that the next lines take apart, "8.1" one that is not in the text
        if len(fields) < (4 if universal else 2):
            wanted = "ten columns between tabs" if universal else "a word and its tag"
            raise fault(f"{name}, line {number}", f"got {quoted(line)}, expected {wanted}")
        if fresh:
            rows.append(([], []))
            lines.append(number)
            fresh = False
        rows[-1][0].append(fields[place])
        rows[-1][1].append(fields[at])
    if not rows:
        raise fault(name, "there are no sentences, expected a word and its tag a line")
    return Table(name, {tokens: [row[0] for row in rows], tags: [row[1] for row in rows]}, lines)
