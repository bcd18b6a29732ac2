"""CLIP: it learns pairs, to the same bits after a stop; repeats are no negatives; labels by words; search."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import formers
from formers.cli import app
from formers.data.builtin.shapes import scene
from formers.errors import ConfigError, DataError
from formers.launch import load_recipe
from formers.metrics.retrieval import ranks, recall
from formers.registry import prepare
from formers.systems import picture_batches
from formers.systems.clip.system import ClipModel
from formers.systems.picture_batches import PictureRows
from formers.training.events import Evaluated
from tests.systems.clip import toy


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(run, table) of towers that have learned eight pairs."""
    root = tmp_path_factory.mktemp("clip")
    path = toy.table(root / "pictures")
    events = list(formers.train("clip", toy.changes(path), run=root / "run"))
    return root / "run", path, events


@pytest.fixture(scope="module")
def clip(trained) -> ClipModel:
    return formers.load(trained[0], system="clip")


def test_it_learns_eight_pairs(trained):
    metrics = next(event for event in trained[2] if isinstance(event, Evaluated)).metrics
    assert metrics["text_recall_1"] == metrics["picture_recall_1"] == 1.0
    assert metrics["zero_shot"] >= 0.75 and metrics["loss"] < 1.0
    stepped = next(event for event in trained[2] if type(event).__name__ == "Stepped")
    assert stepped.parts["floor"] == pytest.approx(np.log(8), abs=1e-4)


@pytest.mark.parametrize("more", [(), ("task.loss=sigmoid", "task.chunk=3")])
def test_going_on_is_exact(tmp_path, more):
    path = toy.table(tmp_path / "pictures")
    base = toy.changes(path, "rows.batch=4", "rows.shift=2", "train.save_every=3", "train.keep=5", *more)
    list(formers.train("clip", [*base, "train.steps=6"], run=tmp_path / "whole"))
    training = formers.train("clip", [*base, "train.steps=6"], run=tmp_path / "twice")
    for event in training:
        if type(event).__name__ == "Saved":
            break
    training.close()
    list(formers.train("clip", [*base, "train.steps=6"], run=tmp_path / "twice"))
    one, other = (formers.load(tmp_path / name / "checkpoints" / "000006") for name in ("whole", "twice"))
    for name, weight in one.model.state_dict().items():
        assert torch.equal(weight, other.model.state_dict()[name]), name


def prepared(tmp_path, *changes: str):
    recipe = load_recipe("clip", changes)
    return prepare(recipe.system, recipe.sections, tmp_path / "run")


def test_repeated_captions_are_no_negatives(tmp_path):
    path = toy.table(tmp_path, captions=["a circle"] * 2 + [f"number {place}" for place in range(6)])
    made = prepared(tmp_path, *toy.changes(path))
    task, batch = made.task, made.batches.collate(range(8))
    u, v = torch.nn.functional.normalize(torch.randn(2, 8, 16, dtype=torch.float64), dim=-1)
    task.model.double()
    losses = task.clip.contrast(u, v, batch.same)
    scores = (task.model.logit_scale.exp() * u @ v.T).detach()
    scores[0, 1] = scores[1, 0] = -torch.inf
    expected = [torch.nn.functional.cross_entropy(x, torch.arange(8), reduction="none") for x in (scores, scores.T)]
    torch.testing.assert_close(losses.each, sum(expected) / 2)
    torch.testing.assert_close(losses.parts["floor"].exp(), torch.tensor([7.0, 7, *[8.0] * 6]).double())
    assert "again, which is never a negative" in "\n".join(made.report)


