"""`formers translate`: every way in and out, one line out for each line in."""

import json
import math
import signal
from pathlib import Path

import pytest

import formers
from tests.cli.conftest import SETS, fails, start, works


@pytest.fixture(scope="session")
def translator(trained):
    return formers.load(trained.folder)


def test_texts_are_translated_in_order(trained, translator):
    texts = ["I ate an apple", "You saw me. We saw her."]
    assert works("translate", trained.folder, *texts).splitlines() == translator.translate(texts)


def test_a_file_and_out(trained, translator, tmp_path):
    lines = ["I ate an apple", "", "You saw it", "   "]
    (tmp_path / "in.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert works("translate", trained.folder, "--file", "in.txt", "--out", "out.txt") == ""
    found = (tmp_path / "out.txt").read_text(encoding="utf-8").split("\n")
    assert found == [*translator.translate(lines), ""]
    assert found[1] == ""


def test_standard_input_gives_one_line_for_each_line(trained, translator):
    lines = ["I ate", "", "an apple"]
    for text in ("\n".join(lines), "\n".join(lines) + "\n", "\r\n".join(lines) + "\r\n"):
        assert works("translate", trained.folder, stdin=text).splitlines() == translator.translate(lines)
    assert works("translate", trained.folder, stdin="") == ""
    assert len(works("translate", trained.folder, stdin="I\n" * 70).splitlines()) == 70


def test_standard_input_is_answered_line_by_line(trained, tmp_path):
    with start("translate", trained.folder, folder=tmp_path) as process:
        for _ in range(2):  # the answer comes before the next question
            process.stdin.write("I ate an apple\n")
            process.stdin.flush()
            assert process.stdout.readline().strip()
        process.stdin.close()
        assert process.stdout.read() == ""
    assert process.returncode == 0


def test_ctrl_c_ends_with_130(trained, tmp_path):
    with start("translate", trained.folder, folder=tmp_path) as process:
        process.stdin.write("I ate\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "formers: interrupted\n"
    assert process.returncode == 130


def test_nbest_prints_score_and_text(trained, translator):
    lines = works("translate", trained.folder, "I ate", "", "an apple", "--nbest", "2", "--beams", "3").splitlines()
    assert len(lines) == 5 and lines[2] == ""
    found = [
        [f"{each.score:.4f}\t{each.text}" for each in texts]
        for texts in translator.candidates(["I ate", "an apple"], nbest=2, beams=3)
    ]
    assert lines[:2] + lines[3:] == [*found[0], *found[1]]
    scores = [float(line.split("\t")[0]) for line in lines[:2]]
    assert scores == sorted(scores, reverse=True)


def test_scores_change_no_translation(trained, translator):
    """A text is split as without them, and every sentence has its own."""
    text = "I ate an apple. Do you see the house?\nI ate."
    plain = works("translate", trained.folder, text)
    found = works("translate", trained.folder, text, "--scores")
    assert found.startswith(plain)
    below = found.removeprefix(plain).splitlines()
    parts = [translation for translation, _ in translator.sentences([text])[0]]
    assert len(parts) == 3 and len(below) == 6
    for part, pieces, scores in zip(parts, below[::2], below[1::2], strict=True):
        assert [float(score) for score in scores.split()] == pytest.approx(part.scores, abs=0.006)
        assert len(pieces) == len(scores)
    (line,) = works("translate", trained.folder, text, "--scores", "--json").splitlines()
    written = json.loads(line)
    assert written["translation"] == translator.translate(text) and len(written["sentences"]) == 3
    whole = works("translate", trained.folder, text, "--scores", "--no-split")
    assert whole.startswith(works("translate", trained.folder, text, "--no-split"))


def test_scores_stand_below_their_tokens(trained, translator):
    text, pieces, scores = works("translate", trained.folder, "I ate", "--scores").splitlines()
    [[best]] = translator.candidates(["I ate"])
    assert text == best.text
    assert len(pieces) == len(scores)  # aligned at the right
    assert [float(score) for score in scores.split()] == pytest.approx(best.scores, abs=0.006)
    assert all(score <= 0 and not math.isnan(score) for score in best.scores)


def test_a_prefix_begins_every_translation(trained):
    assert works("translate", trained.folder, "I ate an apple", "--prefix", "Ich").startswith("Ich")


def test_no_split_reads_a_text_in_one_go(trained, translator):
    text = "You saw me. We saw her."
    assert works("translate", trained.folder, text, "--no-split").strip() == translator.translate(text, split=False)


def test_faults(trained, tmp_path):
    run = trained.folder
    assert "give texts or --file, not both" in fails("translate", run, "hi", "--file", "x")
    assert "no.txt: does not exist" in fails("translate", run, "--file", "no.txt")
    assert "the folder nowhere does not exist" in fails("translate", run, "hi", "--out", "nowhere/x.txt")
    assert "is a folder, expected a file" in fails("translate", run, "hi", "--out", tmp_path)
    assert "nbest (3) must not be larger than beams (2)" in fails(
        "translate", run, "hi", "--nbest", "3", "--beams", "2"
    )
    assert "reads at most 48; shorten it" in fails("translate", run, "house " * 100, "--no-split")
    long = "house " * 100 + "\n"
    assert "line 2: the sentence" in fails("translate", run, "--file", "-", stdin="hi\n" + long)
    assert len(works("translate", run, "--no-split", "--long", "cut", stdin="hi\n" + long).splitlines()) == 2
    assert works("translate", run, "--skip-bad", stdin="hi\n" + long) == works("translate", run, "hi")
    assert "leave out samples and nbest" in fails("translate", run, "hi", "--long", "split", "--samples", "2")
    assert "line 2, byte 2: not UTF-8" in fails("translate", run, stdin=b"ok\nh\xff\n")
    (tmp_path / "latin.txt").write_bytes(b"ok\nh\xffx\n")
    assert "latin.txt, line 2" in fails("translate", run, "--file", "latin.txt")
    if Path("/dev/full").exists():
        assert "No space left" in fails("translate", run, "hi", "--out", "/dev/full")
    assert "int4" in fails("translate", run, "hi", "--dtype", "int4")


def test_what_is_not_a_model(trained, tmp_path):
    assert "there is no such run" in fails("translate", "nothing", "hi")
    (tmp_path / "empty").mkdir()
    assert "config.json" in fails("translate", "empty", "hi")
    (tmp_path / "file.txt").write_text("x")
    assert "expected a folder" in fails("translate", "file.txt", "hi")
    (tmp_path / "new" / "checkpoints").mkdir(parents=True)
    assert "has no checkpoint yet" in fails("translate", "new", "hi")


def test_a_model_without_tokenizer(trained, tmp_path):
    works("export", trained.folder, "bare")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "bare" / name).unlink()
    assert "has no tokenizer files" in fails("translate", "bare", "hi")
    assert "has no tokenizer files" in fails("inspect", "bare", "attention", "hi")
    assert "embedding" in works("inspect", "bare", "parameters")  # needs none


def test_export_writes_what_loads_again(trained, translator, tmp_path):
    shown = works("export", trained.folder, "model")
    assert "model.safetensors" in shown and "tokenizer.json" in shown
    assert works("translate", "model", "I ate an apple").strip() == translator.translate("I ate an apple")
    works("export", "model", "half", "--dtype", "bf16")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("model", "half")]
    assert sizes[1] < 0.7 * sizes[0]
    (tmp_path / "taken").write_text("x")
    assert "a file of that name exists" in fails("export", "model", "taken")


