"""Names of numbered classes that a data set of the hub or a Parquet file with its metadata carries."""

from __future__ import annotations

from pathlib import Path

import pytest

from formers.data.labels import Labels, file_names, learn_labels
from formers.data.source import Source
from formers.data.sources import read_table
from formers.errors import DataError
from formers.systems.embedding.data import LikenessRows, classes_of
from formers.systems.tagging.data import TaggedRows

datasets = pytest.importorskip("datasets", reason="datasets is not installed")


@pytest.fixture(params=["hf:{}", "{}", "{}/train.parquet", "{}/*.parquet"], ids=["hub", "folder", "file", "pattern"])
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The same data set in the four ways to name it: class numbers, whose names do not stand in alphabetical order."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    text, word = datasets.Value("string"), datasets.ClassLabel(names=["O", "NAME", "PLACE"])
    features = datasets.Features(
        {
            "text": text,
            "other": text,
            "label": datasets.ClassLabel(names=["world", "sports", "never", "business"]),
            "tokens": datasets.Sequence(text),
            "tags": datasets.Sequence(word),
            "plain": datasets.Value("int64"),
        }
    )
    rows = {
        "text": ["a goal", "a market", "a war"],
        "other": ["a match", "a price", "a peace"],
        "label": [1, 3, 0],
        "tokens": [["Ann", "runs"], ["in", "Rome"], ["no"]],
        "tags": [[1, 0], [0, 2], [0]],
        "plain": [2, 1, 0],
    }
    folder = tmp_path / "set"
    folder.mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "train.parquet")
    return request.param.format(folder)


def test_labels_have_names(source: str) -> None:
    table = read_table(source, columns=["text", "label"], text=["text"])
    assert table is not None
    labels = learn_labels(table, "label")
    assert labels == Labels("one", ("world", "sports", "never", "business"))
    assert labels.answers(table, "label").tolist() == [1, 3, 0]
    assert file_names(table.select([2, 0]), "label") == labels.names
    several = learn_labels(read_table(source, columns=["text", "tags"], text=["text"]), "tags", "several")
    assert several == Labels("several", ("O", "NAME", "PLACE"))


def test_a_column_of_plain_numbers_has_none(source: str) -> None:
    table = read_table(source, columns=["text", "plain"], text=["text"])
    assert file_names(table, "plain") == ()
    assert learn_labels(table, "plain").names == ("0", "1", "2")


def test_tags_are_read_as_their_names(source: str) -> None:
    rows = TaggedRows()
    table = Source(train=source).read("train", reader=rows.read)
    assert table is not None and table.columns["tags"] == [["NAME", "O"], ["O", "PLACE"], ["O"]]
    assert rows.labels(table) == ("NAME", "O", "PLACE")
    with pytest.raises(DataError, match=r'row 1: column "plain" holds 2 \(int\), expected a list of texts'):
        Source(train=source).read("train", reader=TaggedRows(tags="plain").read)


def test_classes_of_labelled_pairs_are_their_names(source: str) -> None:
    rows, named = LikenessRows(rows="labelled", first="text", second="other"), Source(train=source)
    table = named.read("train", **rows.reading(named))
    assert table is not None and classes_of(table, "label") == ["business", "sports", "world"]


def test_a_label_without_a_name_stays_a_number(tmp_path: Path) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    path = tmp_path / "test.parquet"
    datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, -1]}, features=features).to_parquet(path)
    table = read_table(str(path), columns=["text", "label"], text=["text"])
    assert table is not None and table.named("label") == ["yes", -1]
    with pytest.raises(DataError, match=r"row 2: the label -1 is out of range: there are 2, 0 to 1 \(no, yes\)"):
        learn_labels(table, "label").answers(table, "label")
