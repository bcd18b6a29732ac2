"""What a model of pictures says: its numbers are the plain ones, whatever batch, form of matrices or file."""

import numpy as np
import pytest
import torch

from formers import load
from formers.errors import ConfigError
from formers.systems.images.data import LabelledPictures, PictureBatches
from formers.systems.images.system import PictureModel
from formers.systems.labelling import scores
from tests.systems.images import toy

SIZES = {"vit": toy.VIT, "mean": toy.VIT | {"class_token": False, "stem": 2}, "resnet": toy.RESNET,
         "bottleneck": toy.RESNET | {"bottleneck": True, "small_stem": False},
         "maximum": toy.RESNET | {"halving": "maximum"}}  # fmt: skip


@pytest.mark.parametrize("form", SIZES)
def test_reading_is_the_plain_forward_pass(form):
    """Packed matrices and folded batch norms change nothing, and a picture is read alone as among others."""
    model = toy.model(SIZES[form])
    images = [toy.picture(label, number, size) for label, number, size in
              [("red", 0, (20, 16)), ("green", 1, (16, 31)), ("blue", 2, (16, 16))]]  # fmt: skip
    with torch.no_grad():
        expected = model.model(model.preprocessor.batch(images)).softmax(-1).numpy()
    np.testing.assert_allclose(model.classify(images), expected, atol=1e-5)
    np.testing.assert_allclose(model.classify(images[1:2]), expected[1:2], atol=1e-5)
    assert all(weight.requires_grad for weight in model.model.parameters())
    with torch.no_grad():  # and afterwards all is as before
        again = model.model(model.preprocessor.batch(images)).softmax(-1).numpy()
    np.testing.assert_array_equal(again, expected)


def test_what_is_folded_follows_the_weights():
    model = toy.model(SIZES["resnet"])
    images = [toy.picture("red", 0)]
    before = model.classify(images)
    toy.randomise(model.model)
    with torch.no_grad():
        expected = model.model(model.preprocessor.batch(images)).softmax(-1).numpy()
    assert not np.allclose(before, expected, atol=1e-3)
    np.testing.assert_allclose(model.classify(images), expected, atol=1e-5)


@pytest.mark.parametrize("form", SIZES)
def test_flipping_is_the_mean_of_both_sides(form):
    model = toy.model(SIZES[form])
    images = [toy.picture("red", 0), toy.picture("blue", 1)]
    mirrored = [image.transpose(0) for image in images]
    mean = (model.classify(images) + model.classify(mirrored)) / 2
    np.testing.assert_allclose(model.classify(images, flip=True), mean, atol=1e-5)


@pytest.mark.parametrize("form", SIZES)
def test_what_is_saved_is_read_back(form, tmp_path):
    model = toy.model(SIZES[form])
    model.save(tmp_path / "m")
    opened = load(tmp_path / "m", system="images")
    assert isinstance(opened, PictureModel)
    assert opened.preprocessor == model.preprocessor and opened.labels == toy.NAMES
    image = [toy.picture("green", 3)]
    np.testing.assert_allclose(opened.classify(image), model.classify(image), atol=1e-6)
    np.testing.assert_allclose(opened.encode(image), model.encode(image), atol=1e-6)
    assert opened.encode(image).shape == (1, 16)


@pytest.mark.parametrize("form", ["vit", "bottleneck"])
def test_transformers_opens_what_is_saved(form, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = toy.model(SIZES[form])
    model.save(tmp_path / "m")
    theirs = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "m").eval()
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "m", use_fast=False)
    images = [toy.picture("red", 0, (16, 16)), toy.picture("blue", 1, (33, 20))]
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pixels, model.preprocessor.batch(images), atol=1e-2, rtol=0)
    with torch.no_grad():
        logits = theirs(pixel_values=model.preprocessor.batch(images)).logits
        torch.testing.assert_close(logits, model.model(model.preprocessor.batch(images)), atol=1e-4, rtol=1e-4)
    assert [theirs.config.id2label[i] for i in range(3)] == list(toy.NAMES)


def test_the_report_is_of_the_plain_pictures(tmp_path):
    model, table = toy.model(), toy.table(toy.folder(tmp_path / "p"))
    config = LabelledPictures()
    report = model.evaluate(PictureBatches(table, model.preprocessor, config, toy.labels()))
    shares = model.classify([table.image(row) for row in range(len(table))])
    expected = np.array([toy.NAMES.index(label) for label in table.table.columns["label"]])
    assert report.value("accuracy") == pytest.approx((shares.argmax(1) == expected).mean())
    assert report.value("loss") == pytest.approx(-np.log(shares[np.arange(24), expected]).mean(), rel=1e-4)
    assert np.array(report.facts["confusion"]).sum() == 24 and report.facts["pictures"] == 24


def test_scores_of_several_labels_and_of_many():
    several = scores("several", np.array([[0.9, 0.2], [0.4, 0.8]], np.float32), np.array([[1, 0], [1, 1]]))
    assert {score.name: score.value for score in several}["accuracy"] == 0.5
    assert {score.name: score.value for score in several}["mean_average_precision"] == 1.0
    rows = np.eye(6, dtype=np.float32)[[0, 1, 5]]
    one = {score.name: score.value for score in scores("one", rows, np.array([0, 1, 3]))}
    assert one["accuracy"] == pytest.approx(2 / 3) and one["top5"] == 1.0
    assert "top5" not in {score.name for score in scores("one", rows[:, :3], np.array([0, 1, 2]))}


def test_a_body_alone_says_what_to_do(tmp_path):
    body = PictureModel(toy.model().model.body, toy.model().preprocessor)
    assert body.encode([toy.picture("red", 0)]).shape == (1, 16)
    with pytest.raises(ConfigError, match=r"ViT without labels.*--probe"):
        body.classify([toy.picture("red", 0)])
    with pytest.raises(ConfigError, match=r"no preprocessor_config\.json"):
        PictureModel(toy.model().model, None).classify([toy.picture("red", 0)])
