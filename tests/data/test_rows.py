"""Rows that are read when they are asked for are those of a table in memory."""

from __future__ import annotations

import os

import pytest

from formers.data.limits import Budget
from formers.data.rows import FolderRows, ParquetRows, Rows, parquet_rows
from formers.data.sources import Table, read_table
from formers.errors import DataError

arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")


def write(path, start, number, group=4, **more):
    columns = {
        "text": [f"text {start + i}" for i in range(number)],
        "bytes": [bytes([start + i]) for i in range(number)],
    }
    parquet.write_table(arrow.table({**columns, **more}), path, row_group_size=group)


@pytest.fixture
def shards(tmp_path):
    write(tmp_path / "train-00000-of-00002.parquet", 0, 10)
    write(tmp_path / "train-00001-of-00002.parquet", 10, 7)
    write(tmp_path / "test.parquet", 90, 3)
    return tmp_path


def same(lazy: Rows, table: Table):
    assert len(lazy) == len(table)
    for row in [*range(len(table)), 0]:
        assert lazy.row(row) == table.row(row) and lazy.where(row) == table.where(row)


def test_a_table_gives_its_rows():
    table = Table("x.tsv", {"a": [1, 2, 3], "b": ["p", "q", "r"]}, lines=[2, 3, 5])
    rows: Rows = table
    assert rows.row(2) == {"a": 3, "b": "r"} and rows.select([2, 0]).row(0) == rows.row(2)


@pytest.mark.parametrize("columns", [None, ["text"], ["bytes", "text"]])
def test_a_file_and_a_folder_of_shards(shards, columns):
    for source in (shards / "train-00000-of-00002.parquet", shards):
        rows, table = parquet_rows(str(source), columns), read_table(str(source), columns=columns, text=[])
        same(rows, table)
        chosen = [8, 3, 3, 0]
        same(rows.select(chosen), table.select(chosen))
        same(rows.select(chosen).select([2, 0]), table.select(chosen).select([2, 0]))
    assert [row["text"] for row in map(parquet_rows(str(shards), split="test").row, range(3))] == [
        "text 90",
        "text 91",
        "text 92",
    ]


def test_only_the_row_groups_that_are_asked_for_are_read(shards):
    rows = parquet_rows(str(shards))
    assert rows.group.cache_info().currsize == 0
    for row in (0, 3, 1, 2, 9, 8):
        rows.row(row)
    assert rows.group.cache_info().misses == 2
    for row in range(len(rows)):
        rows.row(row)
    assert rows.group.cache_info().currsize == 2


def test_row_groups_that_do_not_fit_are_said(shards, caplog, monkeypatch):
    files = [str(shards / "train-00000-of-00002.parquet")]
    rows = ParquetRows("all", files, kept=0)
    [rows.row(row) for row in range(len(rows))]
    assert rows.group.cache_info().currsize == 3 and not caplog.text
    largest = max(footer.row_group(group).total_byte_size for footer in rows.footers for group in range(3))
    monkeypatch.setattr("formers.data.rows.SLOW", 1)
    monkeypatch.setattr("formers.data.rows.budget", lambda: Budget(bytes=2 * largest))
    ParquetRows("few", files, kept=0)
    assert "few: 2 of its 3 row groups" in caplog.text


def test_the_layout_of_translations(tmp_path):
    pairs = [{"en": f"e{i}", "de": f"d{i}"} for i in range(5)]
    parquet.write_table(arrow.table({"translation": pairs}), tmp_path / "pairs.parquet", row_group_size=2)
    name = str(tmp_path / "pairs.parquet")
    same(parquet_rows(name, ["de", "en"]), read_table(name, columns=["de", "en"]))
    same(parquet_rows(name), read_table(name))


def test_names_of_classes(tmp_path):
    table = arrow.table({"label": [0, 1]})
    features = '{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}'
    parquet.write_table(table.replace_schema_metadata({"huggingface": features}), tmp_path / "x.parquet")
    assert parquet_rows(str(tmp_path / "x.parquet")).names == {"label": ("cat", "dog")}


def test_faults_of_parquet(shards):
    name = str(shards / "train-00000-of-00002.parquet")
    with pytest.raises(DataError, match=r"no column \"txt\"; the columns are text, bytes; did you mean"):
        parquet_rows(name, ["txt"])
    with pytest.raises(DataError, match="a folder without validation"):
        parquet_rows(str(shards), split="validation")
    with pytest.raises(DataError, match="does not exist"):
        parquet_rows(str(shards / "none.parquet"))
    write(shards / "train-00002.parquet", 0, 2, other=[1, 2])
    with pytest.raises(DataError, match=r"train-00002.parquet has the columns text, bytes, other, but .* must agree"):
        parquet_rows(str(shards))
    write(shards / "empty.parquet", 0, 0)
    with pytest.raises(DataError, match="there are no rows"):
        parquet_rows(str(shards / "empty.parquet"))
    rows = ParquetRows(name, [name])
    for row in (-1, 10):
        with pytest.raises(IndexError, match=rf"row {row} of 10 rows"):
            rows.row(row)
    with open(name, "r+b") as file:  # broken after it was opened
        file.write(bytes(400))
    with pytest.raises(DataError, match=r"train-00000-of-00002.parquet: broken Parquet file"):
        for row in range(10):
            rows.row(row)


def test_files_of_a_folder(tmp_path):
    for name in ("b.png", "cats/a.PNG", "cats/2/c.jpg", "cats/note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    rows = FolderRows(str(tmp_path), (".png", ".jpg"))
    assert [rows.row(row)["path"] for row in range(len(rows))] == ["b.png", "cats/2/c.jpg", "cats/a.PNG"]
    assert rows.row(2)["bytes"] == b"cats/a.PNG" and rows.where(2) == os.path.join(str(tmp_path), "cats/a.PNG")
    (tmp_path / "b.png").write_bytes(b"changed")
    some: Rows = rows.select([2, 0])
    assert len(some) == 2 and some.row(1) == {"path": "b.png", "bytes": b"changed"} and some.where(1) == rows.where(0)
    (tmp_path / "b.png").unlink()
    with pytest.raises(DataError, match=r"b.png: cannot be read \(No such file or directory\)"):
        some.row(1)
    with pytest.raises(IndexError, match="row 2 of 2 rows"):
        some.where(2)
    with pytest.raises(DataError, match=r"a folder without a file that ends in .wav, .flac"):
        FolderRows(str(tmp_path), (".wav", ".flac"))
    with pytest.raises(DataError, match="does not exist"):
        FolderRows(str(tmp_path / "dogs"), (".png",))
