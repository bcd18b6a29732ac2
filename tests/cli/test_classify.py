"""`formers classify`, `rerank`, `evaluate` of classifiers, `train --pooling`: what they print, each fault."""

import json

import pytest

import formers
from tests.cli.conftest import call, fails, works
from tests.systems.classification.toy import TEXTS, classifier


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("classifier") / "model"
    classifier().save(place)
    return place


@pytest.fixture(scope="session")
def scorer(tmp_path_factory):
    place = tmp_path_factory.mktemp("scorer") / "model"
    classifier("number").save(place)
    return place


def test_texts_lines_and_files(folder, tmp_path):
    made = formers.load(folder)
    expected = "".join(f"{each.label}\n" for each in made.classify(TEXTS[:3]))
    assert works("classify", folder, *TEXTS[:3]) == expected
    lines = "".join(f"{text}\n" for text in TEXTS[:3])
    assert works("classify", folder, stdin=lines) == expected
    (tmp_path / "a.txt").write_text(lines)
    assert works("classify", folder, "--file", tmp_path / "a.txt") == expected


def test_probabilities_and_json(folder):
    found = formers.load(folder).classify(TEXTS[0])
    order = sorted(found.probabilities.items(), key=lambda each: -each[1])
    assert works("classify", folder, TEXTS[0], "--probabilities") == (
        "\t".join(f"{name} {share:.4f}" for name, share in order) + "\n"
    )
    told = json.loads(works("classify", folder, TEXTS[0], "--json", "--windows"))
    assert told["text"] == TEXTS[0] and told["label"] == found.label
    assert told["probabilities"] == pytest.approx(found.probabilities, abs=1e-5)


def test_pairs(scorer):
    made = formers.load(scorer)
    expected = made.classify(TEXTS[:2], TEXTS[2:4])
    lines = "".join(f"{each.label}\n" for each in expected)
    assert works("classify", scorer, *TEXTS[:2], "--second", TEXTS[2], "--second", TEXTS[3]) == lines
    typed = f"{TEXTS[0]}\t{TEXTS[2]}\n{TEXTS[1]}\t{TEXTS[3]}\n"
    assert works("classify", scorer, "--pairs", stdin=typed) == lines
    assert json.loads(works("classify", scorer, TEXTS[0], "--second", TEXTS[2], "--json"))["number"] == pytest.approx(
        expected[0].number, abs=1e-4
    )


def test_what_cannot_be_classified(folder, tmp_path):
    assert "not both" in fails("classify", folder, "a", "--file", "b")
    assert "line 2: it is empty" in fails("classify", folder, stdin="a\n\nb\n")
    assert "line 1: got 1 text(s)" in fails("classify", folder, "--pairs", stdin="a\n")
    assert "3 texts, but 2 times --second" in fails("classify", folder, "a", "b", "c", "--second", "d", "--second", "e")
    assert "--second is the second text" in fails("classify", folder, "--second", "d", stdin="a\n")
    assert "text 1 of 1: it is empty" in fails("classify", folder, " ")
    assert "threshold (2.0)" in fails("classify", folder, "a", "--threshold", 2)


def test_rerank(scorer, folder, tmp_path):
    ranked = formers.load(scorer).rerank(TEXTS[0], TEXTS[1:5])
    expected = "".join(f"{each.score:.4f}\t{each.text}\n" for each in ranked)
    assert works("rerank", scorer, TEXTS[0], *TEXTS[1:5]) == expected
    (tmp_path / "a.txt").write_text("\n".join([TEXTS[1], "", *TEXTS[2:5]]) + "\n")
    told = works("rerank", scorer, TEXTS[0], "--file", tmp_path / "a.txt", "--json", "--top", 2).splitlines()
    assert len(told) == 2 and json.loads(told[0])["text"] == ranked[0].text
    place = ranked[0].place + 1
    assert json.loads(told[0])["place"] == (place if place == 1 else place + 1)  # lines of the file
    assert "say which one's" in fails("rerank", folder, "a", "b")
    assert works("rerank", folder, TEXTS[0], "soup", "--label", "good").endswith("\tsoup\n")
    done = call("rerank", scorer, "a", stdin="\nsoup\n")
    assert done.stderr == "left out: 1 empty line(s)\n" and done.stdout.endswith("\tsoup\n")
    assert "there is no text to order" in fails("rerank", folder, "a", stdin="\n")


