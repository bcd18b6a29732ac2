"""The head, softmax and cross-entropy in one: equal to PyTorch's, gradients too."""

import pytest
import torch
import torch.nn.functional as F

from formers.blocks import output
from formers.blocks.output import LinearHead, cross_entropy

TOKENS, DIM, VOCAB = 13, 6, 17


def parts(bias):
    x, weight = torch.randn(TOKENS, DIM), torch.randn(VOCAB, DIM)
    leaves = [x, weight, torch.randn(VOCAB)] if bias else [x, weight]
    return [leaf.requires_grad_() for leaf in leaves], torch.randint(VOCAB, (TOKENS,))


def both(leaves, targets, smoothing):
    """(loss, gradients) of ours and of PyTorch's."""
    x, weight, *bias = leaves
    ours = cross_entropy(x, weight, targets, bias=bias[0] if bias else None, smoothing=smoothing)
    logits = F.linear(x, weight, *bias).float()
    theirs = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
    return [(loss.detach(), torch.autograd.grad(3 * loss, leaves)) for loss in (ours, theirs)]


@pytest.mark.parametrize("rows_at_a_time", [1, 5, 13, 100])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equal_to_pytorch(monkeypatch, smoothing, bias, rows_at_a_time):
    monkeypatch.setattr(output, "PIECE", rows_at_a_time * VOCAB)
    (ours, our_gradients), (theirs, their_gradients) = both(*parts(bias), smoothing)
    torch.testing.assert_close(ours, theirs)
    for mine, reference in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-5, rtol=1e-4)


def test_a_vocabulary_larger_than_a_piece(monkeypatch):
    monkeypatch.setattr(output, "PIECE", 3)
    (ours, _), (theirs, _) = both(*parts(True), 0.1)
    torch.testing.assert_close(ours, theirs)


def test_no_gradients_are_made_where_none_are_asked_for():
    leaves, targets = parts(False)
    with torch.no_grad():
        assert not cross_entropy(*leaves, targets).requires_grad
    x, weight = leaves
    cross_entropy(x, weight.detach(), targets).backward()
    assert weight.grad is None and x.grad is not None


def test_bf16_is_near_fp32():
    leaves, targets = parts(True)
    exact, exact_gradients = both(leaves, targets, 0.1)[1]
    with torch.autocast("cpu", torch.bfloat16):
        near, near_gradients = both(leaves, targets, 0.1)[0]
    assert near.dtype == torch.float32
    torch.testing.assert_close(near, exact, rtol=0.02, atol=0.1)
    for mine, reference in zip(near_gradients, exact_gradients, strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, reference, rtol=0.1, atol=0.1)


def test_confident_logits_do_not_overflow():
    x = torch.full((1, 1), 1e4, requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0]])
    loss = cross_entropy(x, weight, torch.tensor([1]))
    loss.backward()
    assert loss.item() == 2e4 and x.grad.item() == 2


@pytest.mark.parametrize("asked", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)])
def test_only_the_gradients_that_are_asked_for_are_made(asked):
    leaves, targets = parts(True)
    _, (_, expected) = both(leaves, targets, 0.1)
    x, weight, bias = [leaf.detach().requires_grad_(bool(wanted)) for leaf, wanted in zip(leaves, asked, strict=True)]
    (3 * cross_entropy(x, weight, targets, bias=bias, smoothing=0.1)).backward()
    for leaf, wanted, reference in zip((x, weight, bias), asked, expected, strict=True):
        assert (leaf.grad is not None) == wanted
        if wanted:
            torch.testing.assert_close(leaf.grad, reference, atol=1e-5, rtol=1e-4)


def test_a_head_is_a_value():
    """Its logits, and the loss that never has them whole."""
    x, weight, bias = torch.randn(TOKENS, DIM), torch.randn(VOCAB, DIM), torch.randn(VOCAB)
    targets = torch.randint(VOCAB, (TOKENS,))
    for head, factor in ((LinearHead(weight, bias, 0.3), 0.3), (LinearHead(weight), 1.0)):
        logits = factor * x @ weight.T + (0 if head.bias is None else bias)
        torch.testing.assert_close(head.logits(x), logits)
        expected = F.cross_entropy(logits, targets, label_smoothing=0.1, reduction="sum")
        torch.testing.assert_close(head.cross_entropy(x, targets, smoothing=0.1), expected)
