"""`formers choose` and `evaluate` of models of choices: what they print, each fault."""

import json

import pytest

import formers
from tests.cli.conftest import call, fails, leaves_out, works
from tests.systems.choice.test_task import QUESTIONS, chooser
from tests.systems.language.toy import language


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("chooser") / "model"
    chooser().save(place)
    return place


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "questions.jsonl"
    rows = [{"question": question, "choices": choices, "answer": answer} for question, choices, answer in QUESTIONS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_one_question(folder):
    made = formers.load(folder)
    found = made.choose("Say it", ["yes", "no"])
    assert works("choose", folder, "Say it", "--choices", "yes, no") == f"{found.choice}\n"
    row = json.loads(works("choose", folder, "Say it", "--choices", "yes", "--choices", "no", "--json"))
    assert (row["question"], row["choices"], row["place"]) == ("Say it", ["yes", "no"], found.place)
    assert row["probabilities"] == pytest.approx(found.probabilities, abs=1e-5)
    comma = works("choose", folder, "Say it", "--choices", "yes, sir", "--choices", "yes, sir", "--json")
    assert json.loads(comma)["choices"] == ["yes, sir", "yes, sir"]


def test_a_file_with_or_without_answers(folder, file, tmp_path):
    made = formers.load(folder)
    expected = [made.choose(question, choices).choice for question, choices, _ in QUESTIONS]
    assert works("choose", folder, "--file", file).splitlines() == expected
    (tmp_path / "open.jsonl").write_text(json.dumps({"question": "Say it " * 30, "choices": ["yes", "no"]}) + "\n")
    done = call("choose", folder, "--file", tmp_path / "open.jsonl", "--out", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())["choice"] in ("yes", "no")
    assert done.stderr.startswith("cut: 2 choice(s)")


def test_evaluate(folder, file):
    found = json.loads(works("evaluate", folder, "--data", file, "--json"))
    assert found["questions"] == 3 and found["chance"] == pytest.approx(13 / 36)
    made = formers.load(folder)
    right = [
        made.choose(q, choices).place == place for (q, choices, _), place in zip(QUESTIONS, [0, 1, 3], strict=True)
    ]
    assert found["accuracy"] == pytest.approx(sum(right) / 3)
    assert "chance" in works("evaluate", folder, "--data", file, "--count", 2)
    assert "give --data SOURCE" in fails("evaluate", folder)


def test_what_cannot_be_chosen(folder, tmp_path):
    assert "give a question and --choices, or --file" in fails("choose", folder)
    assert "give a question and --choices, or --file" in fails("choose", folder, "a", "--file", "b")
    assert "got 1 choice(s), expected at least two" in fails("choose", folder, "a", "--choices", "b,")
    (tmp_path / "a.jsonl").write_text(json.dumps({"question": "a", "choices": ["b"]}) + "\n")
    assert "a.jsonl, line 1: its choices are" in fails("choose", folder, "--file", tmp_path / "a.jsonl")
    assert "is for choice, expected a model for classification" in fails("classify", folder, "a")


def test_questions_that_cannot_be_asked_are_left_out_and_counted(folder, tmp_path):
    good = [{"question": question, "choices": choices, "answer": answer} for question, choices, answer in QUESTIONS]
    bad = [{**good[0], "choices": ["Tuesday"]}, {**good[0], "choices": "Tuesday"}, {**good[0], "question": 5}]
    leaves_out(tmp_path / "a.jsonl", good, bad, ": its choices are", "choose", folder, "--file")
    assert "--skip-bad is for" in fails("choose", folder, "Say it", "--choices", "a,b", "--skip-bad")
    leaves_out(
        tmp_path / "b.jsonl",
        good,
        [{**good[0], "answer": 7}, *bad[:1]],
        ": its answer is 7",
        "evaluate",
        folder,
        "--data",
    )


def test_a_language_model_leaves_out_what_it_cannot_read(tmp_path):
    language(length=200).save(tmp_path / "model")
    good = [{"question": question, "choices": choices, "answer": answer} for question, choices, answer in QUESTIONS]
    few, long = {"question": "Say it", "choices": ["yes"], "answer": 0}, {**good[0], "question": "Monday " * 150}
    for command in (["choose", tmp_path / "model", "--file"], ["evaluate", tmp_path / "model", "--choices"]):
        leaves_out(tmp_path / "a.jsonl", good, [few], ": its choices are", *command)
        rows = "".join(json.dumps(row) + "\n" for row in [*good, few, long])
        (tmp_path / "b.jsonl").write_text(rows)
        assert "left out: 2 row(s)" in call(*command, tmp_path / "b.jsonl", "--skip-bad").stderr
    (tmp_path / "b.jsonl").write_text(json.dumps(long))
    assert "none of the 1 questions can be asked" in fails(*command, tmp_path / "b.jsonl", "--skip-bad")
