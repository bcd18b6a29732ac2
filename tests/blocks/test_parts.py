"""The small parts: norms, the feed-forward network, dropout, and a block of them."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from formers.blocks.block import Block, StackConfig
from formers.blocks.dropout import DropPath, dropout
from formers.blocks.feed_forward import ACTIVATIONS, FeedForward
from formers.blocks.norm import Scale, make_norm
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


@pytest.mark.parametrize("norm_first", [False, True])
def test_what_stands_behind_every_sublayer(norm_first):
    """Each branch passes a part of its own before it is added; weights are found under after_*."""
    block = Block(config(norm_first=norm_first), memory_dim=6, after=lambda c: Scale(c.dim, 0.5))
    randomised(block)
    x, memory = torch.randn(2, 3, 8), torch.randn(2, 4, 6)
    parts = [
        (block.norm_attention, block.attention, block.after_attention.weight),
        (block.norm_cross, lambda h: block.cross_attention(h, memory), block.after_cross.weight),
        (block.norm_feed_forward, block.feed_forward, block.after_feed_forward.weight),
    ]
    expected = x
    for norm, part, scale in parts:
        if norm_first:
            expected = expected + scale * part(norm(expected))
        else:
            expected = norm(expected + scale * part(expected))
    torch.testing.assert_close(block(x, memory=memory), expected)
    assert len({part.weight.data_ptr() for part in (block.after_attention, block.after_cross)}) == 2
    plain = Block(config(), memory_dim=6)
    assert plain.after_attention is plain.after_feed_forward is plain.after_cross is None
    assert not any("after" in name for name in plain.state_dict())


def test_a_scale_starts_at_its_value():
    scale, x = Scale(4, 0.25), torch.randn(2, 3, 4)
    assert torch.equal(scale(x), x * 0.25) and list(scale.state_dict()) == ["weight"]
    scale(x).sum().backward()
    torch.testing.assert_close(scale.weight.grad, x.sum((0, 1)))


def test_drop_path_drops_whole_rows_in_training_and_keeps_the_mean():
    part, x = DropPath(0.25).train(), torch.ones(4000, 3, 2)
    y = part(x)
    kept = y[:, 0, 0] != 0
    assert torch.equal(y, kept[:, None, None] * x / 0.75)
    assert abs(kept.float().mean().item() - 0.75) < 0.03
    assert part.eval()(x) is x and DropPath(0.0).train()(x) is x
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"share \(.*\) must be in"):
            DropPath(share)


def test_a_stack_drops_some_rows_of_a_branch_and_no_others():
    stack = randomised(Stack(config(layers=1), block=partial(Block, after=lambda c: DropPath(0.5)), final_norm=False))
    x = torch.randn(64, 3, 8)
    y = stack.train()(x)
    same = (y == x).flatten(1).all(1)
    assert 4 < int(same.sum()) < 32  # a quarter of the rows lose both branches


def test_a_stack_shows_what_every_layer_gives():
    stack, x, seen = randomised(Stack(config(layers=3))), torch.randn(2, 5, 8), []
    y = stack(x, seen=seen)
    assert len(seen) == 4 and seen[0] is x
    for i, layer in enumerate(seen):
        torch.testing.assert_close(stack(x, until=i), layer)
    torch.testing.assert_close(stack.norm(seen[-1]), y)
    some = []
    stack(x, seen=some, until=1)
    assert len(some) == 2


class Conditioned(nn.Module):
    """A block that takes a condition, and zeroes padding before it mixes neighbours."""

    def __init__(self, config, *, memory_dim=None):
        super().__init__()
        self.block = Block(config, memory_dim=memory_dim)

    def forward(self, x, *, condition, keep, **inputs):
        x = self.block(x, **inputs) * condition[:, None]
        return (x * keep[..., None]).cumsum(1)


@pytest.mark.parametrize("recompute", [False, True])
def test_a_stack_hands_on_what_its_blocks_share(recompute):
    stack = randomised(Stack(config(), block=Conditioned))
    x, condition = torch.randn(2, 5, 8), torch.randn(2, 8, requires_grad=True)
    keep = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    shared = {"condition": condition, "keep": keep}
    stack.train().recompute = recompute
    y = stack(x, keep=keep, shared=shared)
    short = stack(x[1:, :3], shared={"condition": condition[1:], "keep": keep[1:, :3]})
    torch.testing.assert_close(y[1:, :3], short)
    y.sum().backward()
    assert condition.grad.abs().min() > 0
    with pytest.raises(TypeError, match="condition"):
        Stack(config())(x, shared=shared)
