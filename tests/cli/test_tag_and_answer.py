"""`formers tag`, `formers answer`, and `formers evaluate` for both, as the command line runs them."""

import io
import json

import pytest
import torch
from typer.testing import CliRunner

from formers.cli import app
from formers.models.heads import HeadConfig, SpanFinder, TokenClassifier
from formers.systems.answering.system import Answerer
from formers.systems.sizes import EncoderSizes
from formers.systems.tagging.system import Tagger
from formers.text.training import train_word_pieces
from tests.cli.conftest import leaves_out

PASSAGE = "Anna lives in Rome. Ben lives in New York. The old cat sleeps."
runner = CliRunner()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A tagger with plain labels, one with entities, and an answerer, none of which has learned anything."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("models")
    tokenizer = train_word_pieces([PASSAGE, "Where does Ben live?"] * 2, 120)
    config = EncoderSizes(dim=32, layers=1, heads=2, hidden=48, length=48).config(tokenizer.vocab)
    for name, labels in (("plain", ("NOUN", "VERB")), ("names", ("B-PER", "I-PER", "O"))):
        model = TokenClassifier(HeadConfig(encoder=config, labels=labels)).eval()
        torch.nn.init.normal_(model.out.weight)
        Tagger(model, tokenizer).save(place / name)
    Answerer(SpanFinder(HeadConfig(encoder=config)).eval(), tokenizer).save(place / "answers")
    return place


def said(*arguments, code=0, given=None):
    found = runner.invoke(app, [str(each) for each in arguments], input=given)
    assert found.exit_code == code, found.output
    assert code == 0 or len(found.stderr.strip().splitlines()) == 1
    return found.stdout if code == 0 else found.stderr


def test_tag_prints_words_above_their_labels(folders):
    lines = said("tag", folders / "plain", "Anna lives in Rome.").splitlines()
    words, labels = lines[0].split(), lines[1].split()
    assert words == ["Anna", "lives", "in", "Rome", "."] and set(labels) <= {"NOUN", "VERB"} and len(labels) == 5
    assert all(
        lines[0].index(word) in [lines[1].find(label, at) for at in range(len(lines[1]))]
        for word, label in zip(words, labels, strict=True)
    )
    assert said("tag", folders / "plain", "--words", "Rome.").split()[0] == "Rome."


