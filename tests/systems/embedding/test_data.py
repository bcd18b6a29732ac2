"""Texts that are alike: what is read, how pairs are drawn, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from formers.data.builtin.paraphrases import groups, meanings, scored, split_of_meaning
from formers.data.builtin.split import SPLITS
from formers.data.source import Source
from formers.data.sources import Table, read_table
from formers.errors import ConfigError, DataError
from formers.systems.embedding.data import Likeness, LikenessRows, classes_of, even
from formers.text.reader import Reader
from formers.text.training import train_word_pieces

TEXTS = [
    "a cat sat",
    "the cat was sitting",
    "a dog ran off",
    "the dog ran away fast",
    "rain fell",
    "it rained",
    "it poured",
]
TWO = {"sentence1": "a", "sentence2": "b"}


@pytest.fixture(scope="module")
def reader():
    return Reader(train_word_pieces(TEXTS * 3, 80), 32)


def lines(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def likeness(reader, rows, columns, **fields):
    data = LikenessRows(rows=rows, **fields)
    classes = sorted(set(columns["label"])) if rows == "labelled" else ()
    return Likeness(Table("t", columns), data, reader, classes)


def train_rows(rows, source):
    return source.read("train", **rows.reading(source))


# ---- built in ----------------------------------------------------------------------------------------------


def test_built_in_paraphrases_are_of_one_meaning_and_one_split():
    assert groups("train", 50, seed=3) == groups("train", 50, seed=3) != groups("train", 50, seed=4)
    for split in SPLITS:
        known = meanings(split)
        assert len(known) > 200 and {split_of_meaning(meaning) for meaning in known} == {split}
        for (texts,) in groups(split, 100):
            assert len(set(texts)) == 5
            # some meaning of the split has a way to say each place in every one of the sentences
            who, verb, thing, where, when = next(m for m in known if all(says(text, m) for text in texts))
            assert who and verb and thing and where and when
    with pytest.raises(DataError, match="expected 0 to"):
        groups("test", 10_000)


def says(text, meaning):
    lower = text.lower()
    return all(any(form in lower for way in place.split("|") for form in way.split("/")) for place in meaning)


def test_built_in_scores_count_the_places_that_agree():
    rows = scored("validation", 120)
    assert sorted({score for *_, score in rows}) == [0, 1, 2, 3, 4, 5]
    known = meanings("validation")
    for one, other, score in rows[:30]:
        of_one, of_other = ([m for m in known if says(text, m)] for text in (one, other))
        assert score in {float(sum(a == b for a, b in zip(m, n, strict=True))) for m in of_one for n in of_other}
    assert (
        len(
            read_table(
                "builtin:paraphrase-scores",
                columns=["sentence1", "sentence2", "score"],
                text=["sentence1"],
                split="test",
            )
        )
        == 600
    )


# ---- batches -----------------------------------------------------------------------------------------------


def test_pairs_of_a_group_are_drawn_anew_in_every_epoch(reader):
    found = likeness(reader, "groups", {"texts": [TEXTS[:2], TEXTS[2:4], TEXTS[4:]]}, rows_per_batch=2)
    assert found.ends.tolist() == [2, 4, 10]
    pairs = {tuple(found.places(np.array([number]))[:, 0]) for number in range(10)}
    assert pairs == {(0, 1), (1, 0), (2, 3), (3, 2)} | {(a, b) for a in (4, 5, 6) for b in (4, 5, 6) if a != b}
    seen = set()
    for epoch in range(60):
        numbers = np.concatenate(found.epoch(epoch))
        assert sorted(found.row_of(numbers)) == [0, 1, 2]  # every group, once
        assert np.array_equal(np.concatenate(found.epoch(epoch)), numbers)  # a pure function
        seen |= set(numbers.tolist())
    assert seen == set(range(10))
    batch = found.collate([0, 9])
    assert batch.texts.tokens.shape[0] == 4 and batch.sides == 2 and batch.groups.tolist() == [0, 2]
    assert found.describe([9]).startswith('t, row 3 ("rain fell")')


def test_several_pairs_of_a_group_are_told_apart_by_its_number(reader):
    found = likeness(reader, "groups", {"texts": [TEXTS[:2], TEXTS[4:]]}, group_pairs=3, rows_per_batch=6)
    (rows,) = found.epoch(0)
    assert sorted(found.collate(rows).groups.tolist()) == [0, 0, 0, 1, 1, 1]


def test_sides_labels_and_scores(reader):
    two = {"sentence1": TEXTS[:2], "sentence2": [TEXTS[2], TEXTS[0]]}
    found = likeness(reader, "labelled", {**two, "label": ["no", "maybe"]})
    batch = found.collate([1, 0])
    assert batch.values.tolist() == [0, 1]  # sorted: maybe, no
    assert batch.same[0, 1] == batch.same[1, 0] and batch.same[0, 0] != batch.same[0, 1]  # equal texts
    rules = reader.tokenizer.rules
    decoded = [rules.decode(row.tolist()) for row in batch.texts.tokens]
    assert decoded == [TEXTS[1], TEXTS[0], TEXTS[0], TEXTS[2]]
    found = likeness(reader, "scored", {**two, "score": [1.0, 4.0]}, lowest=1, highest=5)
    assert found.collate([0, 1]).values.tolist() == [0.0, 0.75]
    three = {"anchor": TEXTS[:2], "positive": TEXTS[2:4], "negative": TEXTS[4:6], "other": TEXTS[5:]}
    found = likeness(reader, "triplets", three, negatives=("negative", "other"))
    assert found.collate([0]).same.shape == (4, 1)


def test_batches_are_even_and_of_similar_length(reader):
    random = np.random.default_rng(0)
    lengths = random.integers(1, 50, (1000, 2))
    found = even(lengths, 64, random)
    assert sorted(np.concatenate(found)) == list(range(1000)) and {len(batch) for batch in found} == {62, 63}
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in found)
    assert padded < 0.9 * 1000 * 50  # in random batches nearly all of it
    texts = {"sentence1": TEXTS[:6], "sentence2": TEXTS[1:], "score": [1.0] * 6}
    by_tokens = likeness(reader, "scored", texts, tokens_per_batch=16).epoch(0)
    assert sorted(np.concatenate(by_tokens)) == list(range(6)) and len(by_tokens) > 2


def test_the_report_counts_what_is_cut_and_equal(reader):
    found = likeness(
        reader,
        "labelled",
        {"sentence1": ["a cat sat", "a cat sat"], "sentence2": TEXTS[2:4], "label": [0, 1]},
        length=4,
    )
    notes = "\n".join(found.report(None).lines())
    assert "texts: 4, " in notes and "cut to the longest length: 4 (100.00%)" in notes and "classes: 0 1, 1 1" in notes


def test_validation_pairs_are_made_of_held_out_rows(tmp_path):
    rows = [{"texts": [f"one {i}", f"other {i}"]} for i in range(60)]
    source = Source(train=lines(tmp_path, *rows), held_out=200)
    train, held, pairs = LikenessRows().tables(source)
    assert len(train) == 57 and len(held) == 3 and len(pairs) == 6
    assert pairs.columns["score"] == [1.0] * 3 + [0.0] * 3
    for one, other, score in zip(*pairs.columns.values(), strict=True):
        assert (one.split()[1] == other.split()[1]) == (score == 1.0)
    assert LikenessRows(rows="labelled").pairs_of(held) is None
    rows = [{"sentence1": "a", "sentence2": "b", "score": i % 6} for i in range(40)]
    source = Source(train=lines(tmp_path, *rows), held_out=200)
    train, held, pairs = LikenessRows(rows="scored").tables(source)
    assert pairs is held and len(train) == 38
    train, held, pairs = LikenessRows(rows="scored").tables(replace(source, held_out=0))
    assert len(train) == 40 and held is None and pairs is None


# ---- faults ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "rows", "message"),
    [
        ({"rows": "scored"}, [{"sentence1": "a", "score": 1}], 'no key "sentence2"'),
        (
            {"rows": "scored"},
            [{**TWO, "score": 1}, {**TWO, "score": 7}],
            "line 2: the score 7 is outside 0 to 5; set rows.lowest and rows.highest",
        ),
        ({"rows": "scored"}, [{**TWO, "score": "high"}], 'line 1: column "score" holds "high"'),
        ({"rows": "scored"}, [{**TWO, "score": True}], "holds True, expected a number"),
        (
            {"rows": "labelled"},
            [{"sentence1": "a", "sentence2": " ", "label": 1}],
            'line 1: column "sentence2" is empty',
        ),
        ({"rows": "pairs"}, [{"anchor": "a", "positive": 3}], 'line 1: column "positive" holds 3'),
        ({"rows": "triplets"}, [{"anchor": "a", "positive": "b"}], 'no key "negative"'),
        ({}, [{"texts": "a"}], 'line 1: column "texts" holds "a", expected a list of texts'),
        ({}, [{"texts": ["a", "b"]}, {"texts": ["a"]}], "holds a list of 1 text(s), expected at least 2"),
        ({}, [{"texts": ["a", " "]}], "holds an empty text in its list"),
        ({}, [{"texts": ["a", 5]}], "holds 5 in its list, expected texts only"),
    ],
)
def test_faults_of_rows(tmp_path, fields, rows, message):
    with pytest.raises(DataError) as fault:
        train_rows(LikenessRows(**fields), Source(train=lines(tmp_path, *rows)))
    assert message in str(fault.value) and "\n" not in str(fault.value)


def test_left_out_rows_are_counted(tmp_path, reader):
    rows = [{"texts": texts} for texts in (["a", "b"], ["a"], ["a", ""])]
    data = LikenessRows()
    table = train_rows(data, Source(train=lines(tmp_path, *rows), drop_empty=True))
    assert len(table) == 1 and table.dropped == 2
    assert any(line.startswith("left out: 2 ") for line in Likeness(table, data, reader).report(None).lines())


def test_classes():
    assert classes_of(Table("t", {"label": ["b", "a", "b"]}), "label") == ["a", "b"]
    with pytest.raises(DataError, match="t: all 2 rows have the class 1 in column"):
        classes_of(Table("t", {"label": [1, 1]}), "label")
    with pytest.raises(DataError, match=r"t, row 2: column \"label\" holds 0.5, expected a class"):
        classes_of(Table("t", {"label": [1, 0.5]}), "label")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rows": "pair"}, 'rows.rows "pair" is not known'),
        ({"rows_per_batch": 1}, r"rows.rows_per_batch \(1\) must be at least 2"),
        ({"lowest": 5.0}, r"rows.lowest \(5.0\) must be less than rows.highest"),
        ({"rows": "triplets", "negatives": ()}, "rows.negatives is empty"),
    ],
)
def test_faults_of_the_section(fields, message):
    with pytest.raises(ConfigError, match=message):
        LikenessRows(**fields)
    with pytest.raises(ConfigError, match=r"data\.train is empty"):
        train_rows(LikenessRows(), Source())
