"""Values of wrong kinds in every column of every system's rows: the rows are read, or one line names the place."""

import json

import pytest

from formers.data.labels import learn_labels
from formers.data.questions import questions_of
from formers.data.source import Source
from formers.errors import FormersError
from formers.systems.answering.data import PassageRows
from formers.systems.chat.data import ConversationRows
from formers.systems.choice.data import ChoiceRows
from formers.systems.classification.data import LabelledRows
from formers.systems.embedding.data import LikenessRows
from formers.systems.language.data import TextRows
from formers.systems.preferences.data import PreferenceRows
from formers.systems.tagging.data import TaggedRows
from formers.systems.translation.data import PairRows

WRONG = [None, True, 0, -1, 1.5, 10**400, float("nan"), "", " ", "x", [], {}, [None], [[]], [{}], ["a", 1], {"a": []}]
WRONG += [{"text": 1, "answer_start": "x"}, [{"from": []}], [{"from": "human"}], [{"role": [], "content": {}}]]
WRONG += [[{"role": "user", "content": 1}, {"role": "assistant", "content": ["x"]}], "\ud800", ["\ud800"]]
ASKED = [{"role": "user", "content": "a"}]
TALK = [*ASKED, {"role": "assistant", "content": "b"}]


def labels(table):
    learned = learn_labels(table, "label")
    learned.answers(table, "label")


SYSTEMS = {
    "translation": (PairRows(), {"en": "a", "de": "b"}, None),
    "classification": (LabelledRows(), {"text": "a", "label": "x"}, labels),
    "pairs": (LabelledRows(second="second"), {"text": "a", "second": "b", "label": 1}, labels),
    "tagging": (TaggedRows(), {"tokens": ["a"], "tags": ["X"]}, TaggedRows().labels),
    "answering": (PassageRows(), {"context": "a", "question": "b", "answers": ["a"], "answer_starts": [0]}, None),
    "nested": (PassageRows(), {"context": "a", "question": "b", "answers": {"text": ["a"], "answer_start": [0]}}, None),
    "choice": (ChoiceRows(), {"question": "a", "choices": ["b", "c"], "answer": 0}, questions_of),
    "chat": (ConversationRows(), {"messages": TALK}, None),
    "prompts": (ConversationRows(), {"prompt": "a", "answer": "b"}, None),
    "speakers": (
        ConversationRows(),
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        None,
    ),
    "preferences": (PreferenceRows(), {"messages": ASKED, "chosen": "b", "rejected": "c"}, None),
    "language": (TextRows(), {"text": "a"}, None),
    "groups": (LikenessRows(), {"texts": ["a", "b"]}, None),
    "scored": (LikenessRows(rows="scored"), {"sentence1": "a", "sentence2": "b", "score": 1}, None),
    "labelled": (LikenessRows(rows="labelled"), {"sentence1": "a", "sentence2": "b", "label": "x"}, None),
}


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("ending", [".jsonl", ".json"])
def test_a_wrong_value_is_one_line(tmp_path, name, ending):
    rows, good, after = SYSTEMS[name]
    path = tmp_path / f"rows{ending}"
    source = Source(train=str(path), held_out=0.5)
    refused = 0
    for column in good:
        for value in WRONG:
            lines = [good, {**good, column: value}, {**good, "label": "y"} if "label" in good else good]
            text = json.dumps(lines) if ending == ".json" else "".join(json.dumps(row) + "\n" for row in lines)
            path.write_text(text)
            try:
                table = source.read("train", **rows.reading(source))
                if after is not None:
                    after(table)
            except FormersError as error:
                message, refused = str(error), refused + 1
                assert len(message.splitlines()) == 1 and len(message) < 700, (column, value)
                assert path.name in message, (column, value)
    assert refused > len(WRONG) // 2
