"""The looks of vision on every kind of model: a picture file in, a picture drawn, or one line that says why not."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from formers.errors import ConfigError, DataError
from formers.images.preprocess import Preprocessor, usual
from formers.kernels.weight import quantise
from formers.models.clip import CLIP, CLIPConfig, PictureTowerConfig
from formers.models.resnet import ResNet
from formers.models.vit import ViT
from formers.systems.looks import Picture
from formers.systems.picture_looks import CLIP_LOOKS, PICTURE_LOOKS
from formers.systems.system import Origin, ResultTable, resolve
from tests.pictures.conftest import picture
from tests.systems.test_picture_inspection import KINDS, RESNET, TEXT, VIT, classifier, random


@dataclass
class Opened:
    """What a loaded system has that looks need."""

    model: nn.Module
    preprocessor: Preprocessor = field(default_factory=lambda: usual(12, 20))

    def encode_texts(self, texts):
        return self.model.encode_text(torch.tensor([[len(text) % 18, 19] for text in texts]))

    def encode_pictures(self, images):
        return self.model.encode_picture(self.preprocessor.batch(images))


def clip(body=VIT) -> CLIP:
    return random(CLIP(CLIPConfig(picture=PictureTowerConfig(body=body, projection=8), text=TEXT))).eval()


@pytest.fixture
def apple(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "apple.png")
    return str(tmp_path / "apple.png")


def look(name, opened, **options) -> list[Any]:
    declared = {each.name: each for each in CLIP_LOOKS}[name]
    return list(resolve(declared.run)(opened, resolve(declared.options)(origin=Origin("runs/mine"), **options)))


def drawn(events, tmp_path) -> str:
    """The title of the one picture, which is written and opened."""
    (shown,) = [event for event in events if isinstance(event, Picture)]
    shown.write(tmp_path / "drawn.png")
    picture(tmp_path / "drawn.png")
    return shown.draw().get_suptitle().replace("\n", " ")


MODELS = {
    **{kind: lambda kind=kind: random(ViT(KINDS[kind])) for kind in KINDS},
    "classifier": lambda: classifier(VIT),
    "clip": clip,
}


@pytest.mark.parametrize("model", MODELS)
def test_every_transformer_of_pictures_shows_how_it_looks(model, apple, tmp_path):
    opened = Opened(MODELS[model]())
    token = "the mean patch" if model == "no class" else "the class token"
    title = drawn(look("attention", opened, picture=apple), tmp_path)
    assert title == f"what {token} of mine looks at in apple.png, layer 3 of 3"
    assert "layer 1 of 3" in drawn(look("attention", opened, picture=apple, layer=1, head=2), tmp_path)
    assert drawn(look("rollout", opened, picture=apple), tmp_path) == "attention roll-out of mine over apple.png"
    assert drawn(look("distance", opened, picture=apple), tmp_path).endswith("looks in apple.png")
    assert drawn(look("positions", opened), tmp_path).startswith("learned positions of mine")
    assert drawn(look("patches", opened, picture=apple), tmp_path) == "apple.png as mine reads it"
    assert any(isinstance(event, ResultTable) for event in look("parameters", opened))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("body", [VIT, RESNET], ids=["vit", "resnet"])
@pytest.mark.parametrize("kind", ["one", "several"])
def test_reasons_of_the_likeliest_labels_or_of_one(body, kind, dtype, apple, tmp_path):
    opened = Opened(classifier(body, kind=kind).to(dtype))
    (shown,) = look("gradcam", opened, picture=apple)
    names = [axes.get_title() for axes in shown.draw().axes][1:4]
    assert {name.partition(":")[0] for name in names} == {"cat", "dog", "bird"}
    shares = [float(name.partition(": ")[2].rstrip("%")) for name in names]
    assert shares == sorted(shares, reverse=True) and (kind == "several" or sum(shares) == pytest.approx(100, abs=0.3))
    (shown,) = look("gradcam", opened, picture=apple, label=("dog",))
    assert [axes.get_title()[:4] for axes in shown.draw().axes[1:-1]] == ["dog:"]
    assert drawn([shown], tmp_path) == "where apple.png speaks for a label of mine (Grad-CAM)"


def test_captions_are_the_labels_of_clip(apple, tmp_path):
    (shown,) = look("gradcam", Opened(clip()), picture=apple, label=("a cat", "a photo of a dog"))
    names = [axes.get_title().partition(":")[0] for axes in shown.draw().axes[1:3]]
    assert names == ["a cat", "a photo of a dog"]
    with pytest.raises(ConfigError, match='no labels of its own; name captions: --label "a photo of a cat"'):
        look("gradcam", Opened(clip()), picture=apple)


def test_what_makes_no_sense_is_refused_by_name(apple, tmp_path):
    opened = Opened(ResNet(RESNET))
    for name in ("attention", "rollout", "distance"):
        with pytest.raises(ConfigError, match=r"runs/mine is a ResNet, which has no attention$"):
            look(name, opened, picture=apple)
        with pytest.raises(ConfigError, match=r"no attention; where it looks: formers inspect runs/mine gradcam"):
            look(name, Opened(classifier(RESNET)), picture=apple)
    with pytest.raises(ConfigError, match="a ResNet, which has no patches"):
        look("patches", Opened(classifier(RESNET)), picture=apple)
    with pytest.raises(ConfigError, match="a ResNet, which has no positions"):
        look("positions", Opened(clip(RESNET)))
    with pytest.raises(ConfigError, match="no labels of its own, so none has reasons"):
        look("gradcam", opened, picture=apple)
    with pytest.raises(ConfigError, match='has no label "bidr"; did you mean "bird"'):
        look("gradcam", Opened(classifier(RESNET)), picture=apple, label=("bidr",))
    vit = Opened(ViT(VIT))
    with pytest.raises(ConfigError, match=r"--layer \(4\) must be 1 to 3"):
        look("attention", vit, picture=apple, layer=4)
    with pytest.raises(ConfigError, match=r"--head \(3\) must be 1 to 2"):
        look("attention", vit, picture=apple, head=3)
    with pytest.raises(ConfigError, match="of which picture"):
        look("rollout", vit)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.png"):
        look("rollout", vit, picture=str(tmp_path / "text.png"))


def test_int8_weights_show_their_attention_and_have_no_gradient(apple, tmp_path):
    opened = Opened(quantise(classifier(VIT).eval()))
    drawn(look("attention", opened, picture=apple), tmp_path)
    with pytest.raises(ConfigError, match="int8 weights, through which no gradient goes"):
        look("gradcam", opened, picture=apple)


def test_distances_of_a_folder_are_a_mean(apple, tmp_path):
    (tmp_path / "drawn").mkdir()
    for i in range(3):
        Image.fromarray(np.full((20, 20, 3), 80 * i, dtype=np.uint8)).save(tmp_path / "drawn" / f"{i}.png")
    opened = Opened(random(ViT(VIT)))
    one = [look("distance", opened, picture=str(tmp_path / "drawn" / f"{i}.png")) for i in range(3)]
    points = [np.asarray(event.draw().axes[0].lines[0].get_ydata()) for (event,) in one]
    (every,) = look("distance", opened, picture=str(tmp_path / "drawn"))
    np.testing.assert_allclose(every.draw().axes[0].lines[0].get_ydata(), np.mean(points, 0), rtol=1e-5)
    assert every.draw().get_suptitle().endswith("in 3 pictures of drawn")
    (some,) = look("distance", opened, picture=str(tmp_path / "drawn"), pictures=2)
    assert "2 pictures" in some.draw().get_suptitle()


def test_matrix_of_pictures_and_captions(tmp_path):
    rows = ["image,text"]
    for i in range(5):
        Image.fromarray(np.full((20, 20, 3), 50 * i, dtype=np.uint8)).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,a picture{' that is grey' * i}")
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    opened = Opened(clip())
    line, shown = look("matrix", opened, picture=str(tmp_path / "captions.csv"), pictures=4)
    figure = shown.draw()
    left, right = (axes.images[0].get_array() for axes in figure.axes[:2])
    np.testing.assert_allclose(right.sum(0), 1, rtol=1e-5)
    scaled = np.exp(opened.model.logit_scale.item() * 0 + left * opened.model.logit_scale.exp().item())
    np.testing.assert_allclose(right, scaled / scaled.sum(0), rtol=1e-3)
    right_ones = int((right.argmax(0) == np.arange(4)).sum())
    assert f"{right_ones} of 4 pictures" in line.line() and f"{right_ones} of 4 right" in figure.get_suptitle()
    assert drawn([shown], tmp_path).startswith("captions.csv as mine sees it")


def test_what_the_systems_declare():
    names = [each.name for each in PICTURE_LOOKS]
    assert names == ["attention", "rollout", "distance", "positions", "patches", "gradcam", "parameters", "curve"]
    assert [each.name for each in CLIP_LOOKS] == [*names, "matrix"]


def test_grey_pictures(apple, tmp_path):
    grey = replace(VIT, channels=1)
    opened = Opened(random(ViT(grey)), Preprocessor(12, 20, (12, 20), mean=(0.5,), std=(0.5,)))
    drawn(look("attention", opened, picture=apple), tmp_path)
    drawn(look("patches", opened, picture=apple), tmp_path)
