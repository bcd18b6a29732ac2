"""Autoencoders: one list of sizes, dense or of convolutions, with and without skips, drawn codes."""

import pytest
import torch

from formers.models.autoencoder import Autoencoder, AutoencoderConfig

FORMS = {
    "dense": {"inputs": (1, 9, 7), "sizes": (20, 10, 3)},
    "documents": {"inputs": (50,), "sizes": (20, 4), "words": tuple("abcde" * 10)},
    "convolutions": {"inputs": (3, 11, 9), "sizes": (4, 6, 5), "convolutional": True, "depth": 1},
    "map": {"inputs": (3, 11, 9), "sizes": (4, 6, 5), "convolutional": True, "flat": False},
    "skips": {"inputs": (4, 11, 9), "outputs": 3, "sizes": (4, 6), "convolutional": True, "flat": False, "skips": True},
}


def model(form: str, **more) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(AutoencoderConfig(**{**FORMS[form], **more})).eval()


@pytest.mark.parametrize("form", FORMS)
def test_shapes_and_the_two_halves(form):
    network = model(form)
    config = network.config
    x = torch.rand(3, *config.inputs)
    codes, outputs = network.encode(x), network(x)
    assert codes.shape == (3, *config.code)
    assert outputs.shape == (3, config.outputs or config.inputs[0], *config.inputs[1:])
    if config.skips:
        with pytest.raises(ValueError, match="skips"):
            network.decode(codes)
    else:
        torch.testing.assert_close(network.decode(codes), outputs)


def test_the_layers_up_mirror_those_down():
    sizes = [tuple(layer.weight.shape) for layer in (*model("dense").down, *model("dense").up)]
    assert sizes == [(20, 63), (10, 20), (3, 10), (10, 3), (20, 10), (63, 20)]


def test_a_row_is_the_same_alone_and_among_others():
    for form in FORMS:
        network = model(form)
        x = torch.rand(4, *network.config.inputs)
        torch.testing.assert_close(network(x)[2:3], network(x[2:3]), atol=1e-5, rtol=1e-5)


def test_a_model_of_convolutions_alone_reads_any_size():
    for form in ("map", "skips"):
        network = model(form)
        x = torch.rand(2, network.config.inputs[0], 14, 23)
        assert network(x).shape == (2, 3, 14, 23)
    with pytest.raises(ValueError, match=r"inputs are 3 x 14 x 23, this model reads 3 x 11 x 9"):
        model("convolutions")(torch.rand(2, 3, 14, 23))


def test_what_is_repaired_begins_as_what_went_in():
    network = model("skips", output="values")
    torch.nn.init.zeros_(network.up[-1].first.weight)
    x = torch.rand(2, 4, 11, 9)
    torch.testing.assert_close(network(x), x[:, :3])


def test_the_divergence_is_that_of_normal_distributions():
    network = model("dense", variational=True)
    x = torch.rand(2, 1, 9, 7)
    mean, spread = network.descend(x)[0].chunk(2, 1)
    drawn = torch.distributions.Normal(mean, (0.5 * spread).exp())
    expected = torch.distributions.kl_divergence(drawn, torch.distributions.Normal(0.0, 1.0)).sum()
    torch.manual_seed(1)
    outputs, divergence = network.sampled(x)
    torch.testing.assert_close(divergence, expected)
    torch.manual_seed(1)
    torch.testing.assert_close(outputs, network.decode(mean + (0.5 * spread).exp() * torch.randn_like(mean)))
    torch.testing.assert_close(network.encode(x), mean)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"sizes": ()}, "sizes"),
        ({"inputs": (50,), "convolutional": True}, "no places"),
        ({"convolutional": True, "sizes": (3,)}, "at least one convolution"),
        ({"variational": True, "skips": True}, "no skips"),
    ],
)
def test_sizes_that_do_not_go_together(wrong, what):
    with pytest.raises(ValueError, match=what):
        AutoencoderConfig(**{**FORMS["dense"], **wrong})
