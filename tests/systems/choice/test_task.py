"""Learning to choose: the loss against a plain formula, questions with unequal choices, begun from other models."""

import json

import pytest
import torch
import torch.nn.functional as F

import formers
from formers.data.sources import Table, read_table
from formers.errors import DataError
from formers.models.heads import HeadConfig, MultipleChoice
from formers.recipe import load_recipe
from formers.registry import prepare
from formers.systems.choice.data import ChoiceBatches, ChoiceRows
from formers.systems.choice.system import Chooser
from formers.systems.choice.task import ChoiceTask
from formers.systems.sizes import EncoderSizes
from formers.text.training import train_word_pieces

SMALL = ["data.count=60", "data.held_out=20", "rows.vocab=200", "model.dim=16", "model.hidden=32", "model.heads=2",
         "model.layers=2", "train.precision=fp32", "train.log_every=5"]  # fmt: skip
QUESTIONS = [
    ("What comes after Monday?", ["Tuesday", "Friday"], 0),
    ("Which is larger, 1 or 9?", ["1", "9", "none of the two"], "9"),
    ("Say it", ["yes", "no", "perhaps", "never again"], 3),
]


def table(rows=QUESTIONS) -> Table:
    return Table(
        "a.jsonl", dict(zip(("question", "choices", "answer"), map(list, zip(*rows, strict=True)), strict=True))
    )


def chooser() -> Chooser:
    """Random weights."""
    tokenizer = train_word_pieces([text for row in QUESTIONS for text in (row[0], *row[1])] * 2, 90)
    torch.manual_seed(3)
    config = EncoderSizes(dim=16, layers=2, heads=2, hidden=32, length=40, dropout=0.0).config(tokenizer.vocab)
    model = MultipleChoice(HeadConfig(encoder=config))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return Chooser(model.eval(), tokenizer)


def test_the_loss_is_cross_entropy_over_the_choices_of_each_question():
    made = chooser()
    batches = ChoiceBatches(table(), made.reader, ChoiceRows())
    task = ChoiceTask(made, batches)
    found = task.loss(batches.collate([2, 0, 1]))
    answers = [0, 1, 3]
    scores = [torch.tensor(made.choose(question, choices).scores) for question, choices, _ in QUESTIONS]
    expected = sum(F.cross_entropy(row, torch.tensor(answer)) for row, answer in zip(scores, answers, strict=True))
    assert found.total.item() == pytest.approx(expected.item(), rel=1e-4) and found.count == 3
    assert found.parts["tokens"] == batches.encoded.rows.tokens.lengths.sum()
    report = task.evaluate().values()
    assert report["loss"] == pytest.approx(expected.item() / 3, rel=1e-4)
    right = [int(row.argmax()) == answer for row, answer in zip(scores, answers, strict=True)]
    assert report["accuracy"] == pytest.approx(sum(right) / 3)
    assert report["chance"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)


def test_batches_hold_every_question_whole():
    made = chooser()
    rows = table(QUESTIONS * 10)
    batches = ChoiceBatches(rows, made.reader, ChoiceRows(tokens_per_batch=100))
    plan = batches.epoch(0)
    assert sorted(int(row) for part in plan for row in part) == list(range(30)) and len(plan) > 3
    for part in plan:
        batch = batches.collate(part)
        assert batch.counts == [len(rows.columns["choices"][row]) for row in part]
        assert len(batch.inputs.tokens) == sum(batch.counts) and batch.inputs.tokens.numel() <= 100
    assert batches.describe([3]) == "a.jsonl, row 4 and 0 more"


@pytest.mark.parametrize(
    ("choices", "answer", "fault"),
    [
        (["a"], 0, "its choices are"),
        ("ab", 0, "its choices are"),
        (["a", " "], 0, "one of its"),
        (["a", "b"], 2, "answer"),
    ],
)
def test_rows_that_are_no_questions(choices, answer, fault):
    with pytest.raises(DataError, match=rf"a.jsonl, row 2: .*{fault}"):
        ChoiceBatches(table([QUESTIONS[0], ("What?", choices, answer)]), chooser().reader, ChoiceRows())


def test_a_run_from_data_to_answers(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text(
        "".join(json.dumps(dict(zip(("question", "choices", "answer"), row, strict=True))) + "\n" for row in QUESTIONS)
    )
    given = [*SMALL, f"data.train={path}", f"data.validation={path}", "rows.vocab=90", "train.steps=60",
             "train.rate=5e-3", "train.warmup=5", "train.evaluate_every=60", "model.dropout=0.0"]  # fmt: skip
    list(formers.train("choice", given, run=tmp_path / "run"))
    made = formers.load(tmp_path / "run")
    assert [made.choose(question, choices).place for question, choices, _ in QUESTIONS] == [0, 1, 3]
    ready = prepare("choice", load_recipe("choice", [*given, f"model.start={tmp_path / 'run'}"]).sections, tmp_path)
    torch.testing.assert_close(ready.task.model.out.weight, made.model.out.weight)
    frozen = load_recipe("choice", [*given, "task.freeze=1"]).sections
    assert any(line.startswith("frozen: the embeddings") for line in prepare("choice", frozen, tmp_path / "new").report)


@pytest.mark.parametrize("form", ["distilbert", "roberta"])
def test_any_form_is_saved_and_read_again(tmp_path, form):
    list(formers.train("choice", [*SMALL, f"model.form={form}", "train.steps=2"], run=tmp_path / "run"))
    made = formers.load(tmp_path / "run")
    made.save(tmp_path / "again")
    question, choices, _ = QUESTIONS[1]
    assert formers.load(tmp_path / "again").choose(question, choices) == made.choose(question, choices)


def test_the_quiz_has_an_answer_among_its_choices():
    rows = read_table("builtin:quiz-choices", count=200, split="test", seed=3)
    assert rows == read_table("builtin:quiz-choices", count=200, split="test", seed=3)
    places = rows.columns["answer"]
    assert all(len(set(choices)) == 2 for choices in rows.columns["choices"]) and 60 < sum(places) < 140
    asked = dict(zip(rows.columns["question"], zip(rows.columns["choices"], places, strict=True), strict=True))
    right = {question: choices[place] for question, (choices, place) in asked.items()}
    pairs = read_table("builtin:quiz-preferences", count=400, split="test", seed=5).columns
    known = {
        messages[0]["content"]: chosen for messages, chosen in zip(pairs["messages"], pairs["chosen"], strict=True)
    }
    assert len(known.keys() & right.keys()) > 20
    assert all(known[question] == right[question] for question in known.keys() & right.keys())
