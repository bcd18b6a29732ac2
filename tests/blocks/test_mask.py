"""Who may look at whom: the cases that `Mask.resolve` tells apart."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from formers.blocks.mask import Mask

KEEP = torch.tensor([[True, True, True, False], [False, True, True, True]])


def slow(mask, queries, keys, rows):
    """(rows, queries, keys): may look, said one pair at a time."""
    allowed = torch.zeros(rows, queries, keys, dtype=torch.bool)
    for row in range(rows):
        for i in range(queries):
            here = keys - queries + i
            for j in range(keys):
                allowed[row, i, j] = (
                    (not mask.causal or j <= here)
                    and (mask.window is None or abs(here - j) < mask.window)
                    and (mask.keep is None or bool(mask.keep[row, j]))
                )
            if not allowed[row, i].any():
                allowed[row, i] = True  # only padding: looks at everything instead of nothing
    return allowed


def test_nothing_to_say_costs_nothing():
    assert Mask().resolve(3, 5) is None
    assert Mask(causal=True).resolve(4, 4) == "causal"
    assert Mask(causal=True).resolve(1, 5) is None  # one step of decoding sees all that it remembers
    assert Mask(causal=True, window=9).resolve(4, 4) == "causal"
    assert Mask(window=4).resolve(4, 4) is None


def test_a_bias_alone_is_the_mask():
    bias = torch.randn(1, 2, 3, 4)
    assert Mask(bias=bias).resolve(3, 4) is bias


@given(
    causal=st.booleans(), window=st.none() | st.integers(1, 5), keys=st.integers(1, 6), data=st.data(),
    padded=st.booleans(),
)  # fmt: skip
def test_resolve_is_the_rule_said_pair_by_pair(causal, window, keys, data, padded):
    queries = data.draw(st.integers(1, keys))
    row = st.lists(st.booleans(), min_size=keys, max_size=keys)
    keep = torch.tensor([data.draw(row), data.draw(row)]) if padded else None
    mask = Mask(causal=causal, keep=keep, window=window)
    resolved = mask.resolve(queries, keys)
    if resolved is None:
        found = torch.ones(2, queries, keys, dtype=torch.bool)
    elif isinstance(resolved, str):
        assert queries == keys
        found = torch.ones(2, queries, keys, dtype=torch.bool).tril()
    else:
        assert set(resolved.unique().tolist()) <= {0.0, -torch.inf}
        found = (resolved == 0).expand(2, 1, queries, keys)[:, 0]
    assert torch.equal(found, slow(mask, queries, keys, 2))


@pytest.mark.parametrize("queries", [2, 4])
def test_a_bias_stays_where_looking_is_allowed(queries):
    bias = torch.randn(1, 3, queries, 4)
    found = Mask(causal=True, keep=KEEP, bias=bias).resolve(queries, 4)
    allowed = slow(Mask(causal=True, keep=KEEP), queries, 4, 2)[:, None]
    assert torch.equal(found, bias.expand(2, -1, -1, -1).masked_fill(~allowed, -torch.inf))