def test_evaluate_a_run_on_its_test_data(trained, tmp_path):
    shown = works("evaluate", trained.folder, "--out", "out.txt", "--beams", "1")
    for part in (
        "12 sentences of builtin:phrasebook, en -> de",
        "exact match",
        "BLEU",
        "chrF",
        "nrefs:1|case:mixed",
        "sentences per second",
        "out.txt",
    ):
        assert part in shown
    assert len((tmp_path / "out.txt").read_text(encoding="utf-8").splitlines()) == 12


def test_evaluate_json_and_other_data(trained, tmp_path):
    (tmp_path / "pairs.tsv").write_text("source\ttarget\nI ate\tIch aß\nYou ate\tDu hast gegessen\n", encoding="utf-8")
    result = json.loads(
        works("evaluate", trained.folder, "--data", "pairs.tsv", "--source", "source", "--target", "target", "--json")
    )
    assert result["sentences"] == 2 and result["data"] == "pairs.tsv"
    assert 0 <= result["bleu"] <= 100 and "version" in result["signatures"]["bleu"]
    result = json.loads(works("evaluate", trained.folder, "--count", "5", "--json"))
    assert result["sentences"] == 5
    works("export", trained.folder, "model")
    assert "give --data SOURCE" in fails("evaluate", "model")
    assert "pairs.tsv" in works("evaluate", "model", "--data", "pairs.tsv", "--source", "source", "--target", "target")
    assert "no column" in fails("evaluate", "model", "--data", "pairs.tsv", "--source", "source", "--target", "nothing")
    assert "none.tsv: does not exist" in fails("evaluate", trained.folder, "--data", "none.tsv")


def test_train_can_start_from_a_model(trained, tmp_path):
    works("export", trained.folder, "model")
    shown = works(
        "train", "translation", "--run", "tuned", *SETS, "--set", "train.steps=1", "--set", "model.start=model"
    )
    assert "step 1/1" in shown
