"""What there is to see of a painter: noise, strips, maps of words, guidance, steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from formers.blocks.attention import recording
from formers.errors import ConfigError
from formers.systems.looks import Picture
from formers.systems.painting import looks
from formers.systems.painting.evaluation import StepsLook, steps
from formers.systems.painting.many import SamplerOptions, moments, paint_prompts
from formers.systems.system import Origin, Progress
from tests.systems.painting.tiny_painter import SIDE, painter

ORIGIN, WAY = Origin("runs/toy"), SamplerOptions(steps=4, guidance=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return painter(tmp_path_factory.mktemp("tokenizer"))


def pictures(events, tmp_path):
    """Every picture that was drawn, as pixels."""
    drawn = [event for event in events if isinstance(event, Picture)]
    for one in drawn:
        one.write(tmp_path / f"{one.name}.png")
    return {one.name: np.asarray(Image.open(tmp_path / f"{one.name}.png")) for one in drawn}


def test_noise_grows_until_nothing_is_left(model, tmp_path):
    Image.new("RGB", (40, 20), "red").save(tmp_path / "a.png")
    options = looks.NoiseLook(origin=ORIGIN, picture=str(tmp_path / "a.png"), amounts=3)
    assert pictures(looks.noise(model, options), tmp_path).keys() == {"noise"}
    assert looks.pictures_of(model, str(tmp_path / "a.png")).shape == (1, 3, SIDE, SIDE)
    with pytest.raises(ConfigError, match="of which picture"):
        next(looks.noise(model, looks.NoiseLook(origin=ORIGIN)))


def test_a_strip_shows_every_nth_step_and_always_the_last(model, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr("formers.pictures.sheet.draw_sheet", lambda tiles, names, *_, **__: titles.append(names))
    for every, expected in ((None, [1, 2, 3, 4]), (3, [1, 4]), (2, [2, 4])):
        events = list(looks.strip(model, looks.StripLook(origin=ORIGIN, text="red", way=WAY, every=every)))
        assert [event.done for event in events if isinstance(event, Progress)] == [1, 2, 3, 4]
        events[-1].draw()
        assert titles.pop()[: len(expected)] == [f"step {step} of 4" for step in expected]
    with pytest.raises(ConfigError, match="strip of what"):
        next(looks.strip(model, looks.StripLook(origin=ORIGIN)))


def test_words_have_their_tokens_and_maps_are_the_mean_of_all(model, tmp_path):
    assert looks.words_of(model, "red ab, Red!", []) == [("red", [1]), ("ab", [2, 3]), ("Red", [5])]
    assert looks.words_of(model, "red ab", ["AB"]) == [("ab", [2, 3])]
    assert looks.words_of(model, "(red:1.3) [ab]", []) == [("red", [1]), ("ab", [2, 3])]
    with pytest.raises(ConfigError, match='--word abc: is not in "red ab"'):
        looks.words_of(model, "red ab", ["abc"])
    events = list(looks.attention(model, looks.WordLook(origin=ORIGIN, text="red ab", way=WAY)))
    assert pictures(events, tmp_path).keys() == {"attention"}
    one, other = torch.rand(64, 2), torch.rand(16, 2)
    mean = looks.mean_map([one, other], (8, 8))
    large = torch.nn.functional.interpolate(other.T.view(1, 2, 4, 4), (8, 8), mode="bilinear")[0]
    torch.testing.assert_close(mean, (one.T.view(2, 8, 8) + large) / 2)
    assert looks.mean_map([torch.rand(15, 1), torch.rand(6, 1)], (5, 3)).shape == (1, 5, 3)


def test_only_the_layers_that_are_asked_for_are_recorded(model):
    layers = {part for name, part in model.parts.unet.named_modules() if name.endswith("cross_attention")}
    with recording(lambda weights: weights.sum(-1), layers) as notes:
        list(moments(model, ["red"], WAY))
    assert {module for module, _ in notes.maps} == layers and len(notes.maps) == 4 * len(layers)
    torch.testing.assert_close(notes.maps[0][1], torch.ones_like(notes.maps[0][1]))


def test_guidance_and_steps_are_sheets(model, tmp_path):
    options = looks.GuidanceLook(origin=ORIGIN, text="red", scale=(1, 3), pictures=2, steps=2)
    assert pictures(looks.guidance(model, options), tmp_path).keys() == {"guidance"}
    options = StepsLook(origin=ORIGIN, text="red", step=(1, 2), samplers=("ddim", "euler"))
    assert pictures(steps(model, options), tmp_path).keys() == {"steps"}
    with pytest.raises(ConfigError, match='"eulr" is not known; did you mean "euler"'):
        list(steps(model, StepsLook(origin=ORIGIN, text="red", samplers=("eulr",))))


def test_a_painter_without_words(tmp_path):
    plain = painter(tmp_path, text=False, vae=False)
    assert pictures(looks.strip(plain, looks.StripLook(origin=ORIGIN, way=WAY)), tmp_path).keys() == {"strip"}
    for look, options in ((looks.attention, looks.WordLook), (looks.guidance, looks.GuidanceLook)):
        with pytest.raises(ConfigError, match="reads no prompts"):
            next(look(plain, options(origin=ORIGIN, text="red")))


def test_a_picture_does_not_depend_on_its_batch(model, monkeypatch):
    monkeypatch.setattr("formers.systems.painting.many.TOGETHER", 2)
    some = list(paint_prompts(model, ["red", "ab", "c"], WAY))
    assert [len(part) for part in some] == [2, 1]
    (alone,) = paint_prompts(model, ["ab"], WAY, seeds=[2])
    torch.testing.assert_close(some[0][1:], alone, atol=1e-4, rtol=1e-4)