def test_similarity_by_a_model_that_reads_both(scorer, tmp_path):
    made = formers.load(scorer)
    a, b, c = TEXTS[:3]
    scores = made.score([(a, b), (a, c), (b, c)])
    assert works("similarity", scorer, a, b) == f"{scores[0]:.4f}\n"
    shown = works("similarity", scorer, a, b, c)
    assert all(shown.count(f"{score:.4f}") == 2 for score in scores)
    rows = [json.loads(line) for line in works("similarity", scorer, a, b, c, "--json").splitlines()]
    assert [(row["first"], row["second"]) for row in rows] == [(a, b), (a, c), (b, c)]
    (tmp_path / "a.jsonl").write_text(json.dumps({"one": a, "two": b}) + "\n")
    columns = ["--file", tmp_path / "a.jsonl", "--first", "one", "--second", "two"]
    assert works("similarity", scorer, *columns) == f"{scores[0]:.4f}\t{a}\t{b}\n"
    works("similarity", scorer, *columns, "--out", tmp_path / "out.tsv")
    assert (tmp_path / "out.tsv").read_text().startswith("score\tfirst\tsecond\n")
    assert "expected two" in fails("similarity", scorer, a)
    assert "or --file" in fails("similarity", scorer, a, b, "--file", "x")
    assert "--first" in fails("similarity", scorer, "--file", tmp_path / "a.jsonl")
    assert "text 2 is empty" in fails("similarity", scorer, a, " ")


def test_evaluate(folder, tmp_path):
    made = formers.load(folder)
    said = [each.label for each in made.classify(TEXTS[:9])]
    path = tmp_path / "a.csv"
    rows = [f'"{text}",{label}\n' for text, label in zip(TEXTS[:9], [*said[:6], "bad", "fair", "good"], strict=True)]
    path.write_text("sentence,label\n" + "".join(rows))
    found = json.loads(works("evaluate", folder, "--data", path, "--source", "sentence", "--json"))
    right = 6 + sum(a == b for a, b in zip(said[6:], ("bad", "fair", "good"), strict=True))
    assert found["accuracy"] == pytest.approx(right / 9) and found["examples"] == 9
    assert sum(map(sum, found["confusion"])) == 9 and sum(found["confusion"][i][i] for i in range(3)) == right
    shown = works("evaluate", folder, "--data", path, "--source", "sentence")
    assert "accuracy" in shown and "said good" in shown
    path.write_text("text,label\na,great\n")
    assert 'line 2: the label "great" is not among those learned: bad, fair, good' in fails(
        "evaluate", folder, "--data", path
    )
    assert "give --data SOURCE" in fails("evaluate", folder)
    path.write_text("text,label\nsoup,good\ncake,bad\n")
    works("evaluate", folder, "--data", path, "--out", tmp_path / "confusions.png")
    assert (tmp_path / "confusions.png").read_bytes().startswith(b"\x89PNG")


def test_pooling_is_an_option_of_training(tmp_path):
    small = [
        "data.count=40",
        "data.held_out=10",
        "rows.vocab=120",
        "model.dim=8",
        "model.hidden=16",
        "model.heads=2",
        "train.steps=2",
        "train.evaluate_every=2",
        "train.precision=fp32",
    ]
    sets = [part for change in small for part in ("--set", change)]
    works("train", "classification", "--pooling", "max", "--run", tmp_path / "run", "--json", *sets)
    assert formers.load(tmp_path / "run").model.config.pooling == "max"
    found = json.loads(works("evaluate", tmp_path / "run", "--json"))
    assert found["examples"] == 10 and found["data"] == "builtin:opinions"
    assert "which recipes of the system translation do not have" in fails("train", "translation", "--pooling", "max")
    assert 'task.pooling "avg" is not known' in fails("train", "classification", "--pooling", "avg")
