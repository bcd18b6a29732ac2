"""The two towers: what is cut off a text or filled up changes nothing, one tower may be any body, faults are named."""

from dataclasses import replace

import pytest
import torch

from formers.blocks.stack import StackConfig
from formers.errors import ConfigError
from formers.kernels.weight import packed, quantise
from formers.models.clip import CLIP, CLIPConfig, PictureTowerConfig, TextTower, TextTowerConfig, preset
from formers.models.resnet import ResNetConfig
from formers.models.vit import ViTConfig

STACK = StackConfig(dim=16, layers=2, heads=4, hidden=24, activation="gelu_quick")
BODY = ViTConfig(stack=STACK, height=14, width=14, patch=7, patch_bias=False, norm_input=True)
TEXT = TextTowerConfig(stack=STACK, vocab=30, length=9, end=29, projection=8)
CLIPS = {
    "clip": CLIPConfig(picture=PictureTowerConfig(body=BODY, projection=8), text=TEXT),
    "siglip": CLIPConfig(
        picture=PictureTowerConfig(
            body=replace(BODY, class_tokens=0, norm_input=False, pooler="attention"), projection=0
        ),
        text=replace(TEXT, causal=False, pad=1, projection=16, projection_bias=True),
        bias=True,
    ),
    "resnet": CLIPConfig(
        picture=PictureTowerConfig(body=ResNetConfig(stem_width=4, widths=(8, 12), depths=(1, 1)), projection=8),
        text=replace(TEXT, end=None),
    ),
}
TOKENS = torch.tensor([[28, 3, 4, 29, 29, 29], [28, 5, 6, 7, 8, 29], [28, 29, 29, 29, 29, 29]])
KEEP = torch.tensor([[1, 1, 1, 1, 0, 0], [1] * 6, [1, 1, 0, 0, 0, 0]]).bool()


def random_clip(name):
    model = CLIP(CLIPS[name]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.mark.parametrize("name", CLIPS)
@torch.no_grad()
def test_similarities_are_those_of_unit_vectors(name):
    model, pictures = random_clip(name), torch.randn(2, 3, 21, 28)
    images, texts = model.encode_picture(pictures), model.encode_text(TOKENS, KEEP)
    torch.testing.assert_close(images.norm(dim=-1), torch.ones(2))
    torch.testing.assert_close(texts.norm(dim=-1), torch.ones(3))
    expected = model.logit_scale.exp() * images @ texts.T + (model.logit_bias if name == "siglip" else 0)
    torch.testing.assert_close(model(pictures, TOKENS, KEEP), expected)


@pytest.mark.parametrize("name", CLIPS)
@torch.no_grad()
def test_a_text_is_the_same_beside_others_and_whatever_fills_it_up(name):
    model = random_clip(name)
    together = model.encode_text(TOKENS, KEEP)
    filler = torch.where(KEEP, TOKENS, 2 if name != "siglip" else 9)
    torch.testing.assert_close(model.encode_text(filler, KEEP), together)
    for row, keep, expected in zip(TOKENS, KEEP, together, strict=True):
        torch.testing.assert_close(model.encode_text(row[None, keep])[0], expected)


@torch.no_grad()
def test_a_causal_text_is_cut_at_its_end_and_nothing_changes():
    tower = random_clip("clip").text
    x = tower.project(tower.hidden(TOKENS))
    torch.testing.assert_close(tower(TOKENS), x[torch.arange(3), torch.tensor([3, 5, 1])])
    lengths = []
    tower.stack.register_forward_pre_hook(lambda stack, inputs: lengths.append(inputs[0].shape[1]))
    tower(TOKENS[[0, 2]])
    assert lengths == [4]


def test_both_rules_of_where_a_text_ends():
    tokens = torch.tensor([[1, 5, 2, 5], [1, 2, 9, 2]])
    tower = TextTower(replace(TEXT, end=2))
    assert tower.ends(tokens).tolist() == [2, 1]
    tower.config = replace(TEXT, end=None)
    assert tower.ends(tokens).tolist() == [1, 2]
    tower.config = TEXT
    with pytest.raises(ValueError, match="row 0 has no token 29"):
        tower(tokens)


def test_the_scale_is_kept_between_one_and_a_hundred():
    model = random_clip("clip")
    for value, scale in ((7.0, 100.0), (-3.0, 1.0)):
        model.logit_scale.data.fill_(value)
        model.clamp_scale()
        assert model.logit_scale.exp().item() == pytest.approx(scale)


@pytest.mark.parametrize("name", CLIPS)
@torch.no_grad()
def test_both_towers_work_with_weights_in_other_forms(name):
    model, pictures = random_clip(name), torch.randn(2, 3, 14, 14)
    images, texts = model.encode_picture(pictures), model.encode_text(TOKENS, KEEP)
    with packed(model):
        torch.testing.assert_close(model.encode_picture(pictures), images, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(model.encode_text(TOKENS, KEEP), texts, atol=1e-5, rtol=1e-4)
    quantise(model, integers=True)
    assert (model.encode_picture(pictures) * images).sum(-1).min() > 0.99
    assert (model.encode_text(TOKENS, KEEP) * texts).sum(-1).min() > 0.99


def test_every_parameter_gets_a_gradient():
    for name in CLIPS:
        model = CLIP(CLIPS[name]).train()
        model(torch.randn(2, 3, 14, 14), TOKENS, KEEP).logsumexp(1).sum().backward()
        assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_published_sizes_and_faults():
    assert preset("clip-large/14").text.projection == 768
    with pytest.raises(ConfigError, match='"clip-bose/32"; did you mean "clip-base/32"'):
        preset("clip-bose/32")
    with pytest.raises(ValueError, match="vectors of texts have 8 numbers, but those of pictures 16"):
        CLIP(replace(CLIPS["clip"], picture=PictureTowerConfig(body=BODY, projection=16)))
