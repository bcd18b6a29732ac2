"""Passages and answers: what is read, what is refused, the split by passage, answers in windows."""

import json

import pytest

from formers.data.builtin import facts
from formers.data.source import Source
from formers.errors import DataError
from formers.systems.answering.data import PassageBatches, PassageRows, placed
from formers.text.reader import Reader
from formers.text.training import train_word_pieces

TEXT = "Anna lives in Rome. Ben lives in New York."
FLAT = {"context": TEXT, "question": "Where does Ben live?", "answers": ["New York"], "answer_starts": [33]}

ROWS = PassageRows()
WINDOWS = PassageRows(length=14, stride=3)


def write(folder, rows, name="questions.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(folder, *rows):
    return read_file(write(folder, rows))


def read_file(path):
    return Source(train=str(path)).read("train", reader=ROWS.read)


def nested(answers):
    return {"context": TEXT, "question": "Where?", "answers": answers}


def test_answers_may_be_flat_nested_or_in_squads_own_file(tmp_path):
    table = read(tmp_path, FLAT, FLAT | {"answers": [], "answer_starts": []})
    assert table.columns["answers"] == [["New York"], []] and table.columns["answer_starts"] == [[33], []]
    table = read(
        tmp_path,
        nested({"text": ["Rome"], "answer_start": [14]}),
        nested({"text": [], "answer_start": []}),
        nested([{"text": "Rome", "answer_start": 14}]),
    )
    assert table.columns["answers"] == [["Rome"], [], ["Rome"]]
    assert table.columns["answer_starts"] == [[14], [], [14]]
    squad = {
        "version": "v2.0",
        "data": [
            {
                "title": "t",
                "paragraphs": [
                    {
                        "context": TEXT,
                        "qas": [
                            {
                                "id": "1",
                                "question": "Where?",
                                "answers": [{"text": "Rome", "answer_start": 14}],
                                "is_impossible": False,
                            },
                            {"id": "2", "question": "Who?", "answers": [], "is_impossible": True},
                        ],
                    }
                ],
            }
        ],
    }
    path = tmp_path / "train.json"
    path.write_text(json.dumps(squad), encoding="utf-8")
    table = read_file(path)
    assert table.columns == {
        "context": [TEXT, TEXT],
        "question": ["Where?", "Who?"],
        "answers": [["Rome"], []],
        "answer_starts": [[14], []],
    }
    path.write_text('{"rows": []}', encoding="utf-8")
    with pytest.raises(DataError, match="not in SQuAD's form"):
        read_file(path)


def test_every_fault_is_one_line_with_its_row(tmp_path):
    def refused(*rows):
        with pytest.raises(DataError) as found:
            read(tmp_path, *rows)
        assert "\n" not in str(found.value)
        return str(found.value)

    wrong = refused(FLAT, FLAT | {"answer_starts": [30]})
    assert 'line 2: at character 30 the passage has "in New Y", expected the answer "New York"' in wrong
    assert "it begins at 33" in wrong
    assert "does not contain it" in refused(FLAT | {"answers": ["Paris"]})
    assert "got 1 answers but 2 offsets" in refused(FLAT | {"answer_starts": [33, 33]})
    assert 'column "answers" holds "Rome", expected a list of texts' in refused(FLAT | {"answers": "Rome"})
    assert "expected a list of whole numbers" in refused(FLAT | {"answer_starts": ["33"]})
    assert 'no key "answer_starts"' in refused({key: FLAT[key] for key in ("context", "question", "answers")})
    assert 'no key "context"' in refused({"question": "Where?", "answers": [], "answer_starts": []})
    assert 'column "question" is empty' in refused(FLAT | {"question": " "})


def test_the_split_is_by_passage(tmp_path):
    rows = [FLAT | {"context": TEXT + f" {i // 3}", "question": f"q{i}"} for i in range(60)]
    fifth = PassageRows(share=0.2)
    table, held_out = Source(train=write(tmp_path, rows)).tables(reader=fifth.read, set_aside=fifth.apart)
    ours, theirs = set(table.columns["context"]), set(held_out.columns["context"])
    assert len(ours) == 16 and len(theirs) == 4 and not ours & theirs
    assert len(table) == 48 and len(held_out) == 12
    assert held_out.where(3).endswith("line 19")  # rows know where they came from: the seventh passage's first
    with pytest.raises(DataError, match="got 1 passage, expected at least 2"):
        Source(train=write(tmp_path, [FLAT, FLAT])).tables(reader=ROWS.read, set_aside=ROWS.apart)


@pytest.fixture(scope="module")
def tokenizer():
    return train_word_pieces([TEXT, FLAT["question"]] * 2, 120)


def test_answers_become_places_in_every_window_that_holds_them(tokenizer, tmp_path):
    reader = Reader(tokenizer, 14)
    windows = reader.windows([FLAT["question"]], [TEXT], stride=3)[0]
    assert len(windows) > 2
    held = 0
    for window in windows:
        found = placed(window, 33, 41)
        said = TEXT[window.offsets[found.start][0] : window.offsets[found.end][1]]
        inside = window.offsets[found.first][0] <= 33 and window.offsets[found.last][1] >= 41
        held += inside
        assert said == ("New York" if inside else "") and found.null == 0
        assert {window.sequence_ids[place] for place in range(found.first, found.last + 1)} == {1}
        none = placed(window, 0, 0)
        assert none.start == none.end == none.null
    assert held
    table = read(tmp_path, *[FLAT])
    batches = PassageBatches(table, reader, WINDOWS, seed=1)
    batch = batches.collate(range(len(windows)))
    assert batch.inputs.tokens.shape[0] == len(windows) == len(batches.of)
    assert batch.open[:, 0].all() and not batch.open[:, 1].any()
    rows = range(len(windows))
    assert batch.open[rows, batch.starts].all() and batch.open[rows, batch.ends].all()
    assert int((batch.starts > 0).sum()) == held
    begin = windows[0].sequence_ids.index(1)
    assert batch.inputs.segments[0].tolist()[: begin + 1] == [0] * begin + [1]


def test_an_answer_that_no_window_holds_is_left_out_and_counted(tokenizer, tmp_path):
    long = FLAT | {"answers": [TEXT], "answer_starts": [0]}
    table = read(tmp_path, *[FLAT, long])
    batches = PassageBatches(table, Reader(tokenizer, 14), WINDOWS, seed=1)
    assert set(batches.of) == {0}
    assert any("left out: 1 (50.00%)" in line for line in batches.report.lines())
    table = read(tmp_path, *[long])
    with pytest.raises(DataError, match="no window of 14 tokens holds the answer"):
        PassageBatches(table, Reader(tokenizer, 14), WINDOWS, seed=1)


def test_a_question_without_room_is_named(tokenizer, tmp_path):
    table = read(tmp_path, *[FLAT, FLAT | {"question": "Where " * 20}])
    with pytest.raises(DataError, match=r"line 2: question 1 has \d+ tokens"):
        PassageBatches(table, Reader(tokenizer, 14), WINDOWS, seed=1)


def test_the_built_in_facts_stand_where_their_offsets_say():
    rows = facts.rows("test", 300)
    assert rows == facts.rows("test", 300) and rows != facts.rows("test", 300, seed=1)
    train = facts.rows("train", 2000)
    for context, _, answers, starts in [*rows, *train]:
        assert all(context[start : start + len(each)] == each for each, start in zip(answers, starts, strict=True))
    assert 30 < sum(not answers for _, _, answers, _ in rows) < 90
    said = " ".join(context for context, *_ in train)
    for _, question, answers, _ in rows:  # who is asked for with what was never told in training
        name = next(name for name in facts.NAMES if name in question)
        for kind in facts.KINDS:
            for form in kind.statements if answers and answers[0] in kind.values else ():
                assert form.format(x=name, v=answers[0]) not in said
