"""Labelled texts: every kind of label, batches, the report, and each fault in one line with its row."""

import json
from pathlib import Path

import numpy as np
import pytest

from formers.data.labels import Labels, learn_labels
from formers.data.source import Source
from formers.data.sources import Table
from formers.errors import ConfigError, DataError
from formers.systems.classification.data import LabelledBatches, LabelledRows
from formers.systems.labelling import uneven
from formers.text.reader import Reader
from formers.text.training import train_word_pieces


def table(labels: list, texts: list[str] | None = None) -> Table:
    return Table(
        "a.jsonl", {"text": texts or ["a text"] * len(labels), "label": labels}, lines=list(range(1, len(labels) + 1))
    )


def read(rows: LabelledRows | None = None, **source) -> Table:
    """The training rows of a source."""
    where = Source(**source)
    return where.read("train", **(rows or LabelledRows()).reading(where))


def reader(length: int = 8) -> Reader:
    return Reader(train_word_pieces(["one two three four five six seven eight nine ten"] * 3, 80), length)


def parquet(path: Path, columns: dict, labels: object = None) -> Path:
    arrow = pytest.importorskip("pyarrow")
    made = arrow.table(columns)
    if labels is not None:
        made = made.replace_schema_metadata({"labels": json.dumps(labels)})
    import pyarrow.parquet

    pyarrow.parquet.write_table(made, path)
    return path


def refused(*arguments, **options) -> str:
    with pytest.raises(DataError) as error:
        learn_labels(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("values", "kind", "names"), [
    (["b", "a", "b"], "one", ("a", "b")),
    ([10, 9, 10], "one", ("9", "10")),
    (["10", "9"], "one", ("9", "10")),
    ([True, False], "one", ("false", "true")),
    ([["x"], [], ["y", "x"]], "several", ("x", "y")),
    ([0.5, 1, 2.0], "number", ("label",)),
    (["0.5", "1", "2"], "number", ("label",)),
])  # fmt: skip
def test_what_labels_look_like(values, kind, names):
    assert learn_labels(table(values), "label") == Labels(kind, names)


def test_answers():
    labels = learn_labels(table(["b", "a"]), "label")
    assert labels.answers(table(["a", "b", "b"]), "label").tolist() == [0, 1, 1]
    assert labels.answers(table([1, 0]), "label").tolist() == [1, 0]  # names that are no numbers have numbers
    several = learn_labels(table([["x"], ["y", "x"]]), "label")
    assert several.answers(table([[], ["y"], ["x", "y"]]), "label").tolist() == [[0, 0], [0, 1], [1, 1]]
    split = learn_labels(table(["x; y", "x"]), "label", kind="several", separator=";")
    assert split.answers(table(["y", "x;y"]), "label", ";").tolist() == [[0, 1], [1, 1]]
    number = learn_labels(table(["1.5", "2"]), "label")
    assert number.answers(table([3, "4e1"]), "label").tolist() == [3, 40]


def test_a_separator_means_several_labels():
    rows = table(["x; y", "x", "y;z"])
    assert learn_labels(rows, "label", separator=";") == Labels("several", ("x", "y", "z"))
    assert learn_labels(rows, "label").names == ("x", "x; y", "y;z")
    with pytest.raises(ConfigError, match=r'rows.separator = ";" parts several labels, but task.kind is "one"; set'):
        learn_labels(rows, "label", kind="one", separator=";")


def test_uneven_labels_name_the_cure():
    def said(values):
        labels = learn_labels(table(values), "label")
        return uneven(labels, labels.answers(table(values), "label"))

    cure = (
        "uneven labels: a is 9 times as frequent as b; --set task.class_weights=balanced lets rare ones count for more"
    )
    assert said(["a"] * 18 + ["b"] * 2 + ["c"] * 3) == [cure]
    assert said([["a"]] * 18 + [["b", "a"]] * 2) == [cure.replace("9", "10")]
    assert said(["a", "b", "b", "b"]) == said([1.5, 2.5, 2.5]) == []


def test_the_labels_of_a_checkpoint_keep_their_order():
    assert learn_labels(table(["a", "b"]), "label", known=("b", "a")).names == ("b", "a")
    assert learn_labels(table([0, 1]), "label", known=("no", "yes")).names == ("no", "yes")
    assert learn_labels(table([0, 2]), "label", known=("no", "yes")).names == ("0", "2")
    assert learn_labels(table(["a", "c"]), "label", known=("b", "a")).names == ("a", "c")
    assert learn_labels(table([1.5, 2.5]), "label", known=("LABEL_0",)).names == ("LABEL_0",)


def test_names_in_a_parquet_file(tmp_path):
    path = parquet(tmp_path / "train.parquet", {"text": ["x", "y", "z"], "label": [1, 0, 1]}, ["bad", "good"])
    found = read(train=str(path))
    assert learn_labels(found, "label") == Labels("one", ("bad", "good"))
    folder = read(train=str(tmp_path))
    assert learn_labels(folder, "label").names == ("bad", "good")
    out = parquet(tmp_path / "out.parquet", {"text": ["x", "y", "z"], "label": [1, 0, 2]}, ["bad", "good"])
    with pytest.raises(DataError, match=r"out.parquet, row 3: the label 2 is out of range: there are 2, 0 to 1 \(bad"):
        rows = read(train=str(out))
        learn_labels(rows, "label").answers(rows, "label")
    broken = parquet(tmp_path / "broken.parquet", {"text": ["x"], "label": [1]}, "bad")
    assert "expected a JSON list" in refused(read(train=str(broken)), "label")


