"""The section [data] of every recipe: which rows are read for which part, and what is set aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from formers.data.documents import read_documents
from formers.data.source import Source
from formers.data.sources import Table, read_table
from formers.errors import ConfigError, DataError

PAIR = {"columns": ["en", "de"]}


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    path = tmp_path / "pairs.tsv"
    path.write_text("en\tde\n" + "".join(f"word {i}\tWort {i}\n" for i in range(100)))
    return str(path)


def test_generated_parts_have_their_own_counts() -> None:
    source = Source(train="builtin:phrasebook", count=30, held_out=12, seed=5)
    for part, count in (("train", 30), ("validation", 12), ("test", 12)):
        table = source.read(part, **PAIR)
        assert table is not None
        wanted = read_table("builtin:phrasebook", columns=["en", "de"], split=part, seed=5, count=count)
        assert table.columns == wanted.columns
    assert [len(table) for table in source.tables(**PAIR)] == [30, 12]
    assert len(source.test_or_validation(**PAIR)) == 12


def test_without_a_count_generated_training_data_has_the_number_of_the_source() -> None:
    train = Source(train="builtin:opinions").read("train", columns=["text", "label"])
    assert train is not None and len(train) == 5_000


def test_files_have_no_parts_but_those_that_are_named(pairs: str) -> None:
    source = Source(train=pairs, count=40, held_out=1)
    train = source.read("train", **PAIR)
    assert train is not None and len(train) == 40 and train.where(39) == f"{pairs}, line 41"
    assert source.read("validation", **PAIR) is None and source.read("test", **PAIR) is None
    train, validation = source.tables(**PAIR)
    assert (len(train), len(validation)) == (39, 1)
    assert source.test_or_validation(**PAIR) == validation
    assert len(Source(train=pairs, validation=pairs, count=40).tables(**PAIR)[1]) == 100, "count is for training"
    named = Source(train=pairs, test="builtin:phrasebook", held_out=7).test_or_validation(**PAIR)
    assert len(named) == 7 and named.name == "builtin:phrasebook"


def test_to_judge_takes_no_training_data_where_it_is_named(pairs: str) -> None:
    assert len(Source(test=pairs).test_or_validation(**PAIR)) == 100
    assert len(Source(validation=pairs).test_or_validation(**PAIR)) == 100
    for read in (Source().test_or_validation, Source(validation=pairs).tables):
        with pytest.raises(
            ConfigError, match=r"^data.train is empty: say what to learn from, .*--set data.train=FILE$"
        ):
            read(**PAIR)


def test_a_reader_and_a_cut_of_the_system(pairs: str) -> None:
    def reversed_rows(name: str, *, column: str, split: str, seed: int, count: int | None, drop_empty: bool) -> Table:
        assert (split in ("train", "validation"), seed, count, drop_empty) == (True, 1, None, True)
        table = read_table(name, columns=["en", "de"])
        return Table(name, {column: table.columns["de"][::-1]})

    source = Source(train=pairs, count=3, drop_empty=True)
    train, validation = source.tables(
        reader=reversed_rows, column="words", set_aside=lambda table: (table.select([1, 2]), table.select([0]))
    )
    assert (train.columns, validation.columns) == ({"words": ["Wort 98", "Wort 97"]}, {"words": ["Wort 99"]})


def test_the_end_of_a_text_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("0123456789" * 10)
    source = Source(train=str(path), held_out=0.05)
    options = {"reader": read_documents, "column": "text", "separator": "file"}
    train, validation = source.tables(**options, set_aside=source.end_of_text("text"))
    assert (train.columns, validation.columns) == ({"text": ["0123456789" * 9 + "01234"]}, {"text": ["56789"]})
    prose = Source(train="builtin:prose", held_out=0.05).read("validation", **options)
    assert prose is not None and prose.columns == read_documents("builtin:prose", split="validation").columns


def test_what_is_set_aside_is_a_number_of_rows_or_a_share_of_a_text(pairs: str) -> None:
    with pytest.raises(ConfigError, match=r"^data.held_out \(0.1\) is a share of a text, .* at least 1 row$"):
        Source(train=pairs, held_out=0.1).tables(**PAIR)
    with pytest.raises(ConfigError, match=r"^data.held_out \(1000\) must be between 0 and 1"):
        Source(train=pairs).end_of_text("text")
    with pytest.raises(ConfigError, match=r"^data.held_out \(1.5\) must be a whole number"):
        Source(held_out=1.5)
    with pytest.raises(ConfigError, match=r"^data.count \(-1\) must be 0 or more$"):
        Source(count=-1)
    with pytest.raises(DataError, match=r"got 1 pair, expected at least 2"):
        Source(train=pairs, count=1).tables(**PAIR, what="pair")
