"""The spectrogram transformer: grids sized to the clip, and a start from a model of pictures."""

from dataclasses import replace

import pytest
import torch

from formers.blocks.stack import StackConfig
from formers.models.spectrogram import SpectrogramConfig, SpectrogramTransformer, begun_from, spectrogram_body
from formers.models.vit import ViT, ViTConfig

PICTURES = ViTConfig(
    stack=StackConfig(dim=16, layers=2, heads=2, hidden=24), height=32, width=32, patch=8, pooler="tanh"
)
BODY = spectrogram_body(PICTURES, mels=24, frames=40, stride=(5, 5))


@torch.no_grad()
def test_a_grid_is_sized_to_the_clip():
    model = SpectrogramTransformer(SpectrogramConfig(body=BODY, labels=("a", "b", "c"))).eval()
    assert BODY.height == 24 and model.body.positions.grid == (4, 7)
    for frames, columns in ((8, 1), (12, 1), (13, 2), (40, 7), (44, 8)):
        seen = []
        assert model(torch.randn(2, frames, 24), seen=seen).shape == (2, 3)
        assert seen[0].shape == (2, 2 + 4 * columns, 16)
    assert SpectrogramTransformer(SpectrogramConfig(body=BODY))(torch.randn(1, 40, 24)).shape == (1, 30, 16)
    with pytest.raises(ValueError, match=r"\(2, 7, 24\), expected \(batch, 8 or more frames, 24 mels\)"):
        model(torch.randn(2, 7, 24))


@torch.no_grad()
def test_a_start_from_pictures_sums_the_colours_and_cuts_the_positions():
    pictures = ViT(PICTURES)
    body = begun_from(pictures, BODY)
    assert torch.equal(body.patches.project.weight, pictures.patches.project.weight.sum(1, keepdim=True))
    assert torch.equal(body.class_tokens[1], pictures.class_tokens[0])
    table = pictures.positions.weight
    assert torch.equal(body.positions.weight[:2], table[[0, 0]]) and body.positions.grid == (4, 7)
    short = begun_from(pictures, spectrogram_body(PICTURES, mels=24, frames=18, stride=(5, 5)))
    middle = table[1:].unflatten(0, (4, 4))[:, 1:4]  # three columns of four
    assert torch.equal(short.positions.weight[2:].unflatten(0, (4, 3)), middle)
    again = begun_from(body, replace(BODY, width=20))  # of spectrograms, of another length
    assert torch.equal(again.positions.weight[2:], body.positions((4, 3))[2:])
    with pytest.raises(ValueError, match="size mismatch"):
        begun_from(pictures, replace(BODY, stack=replace(BODY.stack, hidden=32)))
    with pytest.raises(ValueError, match="starts from a ViT"):
        begun_from(ViT(replace(PICTURES, class_tokens=0, pooler="")), BODY)
