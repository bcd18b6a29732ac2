"""Parts of contrastive learning that two towers need: weights, a learnt scale, chunks, rows of several processes."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from formers.training.contrastive import Losses, allowed_negatives, chunked, cosent, in_batch, learnt_scale
from formers.training.distributed import gather

ROWS, DIM = 5, 6


@pytest.fixture
def vectors():
    torch.manual_seed(0)
    return torch.randn(ROWS, DIM), torch.randn(ROWS + 3, DIM)


@pytest.mark.parametrize("symmetric", [False, True])
def test_weights_say_how_often_a_candidate_counts(vectors, symmetric):
    u, v = vectors
    weights = torch.randint(0, 4, (ROWS, len(v))).float().fill_diagonal_(1)
    scores = 7 * F.normalize(u, dim=1) @ F.normalize(v, dim=1).T
    for row, loss in enumerate(in_batch(u, v, weights, scale=7, symmetric=symmetric).each):
        there = (weights[row] * scores[row].exp()).sum().log() - scores[row, row]
        back = (weights[:, row] * scores[:, row].exp()).sum().log() - scores[row, row]
        assert float(loss) == pytest.approx(float((there + back) / 2 if symmetric else there), abs=1e-5)
    twice = in_batch(u, torch.cat([v, v[-1:]]), scale=7).each
    doubled = torch.ones(ROWS, len(v))
    doubled[:, -1] = 2
    torch.testing.assert_close(in_batch(u, v, doubled, scale=7).each, twice)


def test_rows_count_as_their_weights_say(vectors):
    losses = in_batch(*vectors)
    plain, graded = losses.sum(tokens=9), losses.sum(torch.tensor([1.0, 0.0, 2.0, 0.0, 0.5]))
    assert float(plain.count) == ROWS and plain.parts["tokens"] == 9 and torch.equal(plain.total, losses.each.sum())
    assert float(graded.count) == 3.5
    assert float(graded.total) == pytest.approx(float(losses.each[0] + 2 * losses.each[2] + losses.each[4] / 2))
    assert Losses(torch.ones(2)).sum().parts == {}


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_losses_of_some_rows_are_those_of_the_whole(vectors, symmetric):
    u, v = vectors
    weights = allowed_negatives(torch.tensor([[0, 0, 1, 2, 3], [4, 5, 6, 7, 8]]), torch.arange(ROWS))
    weights = torch.cat([weights, torch.ones(ROWS, 3, dtype=torch.bool)], 1)
    whole = in_batch(u, v, weights, symmetric=symmetric)
    for own in (slice(0, 2), slice(2, 5)):
        some = in_batch(u, v, weights, symmetric=symmetric, own=own)
        torch.testing.assert_close(some.each, whole.each[own])
        assert torch.equal(some.parts["accuracy"], whole.parts["accuracy"][own])
    assert len(cosent(u, v[:ROWS], torch.rand(ROWS), own=slice(1, 3)).each) == 2


def test_a_learnt_scale_stops_at_100_and_comes_back(vectors):
    logarithm = nn.Parameter(torch.tensor(math.log(20.0)))
    in_batch(*vectors, scale=learnt_scale(logarithm)).each.sum().backward()
    assert logarithm.grad.item() != 0
    logarithm = nn.Parameter(torch.tensor(9.0))
    scale = learnt_scale(logarithm)
    scale.backward()
    assert scale.item() == pytest.approx(100, rel=1e-5) and logarithm.item() == pytest.approx(math.log(100))
    assert logarithm.grad.item() == pytest.approx(100, rel=1e-5)


@pytest.mark.parametrize("size", [0, 1, 3, 100])
def test_chunks_give_the_gradients_of_the_whole(size):
    torch.manual_seed(0)
    tower = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, DIM))
    pictures, texts, seen = torch.randn(7, 4), torch.randn(7, DIM), []
    tower.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    expected = torch.autograd.grad(in_batch(tower(pictures), texts).each.sum(), list(tower.parameters()))
    seen.clear()
    u = chunked(tower, size, pictures)
    found = torch.autograd.grad(in_batch(u, texts).each.sum(), list(tower.parameters()))
    torch.testing.assert_close(found, expected)
    assert max(seen) == (size if 0 < size < 7 else 7)


def test_alone_gathering_is_the_identity(vectors):
    u, _ = vectors
    rows, own = gather(u)
    assert rows is u and own == slice(None)
