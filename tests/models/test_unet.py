"""The UNet and the autoencoders around it: what they read and refuse, and that they learn from a still beginning."""

import pytest
import torch

from formers.blocks.attention import recording
from formers.models.unet import UNet, UNetConfig
from formers.models.vae import VAE, TinyVAE, TinyVAEConfig, VAEConfig

SIZES = {"widths": (8, 16), "attention": (True, False), "heads": (2, 2), "memory_dim": 6, "groups": 4, "depth": 1}


def network(**more) -> UNet:
    model = UNet(UNetConfig(**{**SIZES, **more})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def test_a_row_is_the_same_alone_and_among_others():
    model = network()
    latents, times, memory = torch.randn(3, 4, 6, 10), torch.tensor([1, 400, 7]), torch.randn(3, 5, 6)
    whole = model(latents, times, memory)
    torch.testing.assert_close(whole[2:], model(latents[2:], 7, memory[2:]), atol=1e-5, rtol=1e-4)


def test_one_text_may_be_read_by_all():
    model, latents, memory = network(), torch.randn(3, 4, 6, 6), torch.randn(1, 5, 6)
    each = model(latents, 10, memory.expand(3, -1, -1))
    torch.testing.assert_close(model(latents, torch.tensor(10.0), memory), each, atol=1e-5, rtol=1e-4)


def test_words_that_a_place_reads_can_be_seen():
    model = network()
    with recording() as notes:
        model(torch.randn(1, 4, 6, 10), 3, torch.randn(1, 5, 6))
    cross = model.down[0].attentions[0].block.cross_attention
    assert notes.of(cross).shape == (1, 2, 60, 5)


def test_training_begins_at_nothing_and_every_weight_learns():
    torch.manual_seed(0)
    model = UNet(UNetConfig(**SIZES, classes=3, pooled_heads=2))
    inputs = torch.randn(2, 4, 8, 8), torch.tensor([3, 900]), torch.randn(2, 5, 6)
    classes = torch.tensor([0, 2])
    assert model(*inputs, classes=classes).std() < 1e-6
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (model(*inputs, classes=classes) - inputs[0]).square().mean().backward()
        optimizer.step()
    assert not [name for name, parameter in model.named_parameters() if not parameter.grad.any()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noisy": torch.zeros(1, 9, 4, 4)}, "latents have 9 channels, but this model reads 4"),
        ({"memory": None}, "this model reads memory"),
        ({"memory": torch.zeros(1, 5, 7)}, "vectors of 7 numbers, expected 6"),
        ({"classes": torch.tensor([1])}, "this model reads no classes"),
        ({"guidance": torch.zeros(1, 4)}, "this model reads no guidance"),
    ],
)
def test_what_is_not_read(change, message):
    inputs = {"noisy": torch.zeros(1, 4, 4, 4), "time": 1, "memory": torch.zeros(1, 5, 6)}
    with pytest.raises(ValueError, match=message):
        network()(**(inputs | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": (8, 15)}, r"widths \(15\) must be multiples of groups \(4\)"),
        ({"heads": (2, 3)}, r"widths \(16\) must be multiples of heads \(3\)"),
        ({"heads": (2,)}, "must be equally many"),
        ({"pooled_heads": 4}, r"memory_dim \(6\), .*, must be a multiple of pooled_heads \(4\)"),
        ({"pooled_heads": 1, "memory_dim": None}, r"memory_dim \(None\), .*, must be a multiple"),
    ],
)
def test_sizes_that_do_not_go_together(change, message):
    with pytest.raises(ValueError, match=message):
        UNet(UNetConfig(**{**SIZES, **change}))


def test_autoencoders():
    large = VAE(VAEConfig(widths=(4, 8, 8), depth=1, groups=2, channels=1)).eval()
    tiny = TinyVAE(TinyVAEConfig(width=4, encoder_depths=(1, 1, 1), decoder_depths=(1, 1, 1), channels=1)).eval()
    pictures = torch.rand(2, 1, 12, 20) * 2 - 1
    mean, logvar = large.encode(pictures)
    assert mean.shape == logvar.shape == tiny.encode(pictures).shape == (2, 4, 3, 5)
    assert large.decode(mean).shape == tiny.decode(mean).shape == pictures.shape
    for model in (large, tiny):
        with pytest.raises(ValueError, match="3 channels, but this model reads 1"):
            model.encode(torch.zeros(1, 3, 8, 8))
        with pytest.raises(ValueError, match="2 x 9 pixels is smaller than one latent, 4 pixels"):
            model.encode(torch.zeros(1, 1, 9, 2))