def test_tag_as_json_knows_where_the_words_are(folders, tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("Anna lives.\n\nBen\n", encoding="utf-8")
    shown = said("tag", folders / "names", "--file", file, "--json", "--every")
    rows = [json.loads(line) for line in shown.splitlines()]
    assert [row["text"] for row in rows] == ["Anna lives.", "", "Ben"]
    for row in rows:
        assert all(row["text"][tag["start"] : tag["end"]] == tag["text"] for tag in row["tags"])
        assert all(tag["label"] in ("B-PER", "I-PER", "O") and 0 < tag["score"] <= 1 for tag in row["tags"])
    entities = json.loads(said("tag", folders / "names", "Anna lives.", "--json"))["tags"]
    assert {tag["label"] for tag in entities} <= {"PER"}
    assert said("tag", folders / "names", "Anna lives.").replace("[", "").startswith("Anna")


def test_answer_shows_the_sentence_and_json_the_place(folders, tmp_path):
    options = ["answer", folders / "answers", "Where does Ben live?", "--threshold", "inf"]
    score, answer = said(*options, "--passage", PASSAGE).splitlines()[0].split("  ", 1)
    assert answer in PASSAGE and 0 < float(score) <= 1
    assert f"[{answer}]" in said(*options, "--passage", PASSAGE)
    file = tmp_path / "passage.txt"
    file.write_text(PASSAGE, encoding="utf-8")
    row = json.loads(said(*options, "--passage", file, "--json", "--top", 2))
    assert row["question"] == "Where does Ben live?" and len(row["answers"]) == 2
    assert row["answers"][0]["text"] == answer == PASSAGE[row["answers"][0]["start"] : row["answers"][0]["end"]]
    assert said(*options, "--passage", "-", given=PASSAGE).splitlines()[0].endswith(answer)
    assert said(*options, "--passage", PASSAGE * 6)  # longer than the name of a file may be
    options[-1] = "-1e9"
    assert "(no answer)" in said(*options, "--passage", PASSAGE)


def test_one_line_for_every_fault(folders, tmp_path):
    assert "is for tagging, expected a model for answering" in said(
        "answer", folders / "plain", "Who?", "--passage", PASSAGE, code=2
    )
    assert "there is no such file" in said("answer", folders / "answers", "Who?", "--passage", "texts/none.txt", code=2)
    assert "is empty" in said("answer", folders / "answers", "Who?", "--passage", " ", code=2)
    assert "question 1 is empty" in said("answer", folders / "answers", "", "--passage", PASSAGE, code=2)
    assert "give texts or --file" in said("tag", folders / "plain", "a", "--file", tmp_path, code=2)
    assert "give --data SOURCE" in said("evaluate", folders / "plain", code=2)
    assert "give --data SOURCE" in said("evaluate", folders / "answers", code=2)


def test_evaluate_counts_every_word_and_question(folders, tmp_path):
    tagged = tmp_path / "tagged.jsonl"
    tagged.write_text('{"tokens": ["Anna", "lives"], "tags": ["NOUN", "VERB"]}\n', encoding="utf-8")
    row = json.loads(said("evaluate", folders / "plain", "--data", tagged, "--json", "--out", tmp_path / "out.tsv"))
    assert row["words"] == 2 and row["accuracy"] in (0.0, 0.5, 1.0) and row["loss"] > 0
    lines = (tmp_path / "out.tsv").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[:2] for line in lines] == [["Anna", "NOUN"], ["lives", "VERB"]]
    assert sum(line.split("\t")[1] == line.split("\t")[2] for line in lines) == 2 * row["accuracy"]
    shown = said("evaluate", folders / "plain", "--data", tagged)
    assert any(
        line.split()[0] == "accuracy" and line.endswith("per word")
        for line in map(str.rstrip, shown.splitlines())
        if line
    )
    tagged.write_text('{"tokens": ["Anna"], "tags": ["NAME"]}\n', encoding="utf-8")
    assert 'line 1: word 1 ("Anna") has the tag "NAME"' in said("evaluate", folders / "plain", "--data", tagged, code=2)
    asked = tmp_path / "asked.jsonl"
    rows = [
        {"context": PASSAGE, "question": "Where?", "answers": ["Rome"], "answer_starts": [14]},
        {"context": PASSAGE, "question": "Why?", "answers": [], "answer_starts": []},
    ]
    asked.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    row = json.loads(said("evaluate", folders / "answers", "--data", asked, "--json", "--out", tmp_path / "out.jsonl"))
    assert row["questions"] == 2 and {"exact_match", "f1", "f1_answered", "f1_unanswerable"} <= row.keys()
    lines = [json.loads(line) for line in io.StringIO((tmp_path / "out.jsonl").read_text(encoding="utf-8"))]
    assert [line["answers"] for line in lines] == [["Rome"], []]
    assert "exact match" in said("evaluate", folders / "answers", "--data", asked)
    row = json.loads(said("evaluate", folders / "answers", "--data", "builtin:facts", "--json"))
    assert row["questions"] == 500  # as many as its recipes hold out where they do not say


def test_rows_that_cannot_be_measured_with_are_left_out_and_counted(folders, tmp_path):
    good = [{"tokens": ["Anna", "lives"], "tags": ["NOUN", "VERB"]}, {"tokens": ["Rome"], "tags": ["NOUN"]}]
    bad = [
        {"tokens": ["Anna"], "tags": ["NAME"]},
        {"tokens": ["Anna"], "tags": ["NOUN", "VERB"]},
        {"tokens": [], "tags": []},
        {"tokens": "Anna", "tags": ["NOUN"]},
    ]
    leaves_out(tmp_path / "a.jsonl", good, bad[:1], ': word 1 ("Anna")', "evaluate", folders / "plain", "--data")
    leaves_out(tmp_path / "b.jsonl", good, bad[1:], ": got 1 words", "evaluate", folders / "plain", "--data")
    asked = {"context": PASSAGE, "question": "Where?", "answers": ["Rome"], "answer_starts": [14]}
    bad = [
        {**asked, "answer_starts": [15]},
        {**asked, "answer_starts": []},
        {**asked, "question": ""},
        {**asked, "question": "Where " * 60},
        {**asked, "context": 5},
    ]
    good = [asked, {**asked, "answers": [], "answer_starts": []}]
    for number, row in enumerate(bad):
        leaves_out(tmp_path / f"{number}.jsonl", good, [row], "", "evaluate", folders / "answers", "--data")
    path = tmp_path / "all.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*good, *bad]))
    assert (
        f"left out: {len(bad)} row(s)"
        in runner.invoke(app, ["evaluate", str(folders / "answers"), "--data", str(path), "--skip-bad"]).stderr
    )
