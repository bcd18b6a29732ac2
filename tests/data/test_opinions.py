"""Generated opinions: deterministic, balanced, apart by combination, and what they are said to mean."""

import pytest

from formers.data.builtin import opinions as made
from formers.data.builtin.split import SPLITS
from formers.data.sources import read_table
from formers.errors import DataError


def test_the_same_seed_gives_the_same_rows():
    assert made.opinions("train", 50, 3) == made.opinions("train", 50, 3) != made.opinions("train", 50, 4)
    assert made.opinions("train", 50, 3)[:20] == made.opinions("train", 20, 3)


def test_both_labels_and_no_sentence_in_two_splits():
    rows = {split: made.opinions(split, 1500) for split in SPLITS}
    for split in SPLITS:
        share = sum(label == "positive" for _, label in rows[split]) / 1500
        assert 0.45 < share < 0.55
    plain = {split: {text for text, _ in rows[split]} for split in SPLITS}
    assert not plain["train"] & plain["test"] and not plain["train"] & plain["validation"]
    assert len(plain["test"]) > 300


def test_a_negation_turns_the_judgement():
    labels = dict(made.opinions("train", 4000))
    for text, label in labels.items():
        if text.startswith("The ") and " was not " in text:
            word = text.split(" was not ")[1].rstrip(".")
            assert label == ("negative" if word in made.WORDS[1] + made.WORDS[2] else "positive"), text
    assert any(" was not " in text for text in labels) and any(" an awful " in text for text in labels)


def test_likeness():
    said = [made.Opinion("", thing, strength) for thing, strength in (("soup", 2), ("soup", -2), ("film", 2))]
    assert made.likeness(said[0], said[0]) == 5
    assert made.likeness(said[0], said[1]) == 1
    assert made.likeness(said[0], said[2]) == 3
    scores = [score for _, _, score in made.pairs("validation", 300)]
    assert min(scores) == 1 and max(scores) == 5 and len(set(scores)) > 4


def test_as_a_table_and_what_is_refused():
    table = read_table(
        "builtin:opinion-pairs", columns=["sentence1", "sentence2", "score"], count=4, text=["sentence1", "sentence2"]
    )
    assert len(table) == 4 and isinstance(table.columns["score"][0], float)
    with pytest.raises(DataError, match="split: got"):
        made.opinions("dev", 3)
    with pytest.raises(DataError, match="count: got -1"):
        made.pairs("train", -1)
