"""The verbs of sentence vectors: encode, similarity, mine, cluster."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch

import formers
from formers.models.encoder import Encoder
from formers.models.sentence import SentenceHead
from formers.pretrained.sentence_folder import SentenceSettings
from formers.systems.embedding.system import SentenceEncoder
from formers.systems.sizes import EncoderSizes
from formers.text.training import train_word_pieces
from tests.cli.conftest import call, fails, leaves_out, works

TEXTS = ["a dog runs", "a cat sleeps", "a dog runs", "the man plays music", "a dog runs", "music"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    tokenizer = train_word_pieces(TEXTS, 60)
    body = Encoder(EncoderSizes(dim=16, heads=2, layers=1, hidden=32, length=8).config(tokenizer.vocab))
    for parameter in body.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("encoder")
    SentenceEncoder(body.eval(), tokenizer, SentenceHead(), SentenceSettings(prompts={"q": "the "})).save(folder)
    return folder


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join([*TEXTS[:2], "", *TEXTS[2:]]) + "\n", "utf-8")
    return path


def test_an_exported_graph_gives_the_same_vectors(model, tmp_path, no_shape_checks):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = tmp_path / "model.onnx"
    assert "-> last_hidden_state, sentence_embedding (" in works("export", model, path)
    assert "is there; name another file, or give --overwrite" in fails("export", model, path)
    assert "or as a graph FILE.onnx" in fails("export", model, tmp_path / "model.pt")
    encoder = formers.load(model)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for text in TEXTS:
        ids = np.array([encoder.reader.read([text])[0].ids])
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        (vector,) = session.run(["sentence_embedding"], inputs)
        np.testing.assert_allclose(vector[0], encoder.encode(text), atol=1e-4)


def test_vectors_are_written_in_every_form(model, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    expected = formers.load(model).encode(TEXTS)
    for name in ("v.npy", "v.jsonl", "v.parquet"):
        works("encode", model, *TEXTS, "--out", tmp_path / name)
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), expected)
    rows = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == TEXTS
    np.testing.assert_array_equal(np.array([row["vector"] for row in rows], np.float32), expected)
    table = parquet.read_table(tmp_path / "v.parquet").to_pydict()
    np.testing.assert_array_equal(np.array(table["vector"], np.float32), expected)


def test_lines_of_a_file_or_of_standard_input(model, file, tmp_path):
    assert "line 3" in fails("encode", model, "--file", file)
    assert "--drop-empty" in fails("encode", model, "--file", file)
    assert "line 2 is empty (1 of 3 are)" in fails("encode", model, stdin="a\n\nb\n")
    done = call("encode", model, "--file", file, "--drop-empty", "--json", "--prompt-name", "q")
    assert "left out: 1 empty row(s)" in done.stderr and "6 text(s)" in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    np.testing.assert_array_equal(
        np.array([row["vector"] for row in rows], np.float32),
        formers.load(model).encode(["the " + text for text in TEXTS]),
    )
    shown = works("encode", model, stdin="a dog runs\nmusic\n").splitlines()
    assert len(shown) == 2 and shown[0].endswith("... (16)\ta dog runs")


def test_a_column_is_named_or_the_only_one(model, tmp_path):
    table = tmp_path / "t.jsonl"
    table.write_text("".join(json.dumps({"n": i, "words": text}) + "\n" for i, text in enumerate(TEXTS)))
    two = tmp_path / "two.tsv"
    two.write_text("one\ttwo\na dog\tmusic\n")
    assert len(works("encode", model, "--file", table).splitlines()) == 6
    assert "--column NAME" in fails("encode", model, "--file", two)
    assert works("encode", model, "--file", two, "--column", "two").endswith("music\n")


def test_what_was_cut_is_said_and_int8_is_near(model):
    done = call("encode", model, "a dog runs " * 9, "music", "--json", "--int8")
    assert "1 (50.0%) cut at 8 tokens" in done.stderr
    row = json.loads(done.stdout.splitlines()[1])["vector"]
    expected = formers.load(model).encode("music")
    assert np.dot(row, expected) / np.linalg.norm(row) / np.linalg.norm(expected) > 0.99


def test_similarity_of_two_of_more_and_of_a_file(model, tmp_path):
    expected = formers.load(model).similarity(TEXTS[:4])
    assert works("similarity", model, *TEXTS[:2]) == f"{expected[0, 1]:.4f}\n"
    assert f"{expected[1, 3]:.4f}" in works("similarity", model, *TEXTS[:4])
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text(f"a\tb\n{TEXTS[0]}\t{TEXTS[1]}\n{TEXTS[0]}\t{TEXTS[2]}\n")
    line = works("similarity", model, "--file", pairs, "--first", "a", "--second", "b").splitlines()[1]
    assert line == "1.0000\ta dog runs\ta dog runs"
    assert "expected two" in fails("similarity", model, "a dog")
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"a": "x", "b": "y"}))
    assert "--first" in fails("similarity", model, "--file", pairs)
    assert "text 2 is empty" in fails("similarity", model, "a", " ")


def test_similarity_by_a_model_that_reads_both(tmp_path):
    from formers.models.heads import HeadConfig, SequenceClassifier
    from formers.systems.classification.system import Classifier

    tokenizer = train_word_pieces(TEXTS, 60)
    config = EncoderSizes(dim=16, heads=2, layers=1, hidden=32, length=24).config(tokenizer.vocab)
    torch.manual_seed(0)
    scorer = SequenceClassifier(HeadConfig(encoder=config, labels=("score",), kind="number")).eval()
    Classifier(scorer, tokenizer).save(tmp_path / "cross")
    expected = formers.load(tmp_path / "cross").score([(TEXTS[0], TEXTS[1])])[0]
    assert works("similarity", tmp_path / "cross", *TEXTS[:2]) == f"{expected:.4f}\n"


def test_pairs_of_a_file(model, file, tmp_path):
    done = call("mine", model, file, "--threshold", "0.999")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert {tuple(row[1:3]) for row in rows} == {("1", "4"), ("1", "6"), ("4", "6")}  # lines of the file
    assert all(row[3] == row[4] == "a dog runs" and row[0] == "1.0000" for row in rows)
    assert "left out: 1 empty" in done.stderr and "3 pair(s) of 6 texts" in done.stderr
    works("mine", model, file, "--threshold", "-1", "--out", tmp_path / "pairs.jsonl")
    assert len((tmp_path / "pairs.jsonl").read_text().splitlines()) == 15
    works("mine", model, file, "--threshold", "0.999", "--most", "2", "--out", tmp_path / "pairs.tsv")
    assert (tmp_path / "pairs.tsv").read_text().splitlines()[0] == "score\trow1\trow2\ttext1\ttext2"
    assert ".tsv or .jsonl" in fails("mine", model, file, "--out", tmp_path / "pairs.csv")


def test_groups_of_a_file(model, file):
    done = call("cluster", model, file, "--threshold", "0.999", "--smallest", "2")
    assert done.stdout.splitlines() == [f"1\t{line}\ta dog runs" for line in (1, 4, 6)]
    assert "1 group(s) of 3 of 6 texts; 3 in none" in done.stderr
    done = call("cluster", model, file, "--smallest", "50")
    assert (
        done.stdout == ""
        and "no group: lower --threshold (it is 0.75) or --smallest (50), or give --k N" in done.stderr
    )
    rows = [json.loads(line) for line in works("cluster", model, file, "--k", "4", "--json").splitlines()]
    assert {row["group"] for row in rows if row["text"] == "a dog runs"} == {1} and len(rows) == 6
    file.write_text("a dog\nmusic\n")
    assert "expected at most as many" in fails("cluster", model, file, "--k", "7")


def test_evaluation_on_scored_pairs(model, tmp_path):
    pairs = tmp_path / "pairs.tsv"
    rows = [(TEXTS[0], TEXTS[1], 1), (TEXTS[0], TEXTS[2], 5), (TEXTS[1], TEXTS[3], 2)]
    pairs.write_text("a\tb\tscore\n" + "".join(f"{a}\t{b}\t{score}\n" for a, b, score in rows))
    columns = ("--first", "a", "--second", "b")
    report = json.loads(works("evaluate", model, "--data", pairs, *columns, "--json"))
    firsts, seconds, scores = zip(*rows, strict=True)
    assert report["pairs"] == 3 and report["data"] == str(pairs)
    assert report["spearman"] == formers.load(model).evaluate(firsts, seconds, scores).value("spearman")
    assert "spearman" in works("evaluate", model, "--data", pairs, *columns)
    assert "give --data SOURCE" in fails("evaluate", model)


def test_pairs_that_cannot_be_compared_are_left_out_and_counted(model, tmp_path):
    good = [{"sentence1": a, "sentence2": b, "score": n} for n, (a, b) in enumerate(pairwise(TEXTS))]
    bad = [{"sentence1": "a"}, {**good[0], "sentence2": " "}, {**good[0], "sentence1": 5}]
    leaves_out(tmp_path / "a.jsonl", good, bad, ': no key "sentence2"', "similarity", model, "--file")
    bad = [{**good[0], "score": "high"}, *bad]
    leaves_out(tmp_path / "b.jsonl", good, bad[:1], ': column "score" holds', "evaluate", model, "--data")
    leaves_out(tmp_path / "c.jsonl", good, bad[2:4], ': column "sentence', "evaluate", model, "--data")
    message = fails("similarity", model, "--file", tmp_path / "a.jsonl", "--first", "x")
    assert "choose with --first COLUMN" in message and "--set" not in message
    assert "--skip-bad is for" in fails("similarity", model, "a", "b", "--skip-bad")
