"""The prose of Python's manual: sentences only, nothing twice, the same split every time."""

from __future__ import annotations

import re
import sys

import pytest

from formers.data.builtin import prose
from formers.data.builtin.split import SPLITS
from formers.data.sources import read_table
from formers.errors import DataError


def paragraphs(split):
    return [paragraph for (text,) in prose.rows(split) for paragraph in text.split("\n\n")]


def test_every_split_has_text_and_no_topic_is_in_two():
    parts = {split: [text for (text,) in prose.rows(split)] for split in SPLITS}
    sizes = {split: sum(map(len, texts)) for split, texts in parts.items()}
    assert sum(map(len, parts.values())) == len(prose.documents()) > 60
    assert sizes["train"] > 150_000 and min(sizes["validation"], sizes["test"]) > 5_000
    assert sizes["train"] > 0.75 * sum(sizes.values())
    assert len({text for texts in parts.values() for text in texts}) == len(prose.documents())


def test_no_paragraph_of_the_held_out_topics_was_in_the_training_text():
    train = set(paragraphs("train"))
    for split in ("validation", "test"):
        long = [paragraph for paragraph in paragraphs(split) if len(paragraph.split()) >= 5]
        assert long and not train & set(long)


def test_it_is_prose():
    texts = [text for split in SPLITS for (text,) in prose.rows(split)]
    whole = "\n\n".join(texts)
    assert "::=" not in whole and ">>>" not in whole and "+---" not in whole and "  " not in whole
    assert not re.search(r"[^\n]\n[^\n]", whole), "a paragraph is not unwrapped"
    assert all(text == text.strip() for text in texts)
    words = re.findall(r"\S+", whole)
    assert sum(prose.WORD.fullmatch(word) is not None for word in words) > 0.8 * len(words)
    assert "Assert statements are a convenient way to insert debugging assertions into a program:" in whole


@pytest.mark.parametrize(
    ("block", "is_it"),
    [
        ("A class definition is an executable\nstatement.", True),
        ('The form "assert x" is equivalent to the following:', True),
        ('   assert_stmt ::= "assert" expression and some more words.', False),
        ("   >>> this is what a session of it looks like.", False),
        ("   if __debug__:\n       if not expression: raise AssertionError", False),
        ("   try:\n       do this and that and more of it\n   finally:\n       end it all now:", False),
        ("| a table | has | cells of words that end here. |", False),
        ("Two words.", False),
    ],
)
def test_what_counts_as_prose(block, is_it):
    assert prose.is_prose(block) is is_it


def test_headings_stay_only_above_what_is_kept():
    seen: set[str] = set()
    text = (
        "Title\n*****\n\nThe first sentence of\nthem *all* [1].\n\nGone\n====\n\n   x ::= y\n\nf(x)\n\n"
        "   This says what it is.\n\n* An item of some few words.\n* A second item, of other words."
    )
    assert list(prose._fresh(text, seen)) == [
        "Title",
        "The first sentence of them all.",
        "f(x)",
        "This says what it is.",
        "An item of some few words.",
        "A second item, of other words.",
    ]
    assert list(prose._fresh(text, seen)) == []


def test_it_reads_like_any_source_and_the_same_every_time():
    table = read_table("builtin:prose", columns=["text"], split="validation")
    assert table.columns["text"] == [text for (text,) in prose.rows("validation")]
    assert read_table("builtin:prose", count=3).columns["text"] == [text for (text,) in prose.rows("train", 3)]
    prose.documents.cache_clear()
    assert table.columns["text"] == [text for (text,) in prose.rows("validation", seed=5)]


def test_faults(monkeypatch):
    with pytest.raises(DataError, match='split: got "dev", expected one of train, validation, test'):
        prose.rows("dev")
    with pytest.raises(DataError, match="count: got 1000, expected at most"):
        prose.rows("test", 1000)
    prose.documents.cache_clear()
    monkeypatch.setitem(sys.modules, prose.TOPICS, None)
    with pytest.raises(DataError, match="this Python was installed without"):
        prose.rows("train")
