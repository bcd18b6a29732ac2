"""Learning to label pictures: from data, from a checkpoint at another size, to the same bits after a kill."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import formers
from formers.data.bad_rows import leaving_out
from formers.data.labels import Labels
from formers.errors import ConfigError, DataError
from formers.images.augment import Augmentation
from formers.recipe import load_recipe
from formers.registry import prepare
from formers.systems import picture_batches
from formers.systems.images.data import LabelledPictures, PictureBatches
from formers.systems.picture_batches import PictureRows
from formers.systems.picture_sizes import PictureSizes
from tests.systems.images import toy

ROOT = Path(__file__).parents[3]
SMALL = {
    "vit": ["model.kind=vit", "model.height=16", "model.dim=16", "model.layers=2", "model.heads=2", "model.hidden=32",
            "model.drop_path=0.2", "model.stem=1"],
    "resnet": ["model.height=16", "model.widths=[8, 16]", "model.depths=[1, 1]", "model.drop_path=0.2"],
}  # fmt: skip
SHORT = ["rows.batch=8", "train.steps=8", "train.warmup=2", "train.evaluate_every=4", "train.save_every=2",
         "train.sample_every=0", "train.log_every=2", "train.average=0.9", "task.cutmix=1.0", "task.mixup=0.2",
         "task.label_smoothing=0.1", "rows.flip=0.5", "rows.changes=1"]  # fmt: skip


def settings(root: Path, form: str = "vit", *more: str) -> list[str]:
    return [f"data.train={root}", "data.held_out=6", *SMALL[form], *SHORT, *more]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return toy.folder(tmp_path_factory.mktemp("photos") / "all", 16)


def train(photos, run, form="vit", *more):
    return list(formers.train("images", settings(photos, form, *more), run=run))


@pytest.mark.parametrize("form", SMALL)
def test_from_a_folder_to_labels(photos, tmp_path, form):
    quiet = ["task.cutmix=0.0", "task.mixup=0.0", "rows.changes=0", "train.steps=40", "train.rate=0.01"]
    events = train(photos, tmp_path / "run", form, *quiet)
    lines = "\n".join(events[0].lines)
    assert "labels (one of 3)" in lines and "a new" in lines and "20 x 16" in lines
    model = formers.load(tmp_path / "run", system="images")
    shares = model.classify([toy.picture(name, 99) for name in toy.NAMES])
    assert [model.labels[place] for place in shares.argmax(1)] == list(toy.NAMES)


@pytest.mark.parametrize("form", SMALL)
def test_killed_and_resumed_to_the_same_bits(photos, tmp_path, form):
    """Random changes, mixing, stochastic depth and batch norms: all come again."""
    train(photos, tmp_path / "whole", form)
    code = (
        "import sys, json, formers\n"
        "for event in formers.train('images', json.loads(sys.argv[1]), run=sys.argv[2]):\n"
        "    print(type(event).__name__, event.step, flush=True)"
    )
    command = [sys.executable, "-c", code, json.dumps(settings(photos, form)), str(tmp_path / "parts")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert any(line.startswith("Saved 4") for line in process.stdout)
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    train(photos, tmp_path / "parts", form)
    one, other = (load_file(tmp_path / name / "checkpoints/000008/training.safetensors") for name in ("whole", "parts"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_batch_is_a_function_of_its_rows(photos):
    config = LabelledPictures(pictures=PictureRows(batch=8, augmentation=Augmentation(flip=0.5, shift=3, changes=2)))
    batches = PictureBatches(toy.table(photos), toy.model().preprocessor, config, toy.labels(), cutmix=1.0)
    plan = batches.epoch(1)
    assert [rows.tolist() for rows in plan] == [rows.tolist() for rows in batches.epoch(1)] and len(plan) == 6
    once, again = batches.collate(plan[2]), batches.collate(plan[2])
    assert torch.equal(once.pictures, again.pictures) and torch.equal(once.labels, again.labels)
    assert torch.allclose(once.labels.sum(1), torch.ones(8))
    other = batches.collate(plan[2] - (1 << 32))  # the same pictures in another epoch
    assert not torch.equal(once.pictures, other.pictures)


def test_fine_tuning_at_another_size(photos, tmp_path):
    old = toy.model(toy.VIT, ("cat", "dog"))
    old.save(tmp_path / "old")
    changes = ["model.height=24", "train.layer_decay=0.7", "task.freeze=1"]
    events = train(photos, tmp_path / "run", "vit", f"model.start={tmp_path / 'old'}", *changes)
    lines = "\n".join(events[0].lines)
    assert "24 x 24 pixels, positions interpolated from 16 x 16" in lines and "a new head of 3" in lines
    assert "frozen: the lowest 1 of 2 blocks" in lines
    model = formers.load(tmp_path / "run", system="images")
    assert model.preprocessor.height == 24 and model.model.body.positions.grid == (6, 6)
    patch = model.model.body.patches.project.weight
    assert torch.equal(patch, old.model.body.patches.project.weight)  # frozen


def test_frozen_blocks_keep_the_statistics_of_their_norms(photos, tmp_path):
    old = toy.model(toy.RESNET, ("cat", "dog"))
    old.save(tmp_path / "old")
    train(photos, tmp_path / "run", "resnet", f"model.start={tmp_path / 'old'}", "task.freeze=2")
    body = formers.load(tmp_path / "run", system="images").model.body.state_dict()
    before = old.model.body.state_dict()
    frozen = {name for name in before if name.startswith(("stem", "stages.0", "stages.1.0"))}
    assert any(name.endswith("running_mean") for name in frozen)
    changed = {name for name, weight in before.items() if not torch.equal(weight, body[name])}
    assert not changed & frozen and any(name.endswith("running_var") for name in changed)


@pytest.mark.parametrize("form", SMALL)
def test_what_a_frozen_body_gives_is_computed_once(photos, tmp_path, form, monkeypatch):
    """The same is learned as where it is computed in each step, and to the same bits after a stop."""
    start = toy.model(toy.VIT if form == "vit" else toy.RESNET, ("cat", "dog"))
    start.save(tmp_path / "start")
    plain = [f"model.start={tmp_path / 'start'}", f"task.freeze={2 if form == 'vit' else 3}", "task.mixup=0",
             "task.cutmix=0", "rows.flip=0", "rows.changes=0", "rows.shift=0"]  # fmt: skip
    events = train(photos, tmp_path / "once", form, *plain)
    assert "frozen: the whole body; the head alone learns, of vectors that are computed once" in events[0].lines
    stopped = formers.train("images", settings(photos, form, *plain), run=tmp_path / "stopped")
    assert any(type(event).__name__ == "Saved" and event.step == 4 for event in stopped)
    stopped.close()
    train(photos, tmp_path / "stopped", form, *plain)
    monkeypatch.setattr(PictureRows, "anew", lambda *_: "for the test")
    events = train(photos, tmp_path / "anew", form, *plain)
    assert "computed in each step (for the test)" in "\n".join(events[0].lines)
    once, stopped, anew = (formers.load(tmp_path / name, system="images").model.state_dict() for name in
                           ("once", "stopped", "anew"))  # fmt: skip
    for name, weight in start.model.body.state_dict().items():
        assert torch.equal(once[f"body.{name}"], weight) and torch.equal(anew[f"body.{name}"], weight), name
    for name, weight in once.items():
        assert torch.equal(weight, stopped[name]), name
        torch.testing.assert_close(weight, anew[name], atol=1e-5, rtol=1e-4)


def test_when_once_pays():
    rows, train = PictureRows(batch=8), SimpleNamespace(steps=10, accumulate=1)
    assert rows.anew(train, 80, 16) == ""
    assert rows.anew(train, 81, 16) == "training reads 80 of 81 pictures"
    assert "would not fit" in rows.anew(SimpleNamespace(steps=10**9, accumulate=1), 10**9, 16)
    assert PictureRows(augmentation=Augmentation(flip=0.5)).anew(train, 8, 1) == "pictures are changed at random"


def test_several_labels(tmp_path):
    root = toy.folder(tmp_path / "p", 4)
    rows = [
        f"p/{path.relative_to(root)},{path.parent.name};{path.parent.name[0]}" for path in sorted(root.rglob("*.png"))
    ]
    (tmp_path / "t.csv").write_text("\n".join(["image,label", *rows]))
    events = train(tmp_path / "t.csv", tmp_path / "run", "resnet", "rows.separator=;", "data.held_out=2",
                   "train.monitor=mean_average_precision")  # fmt: skip
    assert "labels (several of 6)" in "\n".join(events[0].lines)
    model = formers.load(tmp_path / "run")
    assert model.kind == "several" and model.classify([toy.picture("red", 0)]).shape == (1, 6)


def test_a_broken_picture_is_said_and_counted(tmp_path, monkeypatch):
    root = toy.folder(tmp_path / "p", 4)
    (root / "red" / "000.png").write_bytes(toy.encoded(toy.picture("red", 0))[:60])
    table = toy.table(root)

    def batches(**rows):
        return PictureBatches(
            table, toy.model().preprocessor, LabelledPictures(pictures=PictureRows(batch=12, **rows)), toy.labels()
        )

    with pytest.raises(DataError, match=r"red/000.png.*--set rows.unreadable=10"):
        batches().collate(range(12))
    some = batches(unreadable=1)
    assert len(some.collate(range(12)).pictures) == 11 and len(some.collate(range(12)).labels) == 11
    assert list(some.pixels.refused) == [8]
    monkeypatch.setattr(picture_batches, "AT_ONCE", 1)  # one group holds nothing else
    assert len(list(batches(unreadable=1).plain())) == 11
    with leaving_out([]) as faults:
        assert len(list(batches().plain())) == 11 and len(faults) == 1


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"height": 30, "patch": 4},
            r"30 x 30\) must be multiples of the patch \(4\); for example --set model.height=",
        ),
        ({"patch": 6, "stem": 2, "height": 24}, r"model.patch \(6\) must be a multiple of 4"),
        ({"dim": 10, "heads": 3}, r"model.dim \(10\) must be a multiple of model.heads \(3\)"),
        ({"kind": "resnet", "widths": (8,)}, r"model.widths \(1\) and model.depths \(3\)"),
        ({"kind": "resnet", "halving": "maximum", "height": 7}, r"7 x 7\) must be at least 8, which 3 stages halve"),
    ],
)
def test_sizes_that_do_not_go_together(sizes, message):
    with pytest.raises(ConfigError, match=message):
        PictureSizes(**sizes)


def test_what_cannot_be_learned(photos, tmp_path):
    def begin(*changes, recipe="images"):
        chosen = load_recipe(recipe, [*settings(photos), *changes])
        return prepare("images", chosen.sections, tmp_path)

    one = toy.folder(tmp_path / "one", 3)
    for name in ("green", "blue"):
        for path in (one / name).iterdir():
            path.unlink()
        (one / name).rmdir()
    with pytest.raises(DataError, match="needs at least two"):
        begin(f"data.train={one}")
    toy.model(toy.VIT).save(tmp_path / "m")
    with pytest.raises(ConfigError, match=r"30 x 30\) must be multiples of the patch"):
        begin(f"model.start={tmp_path / 'm'}", "model.height=30")
    with pytest.raises(ConfigError, match=r"task.freeze \(9\) must be from 0 to 2"):
        begin("task.freeze=9")
    with pytest.raises(ConfigError, match="rows\\.image and rows\\.label"):
        LabelledPictures(label="")


def test_labels_of_unequal_classes(tmp_path):
    """A test set with a class that was never learned."""
    table = toy.table(toy.folder(tmp_path / "p", 2))
    with pytest.raises(DataError, match=r'"green" is not among those learned'):
        PictureBatches(table, toy.model().preprocessor, LabelledPictures(), Labels("one", ("blue", "red")))