def test_faults_of_labels():
    assert refused(table(["a", "a"]), "label").startswith('a.jsonl: all 2 rows have the label "a": a classifier needs')
    assert "have the label 3: nothing" in refused(table([3.0, 3.0]), "label")
    assert refused(table(["a", 2]), "label").startswith('a.jsonl, line 2: column "label" holds 2 (int), expected str')
    assert refused(table([["a"], 1.5]), "label").startswith('a.jsonl, line 2: column "label" holds 1.5')
    assert "expected one label" in refused(table(["a", ["b"]]), "label", kind="one")
    assert refused(table([1.5, float("nan")]), "label").endswith("holds nan, expected a finite number")
    assert refused(table([1, "x"]), "label", kind="number").endswith(
        'line 2: column "label" holds "x", expected a finite number'
    )
    assert "no row has any label" in refused(table([[], []]), "label")
    labels = Labels("one", ("bad", "good"))
    with pytest.raises(DataError, match=r"a.jsonl, line 2: the label \"fair\" .* \(the first of 2 such rows of 3\): "):
        labels.answers(table(["bad", "fair", "so-so"]), "label")
    with pytest.raises(DataError, match="line 1: the label -1 is out of range"):
        labels.answers(table([-1]), "label")


def test_faults_of_the_table(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\ngood,1\n,0\n")
    with pytest.raises(DataError, match=r'a.csv, line 3: column "text" is empty'):
        read(train=str(path))
    assert read(train=str(path), drop_empty=True).dropped == 1
    with pytest.raises(DataError, match='no column "sentence2"'):
        read(LabelledRows(second="sentence2"), train=str(path), drop_empty=True)
    with pytest.raises(ConfigError, match=r"data.train is empty"):
        read(train="")
    with pytest.raises(ConfigError, match=r"rows.tokens_per_batch \(0\) must be at least 1"):
        LabelledRows(tokens_per_batch=0)
    with pytest.raises(ConfigError, match="must name columns"):
        LabelledRows(label="")


def test_splits_of_a_source(tmp_path):
    train, held_out = Source(train="builtin:opinions", count=40, held_out=10).tables(**LabelledRows().reading(Source()))
    assert (len(train), len(held_out)) == (40, 10)
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"text {i},{i % 2}\n" for i in range(60)))
    train, held_out = Source(train=str(path)).tables(**LabelledRows().reading(Source()))
    assert (len(train), len(held_out)) == (57, 3)
    assert len(read(train=str(path), count=7)) == 7


def test_batches_hold_every_row_once_with_its_answer():
    words = "one two three four five six seven eight".split()
    texts = [" ".join(words[: 1 + i % 8]) for i in range(50)]
    config = LabelledRows(tokens_per_batch=24)
    rows = table([["even", "odd"][i % 2] for i in range(50)], texts)
    batches = LabelledBatches(rows, reader(), config, learn_labels(rows, "label"))
    plan = batches.epoch(0)
    assert sorted(np.concatenate(plan).tolist()) == list(range(50))
    again, other = ([rows.tolist() for rows in batches.epoch(epoch)] for epoch in (0, 1))
    assert [rows.tolist() for rows in plan] == again != other
    for chosen in plan:
        batch = batches.collate(chosen)
        assert batch.inputs.tokens.numel() <= 24 and batch.inputs.segments is None
        assert batch.labels.tolist() == [i % 2 for i in chosen]
        for place, i in enumerate(chosen):
            expected = reader().read([texts[i]])[0].ids
            kept = slice(None) if batch.inputs.keep is None else batch.inputs.keep[place]
            assert batch.inputs.tokens[place][kept].tolist() == expected
    assert batches.describe([3]) == 'a.jsonl, line 4 ("one two three four") and 0 more'


def test_the_report():
    rows = table(["a", "b", "a", "a"], ["one two", "three", "one two three four five six seven", "four"])
    batches = LabelledBatches(rows, reader(6), LabelledRows(), Labels("one", ("a", "b", "c")))
    lines = batches.report.lines()
    assert lines[0] == "examples: 4" and "longest 6 tokens" in lines[1]
    assert lines[3] == "labels (one of 3): a 75.0% (3), b 25.0% (1), c 0.0% (0); without a row: c"
    assert lines[4] == "longer than 6 tokens: 1 (25.0%), cut at the end"
    numbers = table([1.0, 4.0], ["one", "two"])
    batches = LabelledBatches(numbers, reader(), LabelledRows(), Labels("number", ("score",)))
    assert batches.report.lines()[3] == "score: from 1 to 4, mean 2.5, deviation 1.5"


def test_pairs_have_segments_and_are_cut_together():
    rows = Table("a.csv", {"a": ["one two three"], "b": ["four five six seven"], "label": ["x"]})
    config = LabelledRows(text="a", second="b")
    batch = LabelledBatches(rows, reader(8), config, Labels("one", ("x", "y"))).collate([0])
    assert batch.inputs.tokens.shape == (1, 8)
    assert 3 <= int(batch.inputs.segments.sum()) <= 4 and batch.inputs.segments[0, 0] == 0