def test_cached_gradients_are_the_gradients(tmp_path):
    path = toy.table(tmp_path / "p")
    grads = []
    for chunk in (0, 3):
        made = prepared(tmp_path, *toy.changes(path, f"task.chunk={chunk}"))
        loss = made.task.loss(made.batches.collate(range(8)))
        loss.total.backward()
        grads.append([weight.grad for weight in made.task.model.parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tower", ["picture", "text"])
def test_vectors_of_a_locked_tower_are_computed_once(trained, clip, tmp_path, tower, monkeypatch):
    """The same is learned as where they are computed in each step, and to the same bits after a stop."""
    run, path, _ = trained
    changes = toy.changes(path, f"model.start={run}", f"task.lock={tower}", "train.steps=4", "train.save_every=2",
                          "train.evaluate_every=2", "rows.batch=4", "train.keep=5")  # fmt: skip

    def learned(name, events):
        (line,) = [line for line in events[0].lines if line.startswith("locked: ")]
        weights = formers.load(tmp_path / name / "checkpoints" / "000004").model.state_dict()
        return line, weights, [event.metrics for event in events if isinstance(event, Evaluated)]

    line, once, scores = learned("once", list(formers.train("clip", changes, run=tmp_path / "once")))
    assert line == f"locked: the tower of {tower}s stays as it is; its vectors are computed once"
    stopped = formers.train("clip", changes, run=tmp_path / "stopped")
    assert any(type(event).__name__ == "Saved" for event in stopped)
    stopped.close()
    _, again, _ = learned("stopped", list(formers.train("clip", changes, run=tmp_path / "stopped")))
    monkeypatch.setattr(PictureRows, "anew", lambda *_: "for the test")
    line, anew, others = learned("anew", list(formers.train("clip", changes, run=tmp_path / "anew")))
    assert line.endswith("its vectors are computed in each step (for the test)")
    for name, weight in once.items():
        assert torch.equal(weight, again[name]), name
        torch.testing.assert_close(weight, anew[name], atol=1e-5, rtol=1e-4)
        assert not name.startswith(f"{tower}.") or torch.equal(weight, clip.model.state_dict()[name]), name
    assert [*scores[0]] == [*others[0]] and scores[-1] == pytest.approx(others[-1], abs=1e-4)


@pytest.mark.parametrize("tower", ["picture", "text"])
def test_a_locked_tower_stays_and_weights_are_interpolated(trained, clip, tmp_path, tower):
    run, path, _ = trained
    changes = toy.changes(path, f"model.start={run}", f"task.lock={tower}", "task.interpolate=0.5", "train.steps=3")
    list(formers.train("clip", changes, run=tmp_path / "half"))
    list(formers.train("clip", [*changes, "task.interpolate=1"], run=tmp_path / "all"))
    half, whole = (formers.load(tmp_path / name).model.state_dict() for name in ("half", "all"))
    moved = 0
    for name, start in clip.model.state_dict().items():
        torch.testing.assert_close(half[name], (start + whole[name]) / 2, atol=1e-6, rtol=1e-5)
        if name.startswith(f"{tower}."):
            assert torch.equal(whole[name], start)
        moved += not torch.equal(whole[name], start)
    assert moved > 5


def test_weights_between_the_start_and_the_model_are_measured(trained, clip, tmp_path):
    run, path, _ = trained
    clip.save(tmp_path / "start")
    other = formers.load(tmp_path / "start")
    for weight in other.model.parameters():
        weight.data += 0.3 * torch.randn_like(weight)
    other.save(tmp_path / "other")
    rows = ["--data", str(path), "--label", "shape", "--json"]

    def evaluated(model, *more):
        shown = CliRunner().invoke(app, ["evaluate", str(tmp_path / model), *rows, *more])
        assert shown.exit_code == 0, shown.output
        return json.loads(shown.stdout)

    report = evaluated("other", "--start", str(tmp_path / "start"), "--weights", "0,0.5,1")
    assert list(report["between"]) == ["0", "0.5", "1"]
    for share, alone in (("0", evaluated("start")), ("1", evaluated("other"))):
        for name, value in report["between"][share].items():
            assert value == pytest.approx(alone[name], abs=1e-5), name
            assert share == "0" or report[name] == value
    assert report["between"]["0"]["loss"] < report["between"]["0.5"]["loss"] < report["between"]["1"]["loss"]
    for more, message in (
        (["--weights", "0,2", "--start", "x"], "expected numbers from 0 to 1, such as 0,0.5,1"),
        (["--weights", "0,1"], "--weights go between --start and the model"),
    ):
        shown = CliRunner().invoke(app, ["evaluate", str(tmp_path / "other"), *rows, *more])
        assert shown.exit_code == 2 and message in shown.stderr
    with (
        pytest.raises(ConfigError, match="of the start have another name or shape, the first is "),
        other.between({}, 1),
    ):
        pass


def test_a_body_of_pictures_gets_words(trained, tmp_path):
    from tests.systems.images import toy as pictures

    pictures.model().save(tmp_path / "body")
    start = [f"model.start={tmp_path / 'body'}", "task.lock=picture", "train.steps=2"]
    list(formers.train("clip", toy.changes(trained[1], *start), run=tmp_path / "lit"))
    lit = formers.load(tmp_path / "lit", system="clip")
    assert lit.encode_texts(["a red circle"]).shape == (1, 16)


def test_a_stuck_loss_is_explained(trained, tmp_path, capsys):
    made = prepared(tmp_path, *toy.changes(trained[1]))
    made.task.evaluate()
    said = made.task.explanation(2.0, 2.08)
    assert "guessing 2.080" in said and "pictures" in said and "texts" in said and "multiplied by 14.3" in said


def test_zero_shot_is_the_mean_of_templates(clip, trained):
    images = [Image.open(trained[1].parent / f"{n}.png").convert("RGB") for n in range(3)]
    labels = ["red circle", "blue square"]
    classes = clip.class_vectors(labels, ["a {}", "{}"])
    by_hand = (
        clip.encode_texts(["a red circle", "red circle", "a blue square", "blue square"]).reshape(2, 2, -1).mean(1)
    )
    np.testing.assert_allclose(classes, by_hand / np.linalg.norm(by_hand, axis=1, keepdims=True), atol=1e-6)
    shares = clip.zero_shot(images, labels, ["a {}"])
    assert shares.shape == (3, 2) and np.allclose(shares.sum(1), 1)
    alone = np.concatenate([clip.encode_pictures([image]) for image in images])
    np.testing.assert_allclose(alone, clip.encode_pictures(images), atol=1e-5)


def test_transformers_gives_equal_similarities(trained, clip, tmp_path):
    transformers = pytest.importorskip("transformers")
    clip.save(tmp_path / "m")
    assert json.loads((tmp_path / "m" / "config.json").read_text())["model_type"] == "clip"
    theirs = transformers.CLIPModel.from_pretrained(tmp_path / "m").eval()
    texts = clip.reader.batch(clip.reader.read(["a red circle", "a large blue star above a ring"]))
    pixels = clip.preprocessor.batch([scene("test", n).image() for n in range(3)])
    with torch.no_grad():
        mask = None if texts.keep is None else texts.keep.long()
        logits = theirs(input_ids=texts.tokens, attention_mask=mask, pixel_values=pixels).logits_per_image
        torch.testing.assert_close(logits, clip.model(pixels, texts.tokens, texts.keep), atol=1e-4, rtol=1e-4)


def test_the_verbs(trained, tmp_path):
    run, path, _ = trained
    picture = str(path.parent / "0.png")
    cli = CliRunner()
    (tmp_path / "templates.txt").write_text("a {}\na picture of a {}\n")
    labels = ",".join(line.split(",")[2] for line in path.read_text().splitlines()[1:])
    args = ["classify", str(run), picture, "--labels", labels, "--templates-file", str(tmp_path / "templates.txt")]
    shown = cli.invoke(app, [*args, "--json", "--top", "2"])
    assert shown.exit_code == 0, shown.output
    assert len(json.loads(shown.stdout)["probabilities"]) == 2
    shown = cli.invoke(app, ["evaluate", str(run), "--data", str(path), "--label", "shape", "--json"])
    assert shown.exit_code == 0 and json.loads(shown.stdout)["text_recall_1"] == 1.0, shown.output
    shown = cli.invoke(app, ["encode", str(run), "a red circle", "words", "--out", str(tmp_path / "t.npy")])
    assert shown.exit_code == 0, shown.output
    np.testing.assert_allclose(
        np.load(tmp_path / "t.npy"), formers.load(run).encode_texts(["a red circle", "words"]), atol=1e-6
    )
    (tmp_path / "lines.txt").write_text("a red circle\nwords\n")
    for file, word in ((tmp_path / "lines.txt", "text"), (path, "picture")):
        shown = cli.invoke(app, ["encode", str(run), "--file", str(file), "--json"])
        assert shown.exit_code == 0 and json.loads(shown.stdout.splitlines()[0])[word], shown.output
    for inputs, message in (((picture, "words"), "give pictures or texts, not both"), (("no.png",), "no such picture")):
        shown = cli.invoke(app, ["encode", str(run), *inputs])
        assert shown.exit_code == 2 and message in shown.stderr
    shown = cli.invoke(app, ["encode", str(run), picture, "--out", str(tmp_path / "v.npy")])
    assert shown.exit_code == 0 and np.linalg.norm(np.load(tmp_path / "v.npy")) == pytest.approx(1, abs=1e-5)


def test_pictures_are_found_by_words(trained):
    run, path, _ = trained
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    for file, caption, _ in rows[:4]:
        found = formers.search(path.parent, caption, model=run, top=1)
        assert found[0].path.endswith(file)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", ""], "--labels is empty"),
        ([], "--labels is empty"),
        (["--labels", "cat,cat"], '"cat" is given twice'),
        (["--labels", "cat", "--template", "a photo"], "has no {}"),
    ],
)
def test_wrong_labels_are_refused(trained, options, message):
    shown = CliRunner().invoke(app, ["classify", str(trained[0]), str(trained[1].parent / "0.png"), *options])
    assert shown.exit_code == 2 and message in shown.stderr, shown.output


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["model.height=20"], "multiples of the patch"),
        (["rows.text=title"], "title"),
        (["task.lock=text"], "name it in model.start"),
        (["task.interpolate=0.5"], "name a start"),
        (["task.templates=['a photo']"], "must each have a {}"),
        (["model.text_heads=3"], "multiple of model.text_heads"),
    ],
)
def test_wrong_recipes_are_refused(tmp_path, more, message):
    path = toy.table(tmp_path / "p")
    with pytest.raises((ConfigError, DataError), match=message):
        list(formers.train("clip", toy.changes(path, *more), run=tmp_path / "run"))


