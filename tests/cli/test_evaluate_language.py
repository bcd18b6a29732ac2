"""`formers evaluate` for language models: a text's perplexity, multiple choice, and bad rows in one line."""

import json
import shutil

import pytest

import formers
from tests.cli.conftest import fails, works
from tests.systems.language.toy import TEXT, language

ROWS = [
    {"question": "The capital of France is", "choices": ["Paris", "Lily", "time"], "answer": "Paris"},
    {"question": "Her name was", "choices": ["Paris", "Lily"], "answer": 1},
    {"question": "Once upon a", "choices": ["time", "girl"], "answer": 0, "more": "is not read"},
    {"question": "Paris is in", "choices": ["France", "Lily"], "answer": 0},
]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    model = language(length=60)
    model.model.float()
    place = tmp_path_factory.mktemp("evaluate") / "model"
    model.save(place)
    return place


def written(tmp_path, rows):
    path = tmp_path / "quiz.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path.name


def test_perplexity(folder, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    found = json.loads(works("evaluate", folder, "--text", "text.txt", "--json", "--window", 20, "--stride", 7))
    own = formers.load(folder).score(TEXT, window=20, stride=7)
    assert found["perplexity"] == pytest.approx(own.perplexity, rel=1e-6)
    assert found["bits_per_byte"] == pytest.approx(own.bits_per_byte, rel=1e-6)
    assert (found["tokens"], found["bytes"]) == (len(own.tokens), len(TEXT))
    assert (found["window"], found["stride"]) == (20, 7) and found["tokens_per_second"] > 0
    table = works("evaluate", folder, "--text", "text.txt")
    assert "bits per byte" in table and "in windows of 60 that begin 30 apart" in table


@pytest.mark.parametrize("shots", [0, 2])
def test_multiple_choice(folder, tmp_path, shots):
    name = written(tmp_path, ROWS)
    found = json.loads(works("evaluate", folder, "--choices", name, "--shots", shots, "--json"))
    model = formers.load(folder)
    right = [0, 1, 0, 0]
    examples = [(row["question"], row["choices"][at]) for row, at in zip(ROWS, right, strict=True)][:shots]
    judged = [model.choose(row["question"], row["choices"], examples=examples) for row in ROWS[shots:]]
    hits = [each.index == at for each, at in zip(judged, right[shots:], strict=True)]
    fair = [each.normalised_index == at for each, at in zip(judged, right[shots:], strict=True)]
    assert found["questions"] == 4 - shots and found["accuracy"] == sum(hits) / len(hits)
    assert found["accuracy_normalised"] == sum(fair) / len(fair)
    assert found["chance"] == pytest.approx(0.5 if shots else (1 / 3 + 3 / 2) / 4)
    table = works("evaluate", folder, "--choices", name, "--shots", shots)
    assert "accuracy normalised" in table and "right" in table
    assert json.loads(works("evaluate", folder, "--choices", name, "--count", 1, "--json"))["questions"] == 1


GOOD = json.dumps(ROWS[0])


@pytest.mark.parametrize(("row", "said"), [
    ("{", "quiz.jsonl, line 2, column"), ('{"question": "a", "choices": ["b", "c"]}', 'no key "answer"'),
    ({"question": "", "choices": ["b", "c"], "answer": 0}, "its question is"),
    ({"question": 3, "choices": ["b", "c"], "answer": 0}, "its question is 3"),
    ({"question": "a", "choices": "bc", "answer": 0}, 'its choices are "bc"'),
    ({"question": "a", "choices": ["b"], "answer": 0}, "at least two texts"),
    ({"question": "a", "choices": ["b", ""], "answer": 0}, 'one of its choices is ""'),
    ({"question": "a", "choices": ["b", "c"], "answer": 2}, "its answer is 2, expected one of its choices"),
    ({"question": "a", "choices": ["b", "c"], "answer": "d"}, 'its answer is "d"'),
    ({"question": "a", "choices": ["b", "c"], "answer": True}, "its answer is True"),
    ("3", "expected an object"),
], ids=str)  # fmt: skip
def test_bad_rows_are_named(folder, tmp_path, row, said):
    name = written(tmp_path, [GOOD, row])
    line = fails("evaluate", "nothing", "--choices", name)  # before the model is looked for
    assert said in line and "quiz.jsonl" in line and "line 2" in line


def test_faults(folder, trained, tmp_path):
    name = written(tmp_path, ROWS)
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "none.jsonl").write_text("\n")
    (tmp_path / "latin.txt").write_bytes(b"ok\nh\xffx\n")
    assert "empty.txt: is empty" in fails("evaluate", folder, "--text", "empty.txt")
    assert "none.jsonl: holds no questions" in fails("evaluate", folder, "--choices", "none.jsonl")
    assert "latin.txt, line 2" in fails("evaluate", folder, "--text", "latin.txt")
    assert "no.txt: does not exist" in fails("evaluate", folder, "--text", "no.txt")
    assert "4 examples of 4 questions" in fails("evaluate", folder, "--choices", name, "--shots", 4)
    assert "not both" in fails("evaluate", folder, "--choices", name, "--text", "empty.txt")
    assert "--data does not go with a language model" in fails("evaluate", folder, "--choices", name, "--data", "x")
    (tmp_path / "text.txt").write_text(TEXT)
    assert "window: got 61, expected 2 to 60" in fails("evaluate", folder, "--text", "text.txt", "--window", 61)
    assert "--text does not go with a translation model" in fails("evaluate", trained.folder, "--text", "text.txt")
    assert "--data does not go with a language model" in fails("evaluate", folder, "--data", "builtin:phrasebook")
    long = [{**ROWS[0], "question": TEXT}]
    assert "question 1 with its longest choice has" in fails("evaluate", folder, "--choices", written(tmp_path, long))


def test_a_run_is_measured_on_its_own_text(folder, tmp_path):
    """What a recipe keeps for judging, document by document."""
    run = shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "train.txt").write_text("The girl was named Lily\n\n" * 9)
    (tmp_path / "test.txt").write_text("Once upon a time\n\nLily was a girl\n")
    (run / "recipe.toml").write_text(
        '# a run of a test\nsystem = "language"\n[data]\ntrain = "train.txt"\ntest = "test.txt"\n'
        '[rows]\nseparator = "blank"\n'
    )
    found = json.loads(works("evaluate", run, "--json"))
    model = formers.load(folder)
    scores = [model.score(each) for each in ("Once upon a time", "Lily was a girl")]
    assert found["documents"] == 2 and found["tokens"] == sum(len(each.tokens) for each in scores)
    assert found["bytes"] == 31
    assert found["row_perplexity"] > 1 and found["bits_per_character"] > 0
    (run / "recipe.toml").write_text('# another\nsystem = "chat"\n')
    assert "is a run of the system chat, so it has no data for language models" in fails("evaluate", run)
    assert "--text FILE or --choices FILE (a language model)" in fails("evaluate", folder)
