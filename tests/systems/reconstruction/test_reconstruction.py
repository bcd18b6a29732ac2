"""Reconstruction: from rows to models that restore, their verbs, what is saved, and what can be wrong with an input."""

import json
import math
from base64 import b64encode

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from starlette.testclient import TestClient

import formers
from formers import registry
from formers.data.bad_rows import leaving_out
from formers.data.pictures import read_pictures
from formers.data.sources import Table
from formers.data.words import WordCounts, commonest, words_of
from formers.errors import ConfigError, DataError, TextsError
from formers.fields import build
from formers.images.corrupt import Corruption
from formers.models.autoencoder import Autoencoder, AutoencoderConfig
from formers.server.app import make_app
from formers.server.models import Models, Served
from formers.systems.inputs import CommandInputs
from formers.systems.picture_batches import PictureRows
from formers.systems.pictures import Pictures
from formers.systems.reconstruction import verbs
from formers.systems.reconstruction.data import CountedDocuments, PictureRepairs, ReconstructionRows, counted
from formers.systems.reconstruction.looks import WalkLook, walk
from formers.systems.reconstruction.repair import ReconstructionBatch, channels_of, inputs_of, summed_loss
from formers.systems.reconstruction.sizes import AutoencoderSizes
from formers.systems.reconstruction.system import Reconstructor
from formers.systems.reconstruction.task import ReconstructionConfig, ReconstructionTask
from formers.systems.system import Origin, Progress, Remark, Typed
from formers.systems.texts import Texts
from formers.systems.vectors.encoded import EncodeEither

SHORT = ["data.count=24", "data.held_out=8", "rows.batch=8", "train.steps=6", "train.warmup=2",
         "train.evaluate_every=3", "train.save_every=2", "train.sample_every=0", "train.log_every=2",
         "train.average=0.9", "model.height=12"]  # fmt: skip
DENSE = ["model.kind=dense", "model.sizes=[24, 12, 2]"]
TASKS = {"reconstruct": "none", "denoise": "noise", "inpaint": "obstacles", "colour": "grey"}
WORDS = ("apple", "pear", "plum", "fig")


def system(task: str = "reconstruct", *, grey: bool = False, **sizes) -> Reconstructor:
    """A model of pictures of 12 x 10 with random weights."""
    torch.manual_seed(0)
    rows = ReconstructionRows(grey=grey)
    into, out = channels_of(task, 1 if grey else 3)
    sizes = AutoencoderSizes(**{"height": 12, "width": 10, "sizes": (8, 2), **sizes})
    output = "values" if task == "colour" else "logits"
    config = sizes.config((into, *sizes.side), outputs=out, task=task, output=output)
    return Reconstructor(Autoencoder(config).eval(), rows.preprocessor(sizes.side))


def documents() -> Reconstructor:
    torch.manual_seed(0)
    return Reconstructor(Autoencoder(AutoencoderConfig(inputs=(4,), sizes=(3, 2), words=WORDS)).eval(), None)


def picture(width: int = 10, height: int = 12, *, grey: bool = False) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width) if grey else (height, width, 3), np.uint8)
    return Image.fromarray(values)


