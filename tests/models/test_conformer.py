"""The Conformer: a clip is the same alone and among others, chunks see nothing of later ones, gradients reach all."""

from dataclasses import replace

import pytest
import torch

from formers.blocks.conformer import ConvolutionModule, along_rows, seen_in_chunks
from formers.blocks.stack import StackConfig
from formers.models.conformer import Conformer, ConformerConfig, ConformerEncoderConfig

STACK = StackConfig(dim=16, layers=2, heads=2, hidden=24, activation="silu")
ENCODER = ConformerEncoderConfig(stack=STACK, mels=16, channels=6, kernel=5, halvings=2)
CONFIG = ConformerConfig(encoder=ENCODER, vocab=7, blank=6)


def random_model(config):
    torch.manual_seed(5)
    model = Conformer(config)
    with torch.no_grad():
        for name, weight in [*model.named_parameters(), *model.named_buffers()]:
            if weight.is_floating_point():
                weight.copy_(torch.randn_like(weight) * 0.3)
                weight.abs_() if name.endswith("running_var") else None
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("chunk", [0, 2])
def test_a_clip_among_longer_ones_gives_what_it_gives_alone(chunk):
    model = random_model(replace(CONFIG, encoder=replace(ENCODER, chunk=chunk, left=1)))
    features, lengths = torch.randn(4, 61, 16), torch.tensor([61, 40, 17, 1])
    together, frames = model(features, lengths=lengths)
    assert frames.tolist() == [16, 10, 5, 1]
    for row, length in enumerate(lengths.tolist()):
        alone, count = model(features[row : row + 1, :length])
        assert count.tolist() == [int(frames[row])] == [alone.shape[1]]
        torch.testing.assert_close(together[row, : count[0]], alone[0], atol=2e-6, rtol=0)


@torch.no_grad()
def test_chunks_see_their_own_and_the_left_ones_only():
    model = random_model(replace(CONFIG, encoder=replace(ENCODER, chunk=3, left=1)))
    x = torch.randn(1, 12, 16)  # what the blocks read: four chunks of three frames
    stack = model.encoder.stack
    shared = {"chunks": seen_in_chunks(12, 3, 1, x), "places": model.encoder.places(12, x)}
    plain = stack(x, shared=shared)
    for changed in range(12):
        other = x.clone()
        other[:, changed] += torch.randn(16)
        moved = (stack(other, shared=shared) - plain).abs().amax(-1)[0] > 1e-6
        assert not moved[: changed // 3 * 3].any()  # nothing before its chunk
        assert moved[changed // 3 * 3 : changed // 3 * 3 + 3].all()


@torch.no_grad()
def test_a_convolution_of_chunks_is_the_whole_one_without_what_comes_later():
    whole = ConvolutionModule(4, 5).eval()
    parts = ConvolutionModule(4, 5, chunk=3).eval()
    parts.load_state_dict(whole.state_dict())
    x = torch.randn(2, 4, 8)
    got = parts.convolved(x)
    for start in range(0, 8, 3):
        expected = whole.convolved(x[..., : start + 3])[..., start:]
        torch.testing.assert_close(got[..., start : start + 3], expected)


def test_distances_are_read_along_rows():
    length = 5
    distances = torch.arange(length - 1.0, -length, -1).expand(length, -1)
    here = torch.arange(float(length))
    assert torch.equal(along_rows(distances, length), here[:, None] - here)
    assert along_rows(torch.ones(2, 1, 1), 1).shape == (2, 1, 1)


def test_every_weight_learns():
    for positions in ("relative", "rotary", "none"):
        model = Conformer(replace(CONFIG, encoder=replace(ENCODER, positions=positions))).train()
        logits, lengths = model(torch.randn(2, 40, 16), lengths=torch.tensor([40, 33]))
        assert logits.isfinite().all() and logits.std() < 3
        (logits * torch.randn_like(logits)).sum().backward()
        assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_faults():
    model = random_model(CONFIG)
    with pytest.raises(ValueError, match=r"\(1, 9, 15\), expected \(batch, frames, 16\)"):
        model(torch.randn(1, 9, 15))
    with pytest.raises(ValueError, match="0 frames or samples, but this model reads 1"):
        model(torch.randn(1, 9, 16), lengths=torch.tensor([0]))
    with pytest.raises(ValueError, match="multiple of 2"):
        replace(ENCODER, mels=15)
    waves = replace(ENCODER, waves=((4, 10, 5), (4, 3, 2)))
    with pytest.raises(ValueError, match="reads 20 at once"):
        random_model(replace(CONFIG, encoder=waves))(torch.randn(1, 19))
