"""Prose: the English text that ships inside Python itself, its reference manual (`pydoc_data.topics`).

    a topic -> blocks between blank lines -> its sentences and headings, unwrapped -> one document

What is particular:
- Only prose is kept: no code, no grammar rules, no tables.
- Topics contain each other. A paragraph is kept once, in the shortest topic that has it, so nothing that is
  validated or tested on is in the training text too.
- A topic belongs to one split by a stable hash of its name. The text itself changes with the Python version.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from functools import cache

from formers.data.builtin.split import check_split, split_of
from formers.errors import DataError

TOPICS = "pydoc_data.topics"
BLANK = re.compile(r"\n(?:[ \t]*\n)+")
UNDERLINE = re.compile(r"\s*([*=\-~^\"])\1{2,}\s*")
TERM = re.compile(r"(?:class |await )?[\w.]+\(.*\)")
ITEM = re.compile(r"\A(?:\* |\[\d+\] )")
NOT_PROSE = re.compile(r"::=|>>>|^\s*[|+#]|^\s*-\[|^\s*(?:try|else|finally):$", re.MULTILINE)
WORD = re.compile(r"[\"'“‘(*]*[A-Za-z][A-Za-z’'-]*[\"'”’)*]*[.,:;?!)]*")
MARKUP = re.compile(r"(?<!\w)(\*\*?)(?=\S)([^*]+)(?<=\S)\1(?!\w)")  # *emphasis* and **strong**
FOOTNOTE = re.compile(r" \[\d+\]")


def rows(split: str, count: int | None = None, seed: int = 0) -> list[tuple[str]]:
    """The first `count` documents of "train", "validation" or "test" (all by default), one column each."""
    check_split(split)
    texts = [text for name, text in documents().items() if split_of(name) == split]
    if count is not None and count > len(texts):
        raise DataError(f'count: got {count}, expected at most {len(texts)} for the split "{split}"')
    return [(text,) for text in texts[:count]]


@cache
def documents() -> dict[str, str]:
    """Topic -> its text; paragraphs are separated by blank lines."""
    try:
        topics: dict[str, str] = importlib.import_module(TOPICS).topics
    except ModuleNotFoundError as error:
        raise DataError(
            f"builtin:prose is the text of {TOPICS}, which this Python was installed without; "
            "install the documentation of pydoc, or name a text file"
        ) from error
    seen: set[str] = set()
    texts = {}
    for name in sorted(topics, key=lambda name: (len(topics[name]), name)):
        if text := "\n\n".join(_fresh(topics[name], seen)):
            texts[name] = text
    return dict(sorted(texts.items()))


def _fresh(text: str, seen: set[str]) -> Iterator[str]:
    """The paragraphs of a topic that are not `seen` yet; a heading comes only with a paragraph below it."""
    heading = ""
    blocks = [block for block in BLANK.split(text.strip("\n")) if block.strip()]
    for block, following in zip(blocks, [*blocks[1:], ""], strict=True):
        lines = block.split("\n")
        if len(lines) == 2 and UNDERLINE.fullmatch(lines[1]):
            heading = lines[0].strip()
        elif len(lines) == 1 and TERM.fullmatch(block.strip()) and _indent(following) > _indent(block):
            heading = block.strip()
        elif is_prose(block):
            for paragraph in _paragraphs(lines):
                if paragraph not in seen:
                    seen.add(paragraph)
                    if heading:
                        yield heading
                    heading = ""
                    yield paragraph


def is_prose(block: str) -> bool:
    """Whether a block is sentences: mostly plain words, and something that ends them."""
    words = block.split()
    if NOT_PROSE.search(block) or len(words) < 5 or words[-1][-1] not in '.:?!)”";':
        return False
    return sum(WORD.fullmatch(word) is not None for word in words) > 0.7 * len(words)


def _paragraphs(lines: list[str]) -> Iterator[str]:
    """Lines joined into paragraphs: a list item or footnote begins a new one."""
    text = ""
    for line in map(str.strip, lines):
        if ITEM.match(line) and text:
            yield _cleaned(text)
            text = ""
        text += line if not text or re.search(r"\w-$", text) else " " + line
    yield _cleaned(text)


def _cleaned(text: str) -> str:
    """Without footnote marks, emphasis marks and double spaces."""
    text = FOOTNOTE.sub("", MARKUP.sub(r"\2", ITEM.sub("", text)))
    return re.sub(r"\s+", " ", text).strip()


def _indent(block: str) -> int:
    return len(block) - len(block.lstrip(" "))