def opened(path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


def batches(task: str = "denoise", seed: int = 1) -> PictureRepairs:
    rows = ReconstructionRows(pictures=PictureRows(batch=4), corruption=Corruption(corruption=TASKS[task]))
    owner = system(task)
    return PictureRepairs(read_pictures("builtin:shapes", count=10), owner.preprocessor, rows, owner.config, seed=seed)


def restore(owner: Reconstructor, *paths, **options) -> list:
    files = Pictures.of_files(list(map(str, paths)))
    return list(verbs.reconstruct(owner, build(verbs.Restore, {"pictures": files, **options}, "reconstruct")))


# ---- what is learned ---------------------------------------------------------------------------------------------


def test_losses_are_sums_of_the_usual_ones():
    owner, x = system(), torch.rand(3, 3, 12, 10)
    outputs = owner.model(x)
    total, count = summed_loss(owner.model, outputs, ReconstructionBatch(x, x))
    expected = -(x * outputs.sigmoid().log() + (1 - x) * (1 - outputs.sigmoid()).log()).sum()
    torch.testing.assert_close(total, expected)
    assert count == 3
    counts = torch.tensor([[2.0, 0, 1, 0], [0, 0, 0, 3]])
    model = documents().model
    outputs = model(torch.rand(2, 4))
    total, count = summed_loss(model, outputs, ReconstructionBatch(counts, counts))
    chosen = [(0, 0), (0, 0), (0, 2), (1, 3), (1, 3), (1, 3)]
    torch.testing.assert_close(total, -sum(outputs.log_softmax(1)[place] for place in chosen))
    assert count == 6


def test_only_what_is_hidden_counts():
    owner = system("inpaint")
    x, mask = torch.rand(2, 3, 12, 10), torch.zeros(2, 1, 12, 10, dtype=torch.bool)
    mask[:, :, 3:5] = True
    outputs = torch.randn(2, 3, 12, 10)
    changed = torch.where(mask, outputs, outputs + 1)
    losses = [float(summed_loss(owner.model, each, ReconstructionBatch(x, x, mask))[0]) for each in (outputs, changed)]
    assert losses[0] == losses[1] > 0


def test_holes_are_filled_from_their_edge_before_a_model_reads_them():
    owner, mask = system("inpaint"), torch.zeros(1, 1, 12, 10, dtype=torch.bool)
    slope = (torch.arange(12)[:, None] * 0.04 + torch.arange(10) * 0.03).expand(2, 3, 12, 10)
    mask[..., 3:9, 2:8] = True
    inputs = inputs_of(owner.config, slope.masked_fill(mask, 0.5), mask)
    torch.testing.assert_close(inputs[:, :3], slope, atol=1e-3, rtol=0)
    assert torch.equal(inputs[:, 3:].bool(), mask.expand(2, -1, -1, -1))


def test_a_batch_is_a_pure_function_of_its_rows():
    one, other = batches(), batches()
    rows = one.epoch(1)[0]
    torch.testing.assert_close(one.collate(rows).inputs, other.collate(rows).inputs, rtol=0, atol=0)
    assert not torch.equal(one.collate(rows).inputs, batches(seed=2).collate(rows).inputs)
    first, again = (torch.cat([worse for _, _, worse, _ in one.judged()]) for _ in range(2))
    assert torch.equal(first, again)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_from_pictures_to_pictures(task, tmp_path):
    more = [f"rows.corruption={TASKS[task]}", "model.sizes=[8, 12]", "model.code=map", "model.skips=true"]
    more = [*DENSE] if task == "reconstruct" else more
    events = list(formers.train("reconstruction", [*SHORT, *more, "train.sample_every=6"], run=tmp_path / "run"))
    assert any(type(event).__name__ == "Finished" for event in events)
    assert list((tmp_path / "run/samples").rglob("*.png"))
    owner = formers.load(tmp_path / "run", system="reconstruction")
    mask = torch.zeros(1, 1, 12, 12, dtype=torch.bool)
    mask[..., 2:5, 3:6] = True
    x = torch.rand(1, 3, 12, 12)
    result = owner.reconstruct(x, mask if task == "inpaint" else None)
    assert result.shape == x.shape
    if task == "inpaint":
        assert torch.equal(result[~mask.expand_as(x)], x[~mask.expand_as(x)])
    owner.save(tmp_path / "saved")
    again = formers.load(tmp_path / "saved")
    assert again.config == owner.config and again.preprocessor == owner.preprocessor
    torch.testing.assert_close(again.reconstruct(x, mask if task == "inpaint" else None), result)
    rows = ReconstructionRows(corruption=Corruption(corruption=TASKS[task]))
    report = again.evaluate(again.batches(read_pictures("builtin:shapes", count=6), rows))
    assert report.facts["pictures"] == 6
    assert math.isclose(report.value("rmse"), (report.value("squared_error") / 432) ** 0.5)


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path):
    changes = [*SHORT, "rows.corruption=noise", "rows.flip=0.5", "model.variational=true"]
    list(formers.train("reconstruction", changes, run=tmp_path / "whole"))
    list(formers.train("reconstruction", [*changes, "train.steps=4", "train.schedule=constant"], run=tmp_path / "a"))
    other = [*changes, "train.schedule=constant"]
    list(formers.train("reconstruction", other, run=tmp_path / "b"))
    recipe = tmp_path / "a/recipe.toml"
    recipe.write_text(recipe.read_text().replace("steps = 4", "steps = 6"))
    list(formers.train("reconstruction", other, run=tmp_path / "a"))
    tensors = [load_file(tmp_path / run / "checkpoints/000006/model.safetensors") for run in ("a", "b")]
    assert all(torch.equal(value, tensors[1][name]) for name, value in tensors[0].items())


