"""Small files that come to a lot in memory: one line that says how much is allowed and what raises it."""

import gzip
import json
from pathlib import Path

import pytest

from formers.data import limits
from formers.data.documents import read_documents
from formers.data.limits import Budget, budget, widened
from formers.data.rows import parquet_rows
from formers.data.source import Source
from formers.data.sources import read_table
from formers.errors import ConfigError, DataError

SMALL = Budget(bytes=50_000, rows=1_000, values=3_000)


@pytest.fixture
def small(monkeypatch):
    """A budget that a test can go over."""
    monkeypatch.setattr(limits, "USUAL", SMALL)


@pytest.fixture
def parquet(tmp_path, monkeypatch):
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow.parquet import write_table

    monkeypatch.chdir(tmp_path)

    def put(columns, **options):
        write_table(arrow.table(columns), "x.parquet", **options)
        return "x.parquet"

    return put


def test_a_packed_file_that_is_nothing_but_repetition(write, refused):
    message = refused(write("x.txt.gz", gzip.compress(b"a\n" * (20 * 2**20), 1)), columns=["text"])
    assert "x.txt.gz, unpacked: 34,603,008 bytes or more, expected at most 33,554,432" in message


BOMBS = {
    "bytes": ("x.txt.gz", gzip.compress(b"a" * 10_000_000), "x.txt.gz, unpacked: 1,048,576 bytes or more"),
    "plain bytes": ("x.txt", b"a" * 60_000, "x.txt: 60,000 bytes or more, expected at most 50,000"),
    "rows": ("x.txt", b"\n" * 2_000, "2,000 rows or more, expected at most 1,000"),
    "lines of a table": ("x.csv", b"a\n" * 2_000, "2,000 rows or more"),
    "rows of a table": ("x.tsv", b"a\n" * 2_000, "2,000 rows or more"),
    "fields": ("x.csv", b"," * 4_000, "values or more, expected at most 3,000"),
    "fields between tabs": ("x.tsv", b"\t" * 4_000, "4,001 values or more"),
    "values": ("x.json", b"[" + b"[]," * 4_000 + b"[]]", "values or more"),
    "values of a line": ("x.jsonl", json.dumps({"text": [0] * 4_000}).encode(), "values or more"),
    "depth": ("x.json", b"[" * 3_000 + b"]" * 3_000, "bad JSON"),
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_is_one_line(write, refused, small, what):
    name, content, part = BOMBS[what]
    message = refused(write(name, content), columns=["text"])
    assert part in message
    assert what == "depth" or ("--budget " in message and "data.budget = " in message)


def test_documents_are_counted_before_they_are_made(write, small):
    for separator, content in (("line", "a\n" * 2_000), ("blank", "a\n\n" * 2_000), ("|", "a|" * 2_000)):
        with pytest.raises(DataError, match="2,000 rows or more"):
            read_documents(write("x.txt", content), separator=separator)
    assert len(read_documents("x.txt", separator="file")) == 1


def test_the_budget_is_raised_by_a_recipe_and_by_the_environment(write, small, monkeypatch):
    name = write("x.txt", b"a\n" * 2_000)
    with pytest.raises(ConfigError, match=r"data\.budget"):
        Source(train=name, budget=0)
    assert len(Source(train=name, budget=2).read("train", columns=["text"])) == 2_000
    monkeypatch.setenv(limits.VARIABLE, "2")
    assert len(read_table(name)) == 2_000
    monkeypatch.setenv(limits.VARIABLE, "many")
    with pytest.raises(ConfigError, match="expected a positive number"):
        read_table(name)


def test_budgets_are_multiples_and_the_larger_one_holds(monkeypatch):
    monkeypatch.setenv(limits.VARIABLE, "3")
    with widened(2):
        assert budget().rows == 3 * Budget().rows
    with widened(4):
        assert budget().rows == 4 * Budget().rows
    monkeypatch.delenv(limits.VARIABLE)
    with widened(0.5):
        assert budget().rows == Budget().rows // 2
    assert budget() == Budget()


def test_parquet_counts_what_texts_come_to_without_their_dictionary(parquet, small, refused):
    """One long text in many rows is nearly nothing in the file, and in memory once."""
    name = parquet({"text": ["x" * 1_000] * 900})
    assert "900,000 bytes or more" in refused(name, columns=["text"])
    with widened(20):
        texts = read_table(name, columns=["text"]).columns["text"]
    assert len(texts) == 900 and len({id(text) for text in texts}) == 1
    nested = parquet({"text": [["x" * 1_000] * 9] * 100})
    assert "bytes or more" in refused(nested, columns=["text"], text=())
    assert "2,000 rows or more" in refused(parquet({"text": [None] * 2_000}), columns=["text"])
    assert "4,000 values or more" in refused(parquet({"text": [[1] * 40] * 100}), columns=["text"], text=())


def test_parquet_groups_are_counted_before_one_is_read(parquet, small, refused):
    name = parquet({"text": [str(i) for i in range(2_000)]}, row_group_size=100)
    assert len(parquet_rows(name)) == 2_000  # a group at a time is in memory
    with pytest.raises(DataError, match="row group 0: 2,000 rows or more"):
        parquet_rows(parquet({"n": list(range(2_000))}))


def test_a_footer_that_lies(parquet, refused):
    """Every byte of the footer once changed: the rows as they were, or one line."""
    name = parquet({"text": ["a", "b"] * 3, "n": list(range(6))}, row_group_size=4)
    whole = Path(name).read_bytes()
    size = int.from_bytes(whole[-8:-4], "little")
    for place in range(len(whole) - 8 - size, len(whole) - 8, 3):
        changed = bytearray(whole)
        changed[place] ^= 0x55
        Path(name).write_bytes(changed)
        for read in (lambda: len(read_table(name, drop_empty=None)), lambda: [*map(parquet_rows(name).row, range(6))]):
            try:
                read()
            except DataError as error:
                assert len(str(error).splitlines()) == 1
            except IndexError:
                pass  # fewer rows


def test_parquet_of_other_kinds_is_read_as_before(parquet):
    import datetime

    import pyarrow as arrow

    columns = {
        "long": arrow.array(["a", None], arrow.large_string()),
        "view": arrow.array(["a", "b"], arrow.string_view()),
        "bytes": [b"a", b"b"],
        "words": arrow.array(["u", "v"]).dictionary_encode(),
        "a.b": ["p", None],
        "messages": [[{"role": "user", "content": "hello"}], []],
        "date": [datetime.date(2020, 1, 1), None],
        "lists": [["a", None], None],
    }
    expected = {
        name: arrow.array(v).to_pylist() if isinstance(v, list) else v.to_pylist() for name, v in columns.items()
    }
    name = parquet({**columns, "__index_level_0__": [0, 1]}, row_group_size=1)
    assert read_table(name, drop_empty=None).columns == expected


@pytest.mark.parametrize("count", [10_000_001, 10**400], ids=["a few", "no float"])
def test_generated_rows_are_counted_before_they_are_made(count):
    with pytest.raises(DataError, match=r"builtin:phrasebook: [\d,…]+ rows or more, expected at most 10,000,000; "):
        read_table("builtin:phrasebook", count=count)
