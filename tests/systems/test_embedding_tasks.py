"""Training of sentence vectors: cached gradients, exact resume, what is saved, what is warned of and refused."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import formers
from formers import registry
from formers.errors import ConfigError, FormersError
from formers.metrics.correlation import spearman
from formers.recipe import load_recipe
from formers.training.events import Evaluated, Finished, Reported, Sampled, Stepped

SMALL = [
    "model.dim=32",
    "model.heads=2",
    "model.layers=1",
    "model.hidden=48",
    "model.length=32",
    "model.dropout=0.0",
    "rows.vocab=200",
    "rows.rows_per_batch=16",
    "data.count=160",
    "data.held_out=20",
    "train.precision=fp32",
    "train.threads=1",
    "train.warmup=2",
    "train.schedule=constant",
    "train.sample_every=0",
    "train.log_every=2",
    "train.evaluate_every=0",
    "train.save_every=3",
]


def sources(folder: Path) -> dict[str, list[str]]:
    """Changes of the tiny recipe for every objective, on files made of the built-in sentences."""
    from formers.data.builtin.paraphrases import groups, scored

    texts = [row[0] for row in groups("train", 60, seed=1)]
    pairs = [
        {"sentence1": a, "sentence2": b, "score": s, "label": "same" if s > 4 else "other" if s < 2 else "near"}
        for a, b, s in scored("train", 90, seed=1)
    ]
    three = [{"anchor": a[0], "positive": a[1], "negative": b[0]} for a, b in pairwise(texts)]
    for name, rows in (("pairs", pairs), ("triplets", three)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    of_pairs, of_three = f"data.train={folder}/pairs.jsonl", f"data.train={folder}/triplets.jsonl"
    return {
        "in_batch": [],
        "hard": [of_three, "rows.rows=triplets", "task.symmetric=true"],
        "pairs": [of_three, "rows.rows=pairs", "task.dims=[16, 8]"],
        "softmax": [of_pairs, "rows.rows=labelled", "task.objective=softmax"],
        "cosine": [of_pairs, "rows.rows=scored", "task.objective=cosine", "rows.tokens_per_batch=256"],
        "cosent": [of_pairs, "rows.rows=scored", "task.objective=cosent"],
        "triplet": [of_three, "rows.rows=triplets", "task.objective=triplet", "task.normalise=true"],
    }


def prepared(folder, *changes):
    recipe = load_recipe("embedding", [*SMALL, *changes])
    return registry.prepare(recipe.system, recipe.sections, folder)


def gradients(task, batch):
    task.model.zero_grad()
    loss = task.loss(batch)
    loss.total.backward()
    return loss.total.item(), {name: weight.grad.clone() for name, weight in task.model.named_parameters()}


@pytest.mark.parametrize("name", ["in_batch", "hard", "softmax"])
def test_cached_gradients_are_those_of_the_whole_batch(tmp_path, name):
    changes = sources(tmp_path)[name]
    plain, batches, _ = prepared(tmp_path / "a", *changes)
    cached, _, _ = prepared(tmp_path / "a", *changes, "task.chunk=5")
    for task in (plain, cached):
        torch.manual_seed(0)
        for weight in task.model.parameters():
            torch.nn.init.normal_(weight, std=0.3)
        task.model.train()
    batch = batches.collate(batches.epoch(0)[0])
    seen = []
    cached.encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    total, expected = gradients(plain, batch)
    other, found = gradients(cached, batch)
    assert other == pytest.approx(total, rel=1e-5) and found.keys() == expected.keys()
    for weight, gradient in expected.items():
        torch.testing.assert_close(found[weight], gradient, rtol=1e-3, atol=1e-5 * max(1, float(gradient.abs().max())))
    assert max(seen) == 5 and sum(seen) == 2 * len(batch.texts.tokens)  # every text twice, at most five at a time
    assert len(cached.embed(batch.texts)) == len(batch.texts.tokens)


def test_a_chunk_is_computed_again_with_the_same_dropout(tmp_path):
    task, batches, _ = prepared(tmp_path, "task.chunk=6", "model.dropout=0.3")
    task.model.train()
    batch = batches.collate(batches.epoch(0)[0])
    found = []
    for chunk in (6, 6, 10_000):
        object.__setattr__(task.config, "chunk", chunk)
        torch.manual_seed(3)
        found.append(gradients(task, batch))
    assert found[0][0] == found[1][0] != found[2][0]
    assert all(torch.equal(found[0][1][name], found[1][1][name]) for name in found[0][1])


def test_activations_of_one_chunk_only_are_held(tmp_path):
    task, batches, _ = prepared(tmp_path)
    task.model.train()
    batch = batches.collate(batches.epoch(0)[0])

    def held(chunk):
        object.__setattr__(task.config, "chunk", chunk)
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
            task.loss(batch)
        return sum(kept)

    assert held(4) < held(0) / 4


@pytest.mark.parametrize("name", ["in_batch", "hard", "pairs", "softmax", "cosine", "cosent", "triplet"])
def test_every_objective_learns(tmp_path, name):
    events = list(
        formers.train(
            "embedding",
            [
                *SMALL,
                *sources(tmp_path)[name],
                "train.steps=24",
                "train.rate=3e-3",
                "train.save_every=0",
                "train.log_every=4",
            ],
            run=tmp_path / "run",
        )
    )
    losses = [event.loss for event in events if isinstance(event, Stepped)]
    assert losses[-1] < 0.9 * losses[0]
    assert isinstance(events[0], Reported) and isinstance(events[-1], Finished)


@pytest.mark.parametrize("name", ["in_batch", "softmax"])
def test_a_run_goes_on_exactly(tmp_path, name):
    changes = [*SMALL, *sources(tmp_path)[name], "model.dropout=0.1"]
    list(formers.train("embedding", [*changes, "train.steps=6"], run=tmp_path / "whole"))
    list(formers.train("embedding", [*changes, "train.steps=3"], run=tmp_path / "parts"))
    list(formers.train("embedding", [*changes, "train.steps=6"], run=tmp_path / "parts"))
    whole, parts = (
        load_file(tmp_path / run / "checkpoints" / "000006" / "training.safetensors") for run in ("whole", "parts")
    )
    assert whole.keys() == parts.keys() and all(torch.equal(whole[key], parts[key]) for key in whole)
    assert ("weight.matrix.weight" in whole) == (name == "softmax")


def test_evaluation_and_samples(tmp_path):
    events = list(
        formers.train(
            "embedding",
            [
                *SMALL,
                "train.steps=2",
                "train.evaluate_every=2",
                "train.sample_every=2",
                'task.samples=["A cop is reading."]',
            ],
            run=tmp_path / "run",
        )
    )
    (scores,) = [event.metrics for event in events if isinstance(event, Evaluated)]
    assert set(scores) == {"loss", "accuracy", "spearman", "pearson"}
    (sampled,) = [event for event in events if isinstance(event, Sampled)]
    ((asked, nearest),) = sampled.samples
    assert asked == "A cop is reading." and -1 <= float(nearest.split()[0]) <= 1
    task, _, _ = prepared(tmp_path / "other")
    task.model.eval()
    first, second, score = (task.scored.columns[name] for name in ("sentence1", "sentence2", "score"))
    cosines = []
    for one, other in zip(first[:40], second[:40], strict=True):
        with torch.no_grad():
            u, v = (task.vectors(torch.tensor([task.reader.read([text])[0].ids]), None)[0] for text in (one, other))
        cosines.append(F.cosine_similarity(u, v, dim=0).item())
    for name, rows in list(task.scored.columns.items()):
        task.scored.columns[name] = rows[:40]
    assert task.evaluate()["spearman"] == pytest.approx(100 * spearman(cosines, score[:40]), abs=0.5)


@pytest.mark.parametrize(("pooling", "normalise"), [("mean", "false"), ("max", "true"), ("first", "false")])
def test_a_checkpoint_opens_in_sentence_transformers(tmp_path, pooling, normalise):
    theirs = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    task, _, _ = prepared(tmp_path, f"task.pooling={pooling}", f"task.normalise={normalise}")
    for weight in task.model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    task.model.eval()
    task.save(tmp_path / "model")
    texts = ["A man is fixing a bike.", "In autumn, a doctor is painting a cat in the yard after dark."]
    model = theirs.SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert model.max_seq_length == 32
    torch.testing.assert_close(torch.from_numpy(model.encode(texts)), task.encode(texts), rtol=1e-4, atol=1e-4)


def test_training_goes_on_from_a_saved_encoder(tmp_path):
    task, _, _ = prepared(tmp_path, "task.pooling=max")
    task.save(tmp_path / "model")
    again, _, lines = prepared(tmp_path / "second", f"model.start={tmp_path / 'model'}", "task.pooling=mean")
    assert any("has max pooling; now trained are vectors of mean pooling" in line for line in lines)
    for name, weight in task.encoder.state_dict().items():
        assert torch.equal(again.encoder.state_dict()[name], weight)


def test_the_report_and_its_warnings(tmp_path):
    _, _, lines = prepared(tmp_path, "train.accumulate=2")
    assert any(line.startswith("warning: train.accumulate (2)") and "task.chunk" in line for line in lines)
    assert any(line.startswith("groups: 160 of 5 to 5 texts") for line in lines)
    assert any(line.startswith("validation: builtin:paraphrase-scores, 600 scored pairs") for line in lines)
    assert not any(line.startswith("warning") for line in prepared(tmp_path)[2])
    labelled = sources(tmp_path)["softmax"]
    lines = prepared(tmp_path / "b", *labelled, "data.validation=")[2]
    assert any("no scored validation pairs" in line for line in lines)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["task.objective=cosine"], 'task.objective "cosine" learns from rows of scored, but data.rows is "groups"'),
        (["rows.tokens_per_batch=100"], "data.tokens_per_batch is 100, but must be 0 for task.objective in_batch"),
        (["task.dims=[32]"], "task.dims [32] must be less than the width of the vectors, 32"),
        (["rows.length=33"], "data.length (33) must be from 1 to the model's length (32)"),
        (["rows.rows=triplets", 'rows.negatives=["a", "b"]', "task.objective=triplet"], "data.negatives has 2 columns"),
    ],
)
def test_faults(tmp_path, changes, message):
    with pytest.raises(ConfigError) as fault:
        prepared(tmp_path, *changes)
    assert message in str(fault.value) and "\n" not in str(fault.value)


def test_one_class_and_a_class_of_one_row_are_refused(tmp_path):
    rows = [{"sentence1": f"a {i}", "sentence2": "b", "label": "one"} for i in range(40)]
    path = tmp_path / "rows.jsonl"
    changes = [f"data.train={path}", "rows.rows=labelled", "task.objective=softmax", "data.count=0"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(FormersError, match='have the class "one" in column'):
        prepared(tmp_path, *changes)
    rows[0]["label"], rows[5]["label"] = "rare", "two"  # row 0 is set aside
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(FormersError, match=r"line 1: the class .*rare.* occurs in no other row"):
        prepared(tmp_path, *changes)