def test_eight_pictures_are_learned_by_heart(tmp_path):
    changes = [*SHORT, *DENSE, "model.sizes=[64, 16]", "train.steps=150", "train.rate=0.003", "data.count=8"]
    list(formers.train("reconstruction", [*changes, "train.average=0.0", "train.evaluate_every=0"], run=tmp_path))
    owner = formers.load(tmp_path)
    report = owner.evaluate(owner.batches(read_pictures("builtin:shapes", count=8, seed=1), ReconstructionRows()))
    assert report.value("psnr") > 20


# ---- documents ---------------------------------------------------------------------------------------------------


def test_words_and_their_counts():
    assert words_of("It's 3 o'clock: THE end, über_all") == ["it's", "o'clock", "the", "end", "über", "all"]
    texts = ["b a b", "c a", "b"]
    assert commonest(texts, 2) == ("b", "a") and commonest(texts, 5, skip=1) == ("a", "c")
    counts = WordCounts(["b b a zzz", "zzz", "a"], ("a", "b"))
    assert counts.lengths.tolist() == [3, 0, 1]
    assert counts.of([0, 2, 1]).tolist() == [[1, 2], [1, 0], [0, 0]]


def test_a_document_without_a_counted_word():
    table, rows = (
        Table("fruit.csv", {"text": ["apple fig", "bread"]}, lines=[2, 3]),
        ReconstructionRows(kind="documents"),
    )
    with pytest.raises(
        DataError, match=r'fruit.csv, line 3 \("bread"\) has none of the 4 words .* data.drop_empty=true'
    ):
        counted(table, rows, WORDS, drop=False)
    left, counts = counted(table, rows, WORDS, drop=True)
    assert len(left) == len(counts) == 1
    with pytest.raises(TextsError, match="text 2: has none of the 4 words"):
        documents().encode_texts(["apple", "bread"])


def test_documents_from_texts_to_codes(tmp_path):
    changes = ["data.held_out=3", "rows.words=50", "model.sizes=[16, 3]", "train.steps=6", "train.warmup=1",
               "train.evaluate_every=3", "train.save_every=3"]  # fmt: skip
    list(formers.train("reconstruction/documents", changes, run=tmp_path / "run"))
    owner = formers.load(tmp_path / "run")
    assert len(owner.config.words) == 50
    alone, among = owner.encode_texts(["the name of a class"]), owner.encode_texts(["a list", "the name of a class"])
    np.testing.assert_allclose(alone[0], among[1], atol=1e-6)
    table = Table("t", {"text": ["the name", "of a class", "the"]})
    report = owner.evaluate(owner.batches(table, ReconstructionRows(kind="documents")))
    assert isinstance(owner.batches(table, ReconstructionRows(kind="documents")), CountedDocuments)
    assert report.value("perplexity") == pytest.approx(math.exp(report.value("loss")))
    owner.save(tmp_path / "saved")
    np.testing.assert_array_equal(formers.load(tmp_path / "saved").encode_texts(["a list"]), among[:1])


# ---- verbs -------------------------------------------------------------------------------------------------------


def test_a_picture_is_restored_and_written(tmp_path):
    picture().save(tmp_path / "in.png")
    (result,) = restore(system(), tmp_path / "in.png")
    result.write(tmp_path / "out.png")
    assert opened(tmp_path / "out.png").size == (10, 12)


def test_folders_are_restored_into_a_folder_with_progress(tmp_path):
    for name in ("a/x.png", "b/x.png", "b/y.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture().save(tmp_path / name)
    paths = sorted(tmp_path.rglob("*.??g"))
    events = restore(system(), *paths, into=str(tmp_path / "out"))
    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2, 3]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["x-2.png", "x.png", "y.png"]
    with pytest.raises(ConfigError, match="got 3 pictures: give --into FOLDER, or --sheet"):
        restore(system(), *paths)
    (sheet,) = (event for event in restore(system(), *paths, sheet=True) if not isinstance(event, Progress))
    sheet.write(tmp_path / "sheet.png")
    assert opened(tmp_path / "sheet.png").width > 100


