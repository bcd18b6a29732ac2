"""`formers data`: sources and recipes shown, and which tokens carry loss."""

import json
import sys

import pytest
from PIL import Image

from tests.cli.conftest import fails, works


@pytest.fixture
def talks(tmp_path):
    path = tmp_path / "talks.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Number {i}?", "answer": f"It is {i}."}) + "\n" for i in range(9)))
    return path


@pytest.mark.parametrize("more", [(), ("--out", "d.png")])
def test_a_missing_extra_is_no_broken_file(tmp_path, monkeypatch, more):
    more = [str(tmp_path / part) if part.endswith("png") else part for part in more]
    monkeypatch.setitem(sys.modules, "soundfile", None)
    needed = 'sound needs the package soundfile: pip install "formers[audio]"'
    assert fails("data", "dialtones", *more) == needed
    assert not list(tmp_path.iterdir())


def small(path, *changes):
    given = ["model.start=", f"data.train={path}", f"data.validation={path}", "data.count=0", "rows.vocab=300"]
    return [part for change in (*given, *changes) for part in ("--set", change)]


def test_conversations_are_shown_on_one_line():
    shown = works("data", "quiz", "--examples", 2, "--count", 20)
    assert "user: " in shown and " | assistant: " in shown and "examples: 20" in shown


def test_a_recipe_is_shown_with_its_changes(talks):
    shown = works("data", "language/instruct", *small(talks), "--examples", 1)
    assert "Number 0?" in shown and "It is 0." in shown and "examples: 9" in shown


def test_the_tokens_that_carry_loss_are_marked(talks):
    shown = works("data", "language/instruct", "--show-loss", "--examples", 1, *small(talks))
    assert "line 1 (token 0): loss on " in shown
    marked = [part.split("⟧")[0] for part in shown.split("⟦")[1:-1]]
    assert "".join(marked) == "It is 0.<|endoftext|>"
    assert shown.splitlines()[-1] == "loss on ⟦such⟧ tokens, none on those that end in │"


def test_of_preferences_and_text(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": "hello", "chosen": "a", "rejected": f"b{i}"} for i in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = works("data", "language/preferences", "--show-loss", "--examples", 1, *small(path))
    assert "line 1, chosen: loss on 2 of" in shown and "line 1, rejected: loss on 3 of" in shown
    text = tmp_path / "x.txt"
    text.write_text("one two three\nfour\n")
    shown = works(
        "data",
        "language",
        "--show-loss",
        "--set",
        f"data.train={text}",
        "--set",
        f"data.validation={text}",
        "--set",
        "rows.separator=line",
        "--set",
        "rows.vocab=260",
    )
    assert "│⟦o⟧⟦n⟧⟦e⟧" in shown


def test_faults_are_one_line(talks, tmp_path):
    assert "needs a recipe or a run" in fails("data", "quiz", "--show-loss")
    assert "it is for masked, language, chat, preferences" in fails("data", "translation", "--show-loss")
    assert "--count does not go with --show-loss" in fails("data", "language/instruct", "--show-loss", "--count", 3)
    assert "changes a field of a recipe" in fails("data", "quiz", "--set", "data.count=3")
    assert "no token carries loss" in fails("data", "language/instruct", "--show-loss", *small(talks, "rows.length=2"))
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"messages": [{"role": "user", "content": "a"}]}\n')
    assert "bad.jsonl, line 1: no assistant turn" in fails("data", "language/instruct", "--show-loss", *small(bad))


@pytest.mark.parametrize(
    "row, message",
    [
        ('{"messages": [{"content": "a"}]}', "line 1, message 1: it has no role"),
        ('{"messages": [{"role": "bot", "content": "a"}]}', 'the role "bot" is not known'),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}',
            "the answer is empty",
        ),
        ('{"messages": [{"role": "user", "content": "a"}]}', "no assistant turn"),
    ],
)
def test_training_refuses_bad_conversations(tmp_path, row, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(row + "\n")
    assert message in fails("train", "language/instruct", "--run", tmp_path / "run", *small(path))


def test_training_refuses_a_template_that_reaches_out(talks, tmp_path):
    file = tmp_path / "bad.jinja"
    file.write_text("{{ ''.__class__.__mro__ }}")
    line = fails("train", "language/instruct", "--run", tmp_path / "run", *small(talks, f"rows.template={file}"))
    assert "bad.jinja fails: it reaches for __class__" in line


def test_pictures_are_shown_with_their_classes_and_on_a_sheet(tmp_path):
    shown = works("data", "shapes", "--examples", 6, "--count", 60, "--out", tmp_path / "sheet.png")
    assert "8 classes" in shown and "32 x 32" in shown and "pictures: drawn" in shown and "different texts" in shown
    assert (tmp_path / "sheet.png").stat().st_size > 5000 and "wrote" in shown
    assert "--out draws pictures" in fails("data", "quiz", "--count", 5, "--out", tmp_path / "quiz.png")


def test_folders_and_tables_of_pictures(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    for number in range(6):
        path = tmp_path / "set" / "train" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.new("RGB", (9, 7 + number), (number, 0, 0)).save(path)
    (tmp_path / "set" / "test" / "a").mkdir(parents=True)
    (tmp_path / "set" / "test" / "a" / "x.png").write_bytes(path.read_bytes())
    (tmp_path / "set" / "train" / "a" / "bad.png").write_text("no picture")
    shown = works("data", tmp_path / "set", "--out", tmp_path / "sheet.png")
    assert "a 4 57.1% b 3 42.9%" in " ".join(shown.split())
    assert "unreadable: 1, the first: " in shown and "in training and held out: 1 of 1" in shown
    table = tmp_path / "t.csv"
    table.write_text("picture,caption\n" + "".join(f"set/train/{'ab'[n % 2]}/{n}.png,row {n}\n" for n in range(6)))
    assert "row 3" in works("data", table) and "9 x 10" in works("data", table)
    assert "examples: 6" in works("data", table, "--source", "caption")
    (tmp_path / "empty").mkdir()
    assert "it holds nothing" in fails("data", tmp_path / "empty")


def test_what_training_makes_of_pictures_is_beside_them(tmp_path):
    sheet = tmp_path / "changed.png"
    changes = ("--set", "rows.flip=0.5", "--set", "rows.shift=4", "--set", "data.count=40")
    shown = works("data", "images/tiny", "--examples", 2, "--out", sheet, *changes)
    assert "examples: 40" in shown and sheet.stat().st_size > 5000


def test_sounds_are_shown_with_their_texts_and_on_a_sheet(tmp_path):
    output = works("data", "dialled", "--examples", 3, "--count", 60, "--out", tmp_path / "sheet.png")
    assert "sounds: " in output and "16,000 Hz; mono; WAV" in output and "characters of text: " in output
    assert "too short for their text at 25 frames a second: none" in output
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 500
