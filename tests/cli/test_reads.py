"""How often a command reads the weights of a model: once, although it asks first which system the model is for."""

import json

import pytest

from formers.pretrained import files
from tests.cli.conftest import works
from tests.systems.classification.toy import TEXTS, classifier

SMALL = ["data.count=20", "data.held_out=4", "train.steps=1", "train.evaluate_every=0", "train.precision=fp32"]


@pytest.fixture
def folder(tmp_path):
    classifier().save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def reads(folder, monkeypatch):
    """The files of the model's weights that were read, in order."""
    paths, load_file = [], files.load_file

    def counted(path):
        if path.parent.resolve() == folder:
            paths.append(path.name)
        return load_file(path)

    monkeypatch.setattr(files, "load_file", counted)
    return paths


def test_evaluate_reads_once(folder, reads, tmp_path):
    rows = [{"sentence": text, "label": "good"} for text in TEXTS[:4]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    works("evaluate", folder, "--data", tmp_path / "rows.jsonl", "--source", "sentence")
    assert reads == ["model.safetensors"]


def test_adapt_reads_once(folder, reads, tmp_path):
    sets = [part for change in SMALL for part in ("--set", change)]
    works("adapt", folder, "--plain", "--run", tmp_path / "run", *sets)
    assert reads == ["model.safetensors"]