def test_a_picture_of_another_size(tmp_path):
    picture(25, 20).save(tmp_path / "in.png")
    with pytest.raises(DataError, match=r"in.png: a picture of 25 x 20 pixels, but this model reads 10 x 12; --resize"):
        restore(system(), tmp_path / "in.png")
    picture().save(tmp_path / "good.png")
    with leaving_out([]) as faults:
        events = restore(system(), tmp_path / "in.png", tmp_path / "good.png", into=str(tmp_path / "out"))
    assert [event.done for event in events if isinstance(event, Progress)] == [1] and len(faults) == 1
    (result,) = restore(system(), tmp_path / "in.png", resize=True)
    result.write(tmp_path / "out.png")
    assert opened(tmp_path / "out.png").size == (25, 20)
    (_,) = restore(system("denoise", kind="convolutional", code="map"), tmp_path / "in.png")


def test_a_request_brings_its_mask(tmp_path):
    """As bytes: it names no file of the server."""
    picture().save(tmp_path / "in.png")
    mask = Image.new("L", (10, 12))
    mask.paste(255, (2, 2, 5, 5))
    mask.save(tmp_path / "mask.png")
    owner, declared = system("inpaint"), registry.system("reconstruction")
    served = Served("toy", declared, owner, registry.verbs_of(declared), Origin("toy"))
    client = TestClient(make_app(Models({"toy": served})), base_url="http://127.0.0.1")
    encoded = {name: b64encode((tmp_path / f"{name}.png").read_bytes()).decode() for name in ("in", "mask")}
    (expected,) = restore(owner, tmp_path / "in.png", mask=str(tmp_path / "mask.png"))
    for text in (encoded["mask"], f"data:image/png;base64,{encoded['mask']}"):
        answer = client.post("/reconstruct", json={"pictures": encoded["in"], "mask": text})
        assert answer.json()["results"][0]["png"] == expected.png
    answer = client.post("/reconstruct", json={"pictures": [encoded["in"]] * 2, "mask": encoded["mask"]})
    assert [result["png"] for result in answer.json()["results"]] == [expected.png] * 2
    for text, message in ((str(tmp_path / "mask.png"), "picture in base64"), (b64encode(b"x").decode(), "no picture")):
        answer = client.post("/reconstruct", json={"pictures": encoded["in"], "mask": text})
        assert answer.status_code == 400 and message in answer.json()["error"]


def test_masks(tmp_path):
    picture().save(tmp_path / "in.png")
    for name, size, box in (
        ("good", (10, 12), (2, 2, 5, 5)),
        ("empty", (10, 12), None),
        ("other", (9, 12), (0, 0, 3, 3)),
    ):
        mask = Image.new("L", size)
        if box:
            mask.paste(255, box)
        mask.save(tmp_path / f"{name}.png")
    owner = system("inpaint")
    (result,) = restore(owner, tmp_path / "in.png", mask=str(tmp_path / "good.png"), task="inpaint")
    result.write(tmp_path / "out.png")
    same = (np.asarray(opened(tmp_path / "out.png")) == np.asarray(picture())).all(-1)
    assert same.sum() >= 111 and not same[2:5, 2:5].all()
    with pytest.raises(DataError, match=r"in.png: the mask hides nothing"):
        restore(owner, tmp_path / "in.png", mask=str(tmp_path / "empty.png"))
    with pytest.raises(DataError, match="the mask has 9 x 12 pixels, expected 10 x 12"):
        restore(owner, tmp_path / "in.png", mask=str(tmp_path / "other.png"))
    with pytest.raises(ConfigError, match=r"give --mask MASK\.png"):
        restore(owner, tmp_path / "in.png")
    with pytest.raises(ConfigError, match="--mask is for a model that was trained to inpaint"):
        restore(system(), tmp_path / "in.png", mask=str(tmp_path / "good.png"))
    with pytest.raises(ConfigError, match="--task denoise: this model was trained to reconstruct"):
        restore(system(), tmp_path / "in.png", task="denoise")


