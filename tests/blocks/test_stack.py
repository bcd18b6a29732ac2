"""Blocks that run several times (ALBERT): the same as that many blocks of equal weights."""

import pytest
import torch
from torch import nn

from formers.blocks.stack import Stack, StackConfig

SIZES = {"dim": 8, "heads": 2, "hidden": 12, "norm_first": False}


@pytest.mark.parametrize(("layers", "repeat"), [(4, 4), (4, 2), (3, 1)])
def test_repeated_blocks(layers, repeat):
    torch.manual_seed(0)
    config = StackConfig(layers=layers, **SIZES)
    few = Stack(config, repeat=repeat, final_norm=False)
    for parameter in few.parameters():
        nn.init.normal_(parameter, std=0.4)
    assert len(few.blocks) == layers // repeat
    many = Stack(config, final_norm=False)
    for i, block in enumerate(many.blocks):
        block.load_state_dict(few.blocks[i // repeat].state_dict())
    x, keep = torch.randn(2, 5, 8), torch.arange(5) < torch.tensor([[5], [3]])
    found = few(x, keep=keep)
    torch.testing.assert_close(found, many(x, keep=keep))
    torch.testing.assert_close(few(x, keep=keep, until=layers - 1), many(x, keep=keep, until=layers - 1))
    found.square().sum().backward()
    many(x, keep=keep).square().sum().backward()
    shared = sum(block.feed_forward.up.weight.grad for block in many.blocks[:repeat])
    torch.testing.assert_close(few.blocks[0].feed_forward.up.weight.grad, shared, atol=1e-4, rtol=1e-4)


def test_layers_must_be_a_multiple():
    with pytest.raises(ValueError, match=r"layers \(3\) must be a multiple of repeat \(2\)"):
        Stack(StackConfig(layers=3, **SIZES), repeat=2)
