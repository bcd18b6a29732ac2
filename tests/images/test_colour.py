"""Colour spaces against scikit-image and Pillow, both ways."""

import numpy as np
import pytest
import torch
from PIL import Image

from formers.images.colour import from_lab, from_ycbcr, is_grey, merged, parted, to_lab, to_ycbcr


@pytest.fixture
def pictures():
    """Random ones; the second has all corners of the cube and dark values, where LAB is a straight line."""
    pictures = torch.rand(2, 3, 5, 8)
    pictures[1, :, 0] = torch.tensor([[i >> shift & 1 for i in range(8)] for shift in (0, 1, 2)])
    pictures[1, :, 1] *= 0.03
    return pictures


def test_lab_is_scikit_images(pictures):
    colour = pytest.importorskip("skimage.color")
    expected = colour.rgb2lab(pictures.double().numpy(), channel_axis=1)
    torch.testing.assert_close(to_lab(pictures), torch.from_numpy(expected).float(), atol=2e-3, rtol=1e-4)
    back = colour.lab2rgb(expected, channel_axis=1)
    torch.testing.assert_close(
        from_lab(torch.from_numpy(expected).float()), torch.from_numpy(back).float(), atol=1e-4, rtol=0
    )


def test_ycbcr_is_scikit_images_in_the_full_range(pictures):
    colour = pytest.importorskip("skimage.color")
    expected = torch.from_numpy(colour.rgb2ycbcr(pictures.double().numpy(), channel_axis=1)).float()
    ours = to_ycbcr(pictures)
    torch.testing.assert_close(ours[:, :1], (expected[:, :1] - 16) / 219, atol=1e-3, rtol=0)
    torch.testing.assert_close(ours[:, 1:], (expected[:, 1:] - 128) / 224, atol=1e-3, rtol=0)


def test_ycbcr_is_pillows():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8)
    expected = np.asarray(Image.fromarray(pixels).convert("YCbCr"), np.float32) / 255
    ours = to_ycbcr(torch.from_numpy(pixels).permute(2, 0, 1) / 255).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours + [0, 128 / 255, 128 / 255], expected, atol=1.01 / 255)


@pytest.mark.parametrize("space", ["ycbcr", "lab"])
def test_parted_and_merged_again(pictures, space):
    lightness, colour = parted(pictures, space)
    assert lightness.shape == (2, 1, 5, 8) and colour.shape == (2, 2, 5, 8)
    assert lightness.min() >= 0 and lightness.max() <= 1 + 1e-5 and colour.abs().max() <= 1.01
    torch.testing.assert_close(merged(lightness, colour, space), pictures, atol=1e-4, rtol=0)
    without = merged(lightness, torch.zeros_like(colour), space)
    assert is_grey(without).all() and not is_grey(pictures).any()
    torch.testing.assert_close(parted(without, space)[0], lightness, atol=1e-4, rtol=0)  # lightness is kept


def test_colours_that_no_screen_has_stay_in_range_and_have_gradients():
    lightness, colour = torch.zeros(1, 1, 2, 2), torch.full((1, 2, 2, 2), 0.9, requires_grad=True)
    pictures = merged(lightness, colour, "lab")
    assert pictures.min() >= 0 and pictures.max() <= 1
    pictures.sum().backward()
    assert colour.grad is not None and colour.grad.isfinite().all()
    assert from_ycbcr(torch.tensor([0.0, 0.5, 0.5]).view(3, 1, 1)).max() > 0  # plain conversion: not cut off
