"""Verbs of pictures as one types them, and as requests."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from starlette.testclient import TestClient

from formers.server.app import make_app
from formers.server.models import Models
from tests.cli.conftest import call, fails, leaves_out, works
from tests.systems.images import toy


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    toy.model().save(root / "model")
    toy.folder(root / "photos", 3)
    return root


def test_files_folders_patterns_lists_and_standard_input(place):
    model, photos = place / "model", place / "photos"
    red = photos / "red" / "000.png"
    line = json.loads(works("classify", model, red, "--top", "2", "--json"))
    assert list(line) == ["picture", "label", "probabilities"] and len(line["probabilities"]) == 2
    assert len(works("classify", model, photos).splitlines()) == 9
    assert len(works("classify", model, f"{photos}/*/000.png").splitlines()) == 3
    (place / "list.txt").write_text("photos/red/001.png\nphotos/blue/002.png\n")  # beside the list
    assert len(works("classify", model, "--file", place / "list.txt").splitlines()) == 2
    (place / "table.csv").write_text("image,label\nphotos/red/001.png,red\n")
    assert len(works("classify", model, "--file", place / "table.csv").splitlines()) == 1
    named = json.loads(works("classify", model, "-", "--top", "2", "--json", stdin=red.read_bytes()))
    assert named == line | {"picture": "standard input"}


def test_what_is_no_picture(place):
    model = place / "model"
    assert "nothing.jpg: there is no such picture" in fails("classify", model, "nothing.jpg")
    assert "there is no picture: give files" in fails("classify", model)
    (place / "empty").mkdir()
    assert "a folder without a picture" in fails("classify", model, place / "empty")
    bad = place / "bad.png"
    bad.write_bytes(b"no picture")
    assert "bad.png (10 bytes) is no picture" in fails("classify", model, bad)
    done = call("classify", model, bad, place / "photos" / "red" / "000.png", "--skip-bad")
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 1)
    assert f"left out: 1 row(s) that cannot be used; the first: {bad} (10 bytes) is no picture" in done.stderr
    (place / "list.csv").write_text(f"image\n{bad}\nphotos/red/001.png\nnowhere.png\n")
    done = call("encode", model, "--file", place / "list.csv", "--skip-bad", "--json")
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 1) and "left out: 2 row(s)" in done.stderr
    for verb in ("classify", "encode"):
        assert "none of the 1 picture(s) can be used" in fails(verb, model, bad, "--skip-bad")
    assert "--windows does not go with a images model" in fails("classify", model, bad, "--windows")


def test_what_the_model_refuses_is_named_and_left_out_alone(place):
    """Its preprocessor leaves pictures in their size, of which it takes one."""
    model, own, good = toy.model(), place / "own", place / "good.png"
    model._preprocessor = replace(model.preprocessor, resize=None, crop=False)
    model.save(own)
    toy.picture("red", 0, (16, 16)).save(good)
    bad = place / "photos" / "red" / "000.png"
    for verb in ("classify", "encode"):
        assert f"{bad} has 20 x 16 pixels, its model takes 16 x 16" in fails(verb, own, good, bad)
        done = call(verb, own, good, bad, good, "--skip-bad", "--json")
        assert (done.exit_code, len(done.stdout.splitlines())) == (0, 2)
        assert f"left out: 1 row(s) that cannot be used; the first: {bad} has 20 x 16" in done.stderr


def test_vectors_go_to_a_file(place):
    out = place / "v.npy"
    works("encode", place / "model", place / "photos", "--normalise", "--out", out)
    vectors = np.load(out)
    assert vectors.shape == (9, 16) and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    line = json.loads(works("encode", place / "model", place / "photos" / "red" / "000.png", "--json"))
    assert list(line) == ["picture", "vector"] and len(line["vector"]) == 16


def test_evaluate_and_probe(place):
    out = place / "confusion.png"
    report = json.loads(works("evaluate", place / "model", "--data", place / "photos", "--json", "--out", out))
    assert {"accuracy", "f1", "loss", "calibration_error"} <= report.keys() and out.stat().st_size > 5000
    pytest.importorskip("sklearn")
    more = toy.folder(place / "more", 20, 10)
    report = json.loads(
        works("evaluate", place / "model", "--data", place / "photos", "--probe", "--train", more, "--json")
    )
    assert report["linear_probe"] == 1.0 and report["nearest"] == 1.0 and report["training_pictures"] == 60
    assert "--probe learns from labelled pictures" in fails(
        "evaluate", place / "model", "--data", place / "photos", "--probe"
    )
    assert "--suite does not go with a images model" in fails(
        "evaluate", place / "model", "--suite", "sts", "--data-folder", place
    )
    assert "--train is for --probe" in fails("evaluate", place / "model", "--data", "x", "--train", "y")


def test_pictures_that_cannot_be_measured_with_are_left_out_and_counted(place, tmp_path):
    good = [
        {"image": str(place / "photos" / label / f"{n:03}.png"), "label": label} for n in (0, 1) for label in toy.NAMES
    ]
    bad = [{**good[0], "label": "grey"}, {**good[0], "image": "nowhere.png"}, {**good[0], "label": ""}]
    rows = tmp_path / "rows.jsonl"
    command = ("evaluate", place / "model", "--data")
    leaves_out(rows, good, bad[:1], ': the label "grey"', *command)
    leaves_out(rows, good, bad[2:], ': column "label" is empty', *command)
    rows.write_text("".join(json.dumps(row) + "\n" for row in [*good, bad[1]]))
    assert "line 7: there is no picture" in fails(*command, rows)
    done = call(*command, rows, "--json", "--skip-bad")
    report = json.loads(done.stdout)
    assert (report["pictures"], report["unreadable"]) == (6, 1) and "left out: 1 row(s)" in done.stderr
    rows.write_text(json.dumps(bad[1]) + "\n")
    assert "none of these 1 pictures can be read" in fails(*command, rows, "--skip-bad")


def test_requests_carry_pictures(place):
    client = TestClient(make_app(Models.load([str(place / "model")])), base_url="http://127.0.0.1")
    text = base64.b64encode(toy.encoded(toy.picture("red", 0))).decode()
    body = {"pictures": [text, f"data:image/png;base64,{text}"], "top": 1}
    first, second = client.post("/classify", json=body).json()["results"]
    assert first["probabilities"] == second["probabilities"]
    refused = client.post("/classify", json={"pictures": "what?"})
    assert refused.status_code == 400 and "base64" in refused.json()["error"]
    schema = client.get("/openapi.json").json()["paths"]["/classify"]["post"]["requestBody"]["content"]
    assert schema["application/json"]["schema"]["properties"]["pictures"]["items"]["contentEncoding"] == "base64"
