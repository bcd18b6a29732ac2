"""Entities of BIO labels and their F1, against cases worked by hand."""

import pytest

from formers.metrics.spans import Span, is_bio, span_scores, spans


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O O", []),
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("B-PER B-PER I-PER", [("PER", 0, 1), ("PER", 1, 3)]),
        ("O I-PER I-PER O", [("PER", 1, 3)]),  # begins without B: conlleval counts it
        ("B-PER I-LOC I-LOC", [("PER", 0, 1), ("LOC", 1, 3)]),  # another kind begins anew
        ("I-PER B-PER I-PER", [("PER", 0, 1), ("PER", 1, 3)]),  # IOB1
        ("S-PER B-LOC I-LOC E-LOC S-LOC", [("PER", 0, 1), ("LOC", 1, 4), ("LOC", 4, 5)]),
        ("U-PER B-LOC L-LOC I-LOC", [("PER", 0, 1), ("LOC", 1, 3), ("LOC", 3, 4)]),
        ("B-A-B I-A-B", [("A-B", 0, 2)]),  # a kind may hold the sign
        ("B-PER NOUN I-PER", [("PER", 0, 1), ("PER", 2, 3)]),
        ("B-PER  I-PER", [("PER", 0, 1), ("PER", 2, 3)]),  # "": a word without a label
    ],
)
def test_entities_of_a_sentence(tags, expected):
    assert spans(tags.split(" ")) == [Span(*each) for each in expected]


def test_no_words_no_entities():
    assert spans([]) == []


def test_f1_of_entities_counts_whole_ones_of_the_right_kind():
    expected = ["B-PER I-PER O B-LOC O".split(), "O B-ORG I-ORG".split()]
    predicted = ["B-PER I-PER O B-ORG O".split(), "O B-ORG O".split()]
    # found: (PER 0-2) right, (ORG 3-4) wrong kind, (ORG 1-2) too short: 1 of 3 right, 1 of 3 found
    assert span_scores(predicted, expected) == pytest.approx(
        {"span_precision": 1 / 3, "span_recall": 1 / 3, "span_f1": 1 / 3}
    )
    one = span_scores([["B-A", "O", "B-A"]], [["B-A", "O", "O"]])
    assert one == pytest.approx({"span_precision": 0.5, "span_recall": 1.0, "span_f1": 2 / 3})
    assert set(span_scores([["O"]], [["O"]]).values()) == {0.0}
    with pytest.raises(ValueError, match="got 1 predicted labels, expected 2"):
        span_scores([["O"]], [["O", "O"]])


def test_which_labels_mark_entities():
    assert is_bio(["O", "B-PER", "I-PER"]) and is_bio(["B-X", "I-X"]) and is_bio(["O", "S-A", "B-A", "I-A", "E-A"])
    assert not is_bio(["NOUN", "VERB"]) and not is_bio(["O"]) and not is_bio(["O", "B-PER", "NOUN"])