def test_a_missing_caption_is_named(tmp_path):
    path = toy.table(tmp_path / "p", captions=["a", "b", "", "d", "e", "f", "g", "h"])
    with pytest.raises(DataError, match="line 4"):
        list(formers.train("clip", toy.changes(path), run=tmp_path / "run"))
    list(formers.train("clip", toy.changes(path, "data.drop_empty=true", "train.steps=1"), run=tmp_path / "run"))


def test_ranks_count_equals_against_the_model():
    same = [np.arange(4)]
    flat = np.ones((4, 2), np.float32)
    assert ranks(flat, flat, same, same).tolist() == [4] * 4  # all alike: nothing is found
    eye = np.eye(4, dtype=np.float32)
    assert recall(ranks(eye, eye, same, same), 1) == 1.0
    twice = [np.array([0, 0, 1, 2])]
    assert ranks(eye, eye[[1, 0, 2, 3]], twice, twice).tolist() == [1] * 4


@pytest.mark.parametrize(
    "more", [("model.kind=resnet", "model.widths=[8,16]", "model.depths=[1,1]"), ("model.stem=1",)]
)
def test_towers_that_no_family_has_are_read_back(tmp_path, more):
    path = toy.table(tmp_path / "p")
    made = prepared(tmp_path, *toy.changes(path, *more))
    made.task.save(tmp_path / "m")
    opened = formers.load(tmp_path / "m", system="clip")
    assert opened.preprocessor == made.task.clip.preprocessor
    image = [scene("train", 0).image()]
    np.testing.assert_allclose(opened.encode_pictures(image), made.task.clip.encode_pictures(image), atol=1e-6)


def test_a_group_of_broken_pictures_does_not_end_an_evaluation(tmp_path, monkeypatch):
    path = toy.table(tmp_path / "p")
    whole = path.parent / "3.png"
    whole.write_bytes(whole.read_bytes()[:60])
    monkeypatch.setattr(picture_batches, "AT_ONCE", 1)  # one group holds nothing else
    task = prepared(tmp_path, *toy.changes(path, "rows.unreadable=1")).task
    assert task.evaluate().facts["pictures"] == 7
