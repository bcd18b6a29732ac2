"""The small parts: norms, the feed-forward network, dropout, and a block of them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from formers.blocks.block import Block, StackConfig
from formers.blocks.dropout import dropout
from formers.blocks.feed_forward import ACTIVATIONS, FeedForward
from formers.blocks.norm import make_norm
from formers.blocks.stack import Stack


def test_layer_norm_and_rms_norm():
    x = torch.randn(3, 5, 8) * 4 + 2
    layer, rms = make_norm("layer", 8, 1e-5), make_norm("rms", 8, 1e-6)
    for norm in (layer, rms):
        nn.init.normal_(norm.weight, 1, 0.3)
    nn.init.normal_(layer.bias)
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    expected = (x - mean) / (variance + 1e-5).sqrt() * layer.weight + layer.bias
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(rms(x), x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * rms.weight)
    assert [n for n, _ in rms.named_parameters()] == ["weight"]


def test_the_feed_forward_of_the_paper():
    network, x = FeedForward(4, 16, activation="relu"), torch.randn(2, 3, 4)
    inner = (x @ network.up.weight.T + network.up.bias).clamp(min=0)
    torch.testing.assert_close(network(x), inner @ network.down.weight.T + network.down.bias)
    assert sum(p.numel() for p in FeedForward(512, 2048).parameters()) == 2 * 512 * 2048 + 2048 + 512


def test_the_gated_feed_forward():
    network, x = FeedForward(4, 16, activation="silu", gated=True, bias=False), torch.randn(2, 3, 4)
    gate = x @ network.gate.weight.T
    inner = gate * gate.sigmoid() * (x @ network.up.weight.T)
    torch.testing.assert_close(network(x), inner @ network.down.weight.T)


def test_activations():
    x = torch.linspace(-4, 4, 50)
    torch.testing.assert_close(ACTIVATIONS["gelu"](x), x * torch.distributions.Normal(0, 1).cdf(x))
    for near in ("gelu_tanh", "gelu_quick"):
        torch.testing.assert_close(ACTIVATIONS[near](x), F.gelu(x), atol=0.025, rtol=0)
    torch.testing.assert_close(ACTIVATIONS["gelu_quick"](x), x / (1 + (-1.702 * x).exp()))


# Dropout


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_dropout(share, kind):
    n = 200_003
    out = dropout(torch.ones(n, dtype=kind), share, True)
    assert out.dtype == kind
    dropped = round(share * 256) / 256
    zeros = (out == 0).float().mean().item()
    assert abs(dropped - share) <= 1 / 512
    assert zeros == pytest.approx(dropped, abs=5 * (dropped * (1 - dropped) / n) ** 0.5)
    assert set(out.unique().tolist()) == {0.0, torch.tensor(1 / (1 - dropped), dtype=kind).item()}
    if kind == torch.float32:
        assert out.mean().item() == pytest.approx(1, abs=5 * (dropped / (1 - dropped) / n) ** 0.5)


def test_dropout_is_seeded_and_draws_anew():
    x = torch.randn(7, 31)
    torch.manual_seed(3)
    first, second = dropout(x, 0.5, True), dropout(x, 0.5, True)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5, True), first)
    assert not torch.equal(first, second)


def test_dropout_is_nothing_outside_training():
    x = torch.randn(5)
    assert dropout(x, 0.5, False) is x and dropout(x, 0.0, True) is x


def test_dropout_scales_gradients_like_values():
    x = torch.randn(1000, requires_grad=True)
    out = dropout(x, 0.5, True)
    out.sum().backward()
    torch.testing.assert_close(x.grad * x.detach(), out.detach())


def test_dropout_of_a_transposed_tensor():
    x = torch.randn(40, 50)
    out = dropout(x.T, 0.5, True)
    torch.testing.assert_close(out[out != 0], 2 * x.T[out != 0])


# Block and stack


def config(**changes):
    return StackConfig(**{"dim": 8, "layers": 2, "heads": 2, "hidden": 16, **changes})


def randomised(module):
    for name, parameter in module.named_parameters():
        nn.init.normal_(parameter, 1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.3)
    return module.eval()


@pytest.mark.parametrize("norm_first", [False, True])
def test_add_and_norm(norm_first):
    block = randomised(Block(config(norm_first=norm_first), memory_dim=6))
    x, memory = torch.randn(2, 3, 8), torch.randn(2, 4, 6)
    parts = [
        (block.norm_attention, block.attention),
        (block.norm_cross, lambda h: block.cross_attention(h, memory)),
        (block.norm_feed_forward, block.feed_forward),
    ]
    expected = x
    for norm, part in parts:
        expected = expected + part(norm(expected)) if norm_first else norm(expected + part(expected))
    torch.testing.assert_close(block(x, memory=memory), expected)


def test_a_stack_is_its_blocks_and_a_norm():
    stack, x = randomised(Stack(config(layers=3))), torch.randn(2, 5, 8)
    y = x
    for i, block in enumerate(stack.blocks):
        torch.testing.assert_close(stack(x, until=i), y)
        y = block(y)
    torch.testing.assert_close(stack(x), stack.norm(y))
    bare = Stack(config(), final_norm=False)
    assert bare.norm is None and not any(n.startswith("norm.") for n in bare.state_dict())


def test_all_blocks_read_the_same_final_memory():
    stack, x, memory = randomised(Stack(config(), memory_dim=8)), torch.randn(1, 3, 8), torch.randn(1, 4, 8)
    seen = []
    for block in stack.blocks:
        block.cross_attention.register_forward_hook(lambda module, inputs, output: seen.append(inputs[1]))
    stack(x, memory=memory)
    assert len(seen) == 2 and all(key is memory for key in seen)
