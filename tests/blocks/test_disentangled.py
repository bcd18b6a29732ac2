"""Disentangled attention against its formula, pair by pair; the table of places; convolution; recomputation."""

import math

import pytest
import torch
from torch import nn

from formers.blocks.block import StackConfig
from formers.blocks.disentangled import Disentangled, DisentangledAttention, DisentangledStack, places

STACK = StackConfig(dim=8, layers=2, heads=2, hidden=12, norm_first=False)


def randomised(module):
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module.eval()


@pytest.mark.parametrize(
    "config",
    [
        Disentangled(distance=4, buckets=0),
        Disentangled(distance=4, buckets=0, shared=False),
        Disentangled(distance=3, buckets=0, position_to_content=False, shared=False),
        Disentangled(distance=9, buckets=4, content_to_position=False),
        Disentangled(distance=9, buckets=4, content_to_position=False, position_to_content=False),
    ],
)
def test_scores_are_the_sum_of_their_terms(config):
    attention = randomised(DisentangledAttention(8, 2, config))
    x, table = torch.randn(1, 6, 8), torch.randn(2 * config.span, 8)
    rows = places(6, config)
    with torch.no_grad():
        found = attention(x, table, rows)
        q, k, v = (each(x).view(6, 2, 4) for each in (attention.q, attention.k, attention.v))
        place_k = (attention.place_k or attention.k)(table).view(-1, 2, 4)
        place_q = (attention.place_q or attention.q)(table).view(-1, 2, 4)
        terms = 1 + config.content_to_position + config.position_to_content
        mixed = torch.zeros(6, 2, 4)
        for head in range(2):
            for i in range(6):
                scores = torch.zeros(6)
                for j in range(6):
                    scores[j] = q[i, head] @ k[j, head]
                    if config.content_to_position:
                        scores[j] += q[i, head] @ place_k[rows[i, j], head]
                    if config.position_to_content:
                        scores[j] += k[j, head] @ place_q[rows[i, j], head]
                mixed[i, head] = (scores / math.sqrt(4 * terms)).softmax(0) @ v[:, head]
        expected = attention.o(mixed.flatten(1))[None]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_rows_of_the_table():
    exact = places(5, Disentangled(distance=3, buckets=0))
    assert exact[0].tolist() == [3, 2, 1, 0, 0] and exact[:, 0].tolist() == [3, 4, 5, 5, 5]
    bucketed = places(600, Disentangled(distance=512, buckets=256))
    assert bucketed.shape == (600, 600) and bucketed.min() == 0 and bucketed.max() == 511
    assert (bucketed.diagonal() == 256).all()
    assert bucketed[:129, 0].tolist() == list(range(256, 385))  # half of a direction is exact
    assert (bucketed[1:, 0].diff() >= 0).all() and bucketed[511, 0] == 511 == bucketed[599, 0]
    assert (bucketed + bucketed.T)[bucketed.T > 0].unique().tolist() in ([512], [511, 512])


@pytest.mark.parametrize(
    "config",
    [
        Disentangled(distance=6, buckets=0),
        Disentangled(distance=6, buckets=2, norm=False, shared=False),
        Disentangled(distance=6, buckets=2, kernel=3, convolution_groups=2, convolution_activation="gelu"),
    ],
)
def test_the_stack_ignores_padding_and_recomputes(config):
    stack = randomised(DisentangledStack(STACK, config))
    x = torch.randn(2, 5, 8)
    keep = nn.functional.pad(torch.ones(2, 5, dtype=torch.bool), (2, 3))
    around = torch.randn(2, 10, 8)
    around[keep] = x.flatten(0, 1)
    with torch.no_grad():
        torch.testing.assert_close(stack(around, keep=keep)[keep], stack(x).flatten(0, 1), atol=1e-5, rtol=1e-5)
    gradients = []
    for recompute in (False, True):
        stack.train().recompute = recompute
        stack.zero_grad()
        stack(around, keep=keep)[keep].square().sum().backward()
        gradients.append([each.grad.clone() for each in stack.parameters()])
    assert all(each.abs().sum() > 0 for each in gradients[0][:1])
    seen = []
    torch.testing.assert_close(stack.eval()(x, seen=seen), seen[-1])
    assert len(seen) == STACK.layers + 1 and seen[0] is x
    torch.testing.assert_close(gradients[0], gradients[1])


def test_heads_that_do_not_divide():
    with pytest.raises(ValueError, match=r"dim \(8\) must be a multiple of heads \(3\)"):
        DisentangledAttention(8, 3, Disentangled())
