"""The quiz: conversations and preferences of our own making."""

import pytest

from formers.data.builtin.quiz import SERIES, conversations, preferences
from formers.data.builtin.split import SPLITS, split_of
from formers.data.sources import read_table
from formers.errors import DataError
from formers.text.chat import check_messages


def test_the_same_every_time():
    assert conversations("train", 300, seed=3) == conversations("train", 300, seed=3)
    assert conversations("train", 50, seed=3) != conversations("train", 50, seed=4)
    assert conversations("train", 50) == conversations("train", 60)[:50]
    assert len({str(row) for row in conversations("train", 1000)}) > 600


@pytest.mark.parametrize("split", SPLITS)
def test_first_questions_belong_to_one_split(split):
    for (messages,) in conversations(split, 300):
        check_messages(messages, "row", answered=True)
        assert split_of(messages[0]["content"]) == split


def test_answers_are_right():
    for (messages,) in conversations("train", 3000):
        turns = [message["content"] for message in messages]
        question, answer = turns[0], turns[1].rstrip(".").lower()
        if question.startswith(("What comes after", "Which word is last", "Which is larger,")):
            about = question.rstrip("?")
            if "comes after" in question:
                series = next(each for each in SERIES.values() if about.split()[-1] in each)
                expected = series[series.index(about.split()[-1]) + 1].lower()
            elif "last" in question:
                expected = about.split(", ")[-1].split(": ")[-1]
            else:
                expected = str(max(int(part) for part in about.removeprefix("Which is larger, ").split(" or ")))
            assert answer == expected, messages


def test_wrong_answers_are_wrong():
    for messages, chosen, rejected in preferences("validation", 500):
        assert messages[-1]["role"] == "user" and chosen != rejected


def test_as_tables_and_faults():
    table = read_table("builtin:quiz", columns=["messages"], text=[], split="test", count=7)
    assert len(table) == 7 and table.columns["messages"][0][-1]["role"] == "assistant"
    assert list(read_table("builtin:quiz-preferences", count=2).columns) == ["messages", "chosen", "rejected"]
    with pytest.raises(DataError, match="expected 0 or more"):
        conversations("train", -1)
    with pytest.raises(DataError, match="expected one of train"):
        preferences("dev", 1)
