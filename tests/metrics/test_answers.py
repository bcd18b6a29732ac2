"""SQuAD's exact match and F1, against cases worked by hand."""

import pytest

from formers.metrics.answers import answer_scores, exact, normalised, overlap


def test_what_is_not_compared():
    assert normalised("  The Denver-Broncos, a team! ") == "denverbroncos team"
    assert normalised("An apple") == "apple" and normalised("Theatre") == "theatre"
    assert normalised("the") == ""
    assert exact("The  308", "308.") == 1.0 and exact("308", "309") == 0.0


def test_overlap_of_words():
    assert overlap("the old red house", "red house") == pytest.approx(2 * (2 / 3) / (2 / 3 + 1))
    assert overlap("a a b b", "b b b") == pytest.approx(2 * 2 / (2 + 3))  # "a" is an article; b twice
    assert overlap("", "") == 1.0 and overlap("the", "") == 1.0
    assert overlap("", "word") == 0.0 and overlap("word", "") == 0.0


def test_the_best_of_several_true_answers_counts_and_kinds_are_told_apart():
    assert answer_scores(["308", "no"], [["308 points", "308"], ["yes"]]) == {"exact_match": 0.5, "f1": 0.5}
    found = answer_scores(["Rome", "", "in Paris", ""], [["Rome"], [], ["Paris"], ["Oslo"]])
    assert found == pytest.approx(
        {
            "exact_match": 0.5,
            "f1": (1 + 1 + 2 / 3) / 4,
            "exact_match_answered": 1 / 3,
            "f1_answered": (1 + 2 / 3) / 3,
            "exact_match_unanswerable": 1.0,
            "f1_unanswerable": 1.0,
        }
    )
    assert answer_scores(["x"], [[]]) == {"exact_match": 0.0, "f1": 0.0}