def test_colouring_keeps_the_lightness_and_says_that_colours_are_ignored(tmp_path):
    owner = system("colour")
    picture(grey=True).save(tmp_path / "grey.png")
    picture().save(tmp_path / "coloured.png")
    assert not any(isinstance(event, Remark) for event in restore(owner, tmp_path / "grey.png"))
    remark, _ = restore(owner, tmp_path / "coloured.png")
    assert remark.text.endswith("coloured.png has colours, which are ignored: only its lightness is read")
    from formers.images.colour import parted

    torch.manual_seed(0)
    torch.nn.init.normal_(owner.model.up[-1].weight, std=0.01)
    x = torch.rand(2, 3, 12, 10) * 0.4 + 0.3  # colours that a screen has
    lightness = [parted(each, owner.config.space)[0] for each in (x, owner.reconstruct(x))]
    torch.testing.assert_close(*lightness, atol=0.02, rtol=0)


def test_codes_of_pictures_and_of_texts(tmp_path):
    picture().save(tmp_path / "in.png")
    pictures = Pictures.of_command(CommandInputs((str(tmp_path / "in.png"),)), Typed(), {})
    *_, encoded = verbs.encode(system(), EncodeEither(pictures=pictures))
    assert encoded.word == "picture" and encoded.vectors.shape == (1, 2)
    texts = Texts.of_command(CommandInputs(("apple pear", "fig")), Typed(), {})
    *_, encoded = verbs.encode(documents(), EncodeEither(texts=texts))
    assert encoded.word == "text" and encoded.vectors.shape == (2, 2)
    with pytest.raises(ConfigError, match="reads texts, not pictures"):
        list(verbs.encode(documents(), EncodeEither(pictures=pictures)))
    with pytest.raises(ConfigError, match="of documents, not of pictures"):
        restore(documents(), tmp_path / "in.png")
    with pytest.raises(ConfigError, match="of pictures, not of texts"):
        system().encode_texts(["apple"])


def test_a_walk_through_codes_of_two_numbers(tmp_path):
    for number in range(3):
        picture().save(tmp_path / f"{number}.png")
    origin = Origin("runs/two")
    (drawing,) = walk(system(grey=True), WalkLook(origin=origin, picture=str(tmp_path), side=3))
    drawing.write(tmp_path / "walk.png")
    (_,) = walk(system(variational=True), WalkLook(origin=origin, side=3))
    with pytest.raises(ConfigError, match="formers inspect runs/two walk FOLDER"):
        next(walk(system(), WalkLook(origin=origin)))
    with pytest.raises(ConfigError, match="codes of 5 numbers"):
        next(walk(system(sizes=(8, 5)), WalkLook(origin=origin)))


# ---- recipes -----------------------------------------------------------------------------------------------------


def test_a_code_larger_than_the_input():
    with pytest.raises(ConfigError, match=r"the code \(500 numbers\) is larger than the input \(3 x 4 x 4 = 48\)"):
        AutoencoderSizes(sizes=(100, 500)).config((3, 4, 4))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (["rows.kind=documents", "rows.corruption=noise"], "rows.corruption and changes are for pictures"),
        (["rows.grey=true", "rows.corruption=grey"], "rows.grey leaves no colours"),
        (["model.kind=convolutional", "model.sizes=[3]"], "at least one convolution"),
        (["model.sizes=[]"], "model.sizes is empty"),
    ],
)
def test_recipes_that_cannot_be(changes, what, tmp_path):
    with pytest.raises(ConfigError, match=what):
        list(formers.train("reconstruction", [*SHORT, *changes], run=tmp_path / "run"))


def test_a_run_from_a_checkpoint_of_another_task(tmp_path):
    system("denoise").save(tmp_path / "old")
    with pytest.raises(ConfigError, match=r"was made to denoise pictures, but rows.corruption says reconstruct"):
        list(formers.train("reconstruction", [*SHORT, f"model.start={tmp_path / 'old'}"], run=tmp_path / "run"))
    config = json.loads((tmp_path / "old/config.json").read_text())
    assert config["model_type"] == "formers-autoencoder" and config["config"]["task"] == "denoise"


def test_recompute_is_refused():
    task = ReconstructionTask(system(), batches("reconstruct"), ReconstructionConfig())
    with pytest.raises(ConfigError, match=r"train.recompute is for transformers"):
        task.set_recompute()
