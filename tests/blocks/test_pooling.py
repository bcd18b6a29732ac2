"""One vector of a sequence: against loops over real tokens, with padding on either side, and a row without any."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from formers.blocks.pooling import first_of, pool

BY_HAND = {"first": lambda row: row[0], "mean": lambda row: row.mean(0), "max": lambda row: row.amax(0)}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=4),
    st.sampled_from(list(BY_HAND)),
)
def test_padding_on_either_side(rows, how):
    length = max(map(sum, rows))
    keep = torch.zeros(len(rows), length, dtype=torch.bool)
    for i, (left, real, _) in enumerate(rows):
        keep[i, left : left + real] = True
    x = torch.randn(len(rows), length, 3, generator=torch.Generator().manual_seed(0)) - 5
    expected = torch.stack([BY_HAND[how](x[i][keep[i]]) for i in range(len(rows))])
    torch.testing.assert_close(pool(x, keep, how), expected)
    torch.testing.assert_close(pool(x, None, how), torch.stack([BY_HAND[how](row) for row in x]))


def test_a_row_without_tokens_gives_zeros_for_the_mean():
    assert pool(torch.ones(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool), "mean").tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("how", BY_HAND)
def test_gradients_stay_within_real_tokens(how):
    x = torch.randn(2, 4, 3, requires_grad=True)
    keep = torch.tensor([[True, True, False, False], [False, True, True, True]])
    pool(x, keep, how).sum().backward()
    assert (x.grad[~keep] == 0).all() and x.grad[keep].abs().sum() > 0


def test_half_precision_keeps_its_type():
    x = torch.randn(2, 4, 3, dtype=torch.bfloat16)
    keep = torch.ones(2, 4, dtype=torch.bool)
    assert all(pool(x, keep, how).dtype == torch.bfloat16 for how in BY_HAND)


def test_the_vector_of_the_end_of_the_text():
    """CLIP reads a text at the first of its end tokens, which are its padding, too."""
    tokens = torch.tensor([[5, 7, 2, 2], [2, 7, 5, 2], [1, 1, 1, 2]])
    at, x = first_of(tokens, 2), torch.randn(3, 4, 6)
    assert at.tolist() == [2, 0, 3]
    assert torch.equal(pool(x, at=at), torch.stack([x[0, 2], x[1, 0], x[2, 3]]))
    with pytest.raises(ValueError, match="row 2 has no token 7"):
        first_of(tokens, 7)
