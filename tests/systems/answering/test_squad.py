"""SQuAD's own files that are built wrong: one line with the place."""

import copy
import json

import pytest

from formers.errors import DataError
from formers.systems.answering.squad import read_squad

COLUMNS = ["context", "question", "answers", "answer_starts"]
ANSWER = {"text": "Rome", "answer_start": 14}
WHOLE = {"data": [{"paragraphs": [{"context": "x", "qas": [{"id": 1, "question": "Who?", "answers": [ANSWER]}]}]}]}
QUESTION = ("data", 0, "paragraphs", 0, "qas", 0)


def refused(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_squad(str(path), COLUMNS)
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and len(message) < 500
    return message.removeprefix(f"{path}")


@pytest.mark.parametrize(
    ("keys", "value", "part"),
    [
        (("data",), None, "data is None, expected a list"),
        (("data", 0), [], "data[0] is [], expected an object"),
        (("data", 0, "paragraphs"), {"a": 1}, "data[0].paragraphs is"),
        (("data", 0, "paragraphs", 0, "context"), 7, "data[0].paragraphs[0].context is 7, expected a text"),
        ((*QUESTION, "question"), ["Who?"], "qas[0].question is"),
        ((*QUESTION, "answers"), "Rome", "qas[0].answers is 'Rome', expected a list"),
        ((*QUESTION, "answers", 0), "Rome", "answers[0] is 'Rome', expected an object"),
        ((*QUESTION, "answers", 0, "answer_start"), True, "answer_start is True, expected a whole number"),
        ((*QUESTION, "answers", 0, "answer_start"), -1, "answer_start is -1, expected 0 or more"),
        ((*QUESTION, "answers", 0, "answer_start"), 1.5, "answer_start is 1.5, expected a whole number"),
        ((*QUESTION, "answers", 0, "text"), None, "text is None, expected a text"),
        ((*QUESTION, "is_impossible"), "no", "is_impossible is 'no', expected true or false"),
    ],
)
def test_a_value_of_a_wrong_kind_is_named_with_its_place(tmp_path, keys, value, part):
    whole = copy.deepcopy(WHOLE)
    place = whole
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    assert part in refused(tmp_path, json.dumps(whole))


def test_what_is_no_object_of_squad(tmp_path):
    assert "not in SQuAD's form (data > paragraphs > qas): data is missing" in refused(tmp_path, '{"rows": []}')
    assert ", line 1, column 10: bad JSON" in refused(tmp_path, '{"data": ')
    assert "bad JSON" in refused(tmp_path, '{"data": ' + "[" * 100_000)
    assert "half a character" in refused(tmp_path, json.dumps(WHOLE).replace("Who?", "\\ud800"))
    assert "there are no questions" in refused(tmp_path, '{"data": []}')
    open_question = json.dumps(WHOLE).replace('"answers"', '"replies"')
    assert 'has no "answers", nor is it marked as is_impossible' in refused(tmp_path, open_question)
