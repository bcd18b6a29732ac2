"""Plain text, folders, patterns and tables as documents; faults say where."""

from __future__ import annotations

import gzip
import json

import pytest

from formers.data.documents import cut, read_documents
from formers.data.sources import Table
from formers.errors import DataError

BOOK = "One.\nStill one.\n\n\nTwo.\r\n \nThree.\n"


@pytest.fixture
def put(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    return write


def texts(source, **options):
    return read_documents(source, **options).columns["text"]


def fault(source, **options):
    with pytest.raises(DataError) as caught:
        read_documents(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_parts_documents(put):
    book = put("book.txt", BOOK)
    assert texts(book) == [BOOK.replace("\r", "")]
    assert texts(book, separator="blank") == ["One.\nStill one.", "Two.", "Three."]
    assert texts(book, separator="line") == ["One.", "Still one.", "Two.", "Three."]
    marked = put("marked.txt", "One.\n<|endoftext|>\nTwo,\n\ntwo.<|endoftext|><|endoftext|>\n")
    assert texts(marked, separator="<|endoftext|>") == ["One.", "Two,\n\ntwo."]
    assert texts(book, separator="line", count=2) == ["One.", "Still one."]


@pytest.mark.parametrize("separator", ["file", "blank", "line", "One"])
def test_every_document_knows_its_line(put, separator):
    table = read_documents(put("book.txt", BOOK), separator=separator)
    lines = BOOK.replace("\r", "").split("\n")
    for row, text in enumerate(table.columns["text"]):
        line = int(table.where(row).removeprefix("book.txt, line "))
        assert text.split("\n")[0] in lines[line - 1]


def test_any_file_that_is_no_table_is_text(put):
    for name in ("a.md", "b", "c.py"):
        assert texts(put(name, "x = 1\n")) == ["x = 1\n"]
    put("d.txt.gz", gzip.compress(b"packed"))
    assert texts("d.txt.gz") == ["packed"]
    rows = put("e.jsonl", "\n".join(json.dumps({"story": s, "n": 1}) for s in ("one", "two")))
    assert read_documents(rows, column="story").columns == {"story": ["one", "two"]}


def test_folders_and_patterns(put):
    for name, text in {"b.txt": "b", "a/c.txt": "c", "a.txt": "a", "notes.md": "no"}.items():
        put(f"all/{name}", text)
    assert sorted(texts("all")) == ["a", "b", "c"] and texts("all") == texts("all")
    assert texts("all/*.txt") == ["a", "b"]
    assert read_documents("all/*.txt").where(1) == "all/b.txt, line 1"
    for name in ("train-1.txt", "train-2.txt", "validation.txt", "readme.txt"):
        put(f"split/{name}", name)
    assert texts("split") == ["train-1.txt", "train-2.txt"]
    assert texts("split", split="validation") == ["validation.txt"]
    assert "none named test*.txt" in fault("split", split="test")


def test_faults_say_where(put):
    assert "does not exist" in fault("nothing.txt")
    assert fault(put("latin.txt", "Zeile eins\nK\xf6ln".encode("latin-1"))).startswith("latin.txt, line 2, byte 2: ")
    assert fault(put("blank.txt", " \n\n")) == "blank.txt: there is no text in it"
    put("some/full.txt", "text")
    put("some/blank.txt", "")
    assert "some/blank.txt: there is no text in it; remove it or set data.drop_empty" in fault("some/*.txt")
    table = read_documents("some/*.txt", drop_empty=True)
    assert (table.columns["text"], table.dropped) == (["text"], 1)
    assert 'the mark rows.separator = "lines" is nowhere in it; known words: file, blank, line' in fault(
        put("book.txt", BOOK), separator="lines"
    )
    assert "no file matches" in fault("none/*.txt")
    put("mixed/a.txt", "a")
    put("mixed/b.csv", "text\nb")
    assert "is a table and" in fault("mixed/*")
    put("pictures/a.png", b"\x89PNG")
    assert "a folder without .txt files" in fault("pictures")
    assert 'no key "text"' in fault(put("x.jsonl", '{"story": "s"}'))
    assert 'no such file; did you mean "builtin:prose"?' in fault("prose")


@pytest.mark.parametrize("sizes", [[100], [10, 10, 10], [1] * 50, [95, 5], [5, 95], [89, 1, 10]])
def test_the_end_is_cut_off_at_one_place(sizes):
    letters = "".join(chr(97 + i % 26) for i in range(sum(sizes)))
    at = [sum(sizes[:i]) for i in range(len(sizes))]
    table = Table("t", {"text": [letters[i : i + n] for i, n in zip(at, sizes, strict=True)]}, lines=[1] * len(sizes))
    front, back = cut(table, "text", 0.1)
    assert "".join(front.columns["text"] + back.columns["text"]) == letters
    assert len("".join(front.columns["text"])) == int(0.9 * len(letters))
    assert table.columns["text"][0] == letters[: sizes[0]], "the table itself was changed"
    assert all(front.columns["text"]) and all(back.columns["text"])


def test_a_cut_inside_a_document_knows_its_line():
    table = Table("t", {"text": ["a\nb\nc\nd\n" * 5]}, lines=[3])
    front, back = cut(table, "text", 0.5)
    assert (front.where(0), back.where(0)) == ("t, line 3", "t, line 13")
    with pytest.raises(DataError, match=r"too few to set a share of 0\.1 of them aside"):
        cut(Table("t", {"text": ["a"]}), "text", 0.1)
