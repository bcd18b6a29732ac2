"""Corruptions are what they say, a pure function of pictures and dice, and leave the pictures themselves alone."""

import numpy as np
import pytest
import torch

from formers.errors import ConfigError, DataError
from formers.images.corrupt import HOLE, Corruption, masked

KINDS = ["none", "noise", "pepper", "obstacles", "grey"]


def corrupted(pictures, **settings):
    return Corruption(**settings).corrupt(pictures, np.random.default_rng(3))


@pytest.mark.parametrize("kind", KINDS)
def test_a_pure_function_of_pictures_and_dice(kind):
    pictures = torch.rand(4, 3, 20, 17)
    before = pictures.clone()
    first, second = corrupted(pictures, corruption=kind), corrupted(pictures, corruption=kind)
    torch.testing.assert_close(first, second, atol=0, rtol=0)
    torch.testing.assert_close(pictures, before, atol=0, rtol=0)
    assert first[0].shape == pictures.shape and (first[1] is not None) == (kind == "obstacles")
    assert first[0].min() >= 0 and first[0].max() <= 1
    assert (kind == "none") == torch.equal(first[0], pictures)


def test_noise_has_a_deviation_within_its_range_for_each_picture():
    pictures = torch.full((50, 1, 40, 40), 0.5)
    spread = (corrupted(pictures, corruption="noise", sigma=(0.02, 0.1))[0] - pictures).flatten(1).std(1)
    assert 0.018 < spread.min() < 0.03 and 0.09 < spread.max() < 0.11
    fixed = corrupted(pictures, corruption="noise", sigma=(0.1, 0.1))[0] - pictures
    assert abs(float(fixed.std()) - 0.1) < 2e-3


def test_salt_and_pepper_are_about_as_many_and_the_same_in_all_channels():
    pictures = torch.full((20, 3, 40, 40), 0.5)
    worse, _ = corrupted(pictures, corruption="pepper", pepper=(0.2, 0.2))
    assert torch.equal(worse[:, 0], worse[:, 2])
    assert abs(float((worse == 1).float().mean()) - 0.1) < 0.01 and abs(float((worse == 0).float().mean()) - 0.1) < 0.01


@pytest.mark.parametrize("obstacle", ["boxes", "strokes", "text"])
@pytest.mark.parametrize("sides", [(8, 8), (28, 28), (33, 70)])
def test_obstacles_hide_about_as_much_as_they_shall(obstacle, sides):
    pictures = torch.rand(30, 1, *sides)
    worse, mask = corrupted(pictures, corruption="obstacles", obstacles=(obstacle,), hidden=(0.2, 0.3))
    share = mask.float().mean((1, 2, 3))
    assert share.min() > 0.1 and 0.18 < share.mean() < 0.4 and share.max() < 0.8, share
    assert torch.equal(worse, torch.where(mask, torch.tensor(HOLE), pictures))


def test_grey_keeps_the_lightness_of_ycbcr():
    from formers.images.colour import to_ycbcr

    pictures = torch.rand(2, 3, 4, 5)
    worse, _ = corrupted(pictures, corruption="grey")
    torch.testing.assert_close(worse, to_ycbcr(pictures)[:, :1].expand(-1, 3, -1, -1))


def test_a_mask_that_does_not_fit_or_hides_nothing_is_refused():
    pictures = torch.rand(2, 3, 4, 5)
    mask = torch.zeros(1, 1, 4, 5, dtype=torch.bool)
    with pytest.raises(DataError, match="the mask hides nothing; expected a picture that is white where"):
        masked(pictures, mask)
    with pytest.raises(DataError, match="the mask has 4 x 5 pixels, expected 5 x 4 as the picture"):
        masked(pictures, mask.transpose(2, 3))
    mask[..., 1, 2] = True
    assert (masked(pictures, mask) != pictures).sum() == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": (0.5, 0.1)}, "rows.sigma .* the lower one first"),
        ({"sigma": (-0.5, 0.1)}, "rows.sigma .* must be 0 or more"),
        ({"pepper": (0.5,)}, "rows.pepper .* must be two numbers"),
        ({"hidden": (0.5, 1.0)}, "rows.hidden"),
        ({"obstacles": ("boxs",)}, '"boxs" is not known; there are: boxes, strokes, text'),
        ({"obstacles": ()}, "rows.obstacles is empty"),
        ({"corruption": "nois"}, "noise"),
    ],
)
def test_settings_that_are_wrong(settings, message):
    with pytest.raises(ConfigError, match=message):
        Corruption(**settings)
