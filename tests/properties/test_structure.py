"""What must hold for a stack of blocks of any size, whatever its weights are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from formers.blocks.attention import Attention, attention_weights
from formers.blocks.mask import Mask
from formers.blocks.position import RelativeBias, Rotary
from formers.blocks.stack import Stack, StackConfig

CLOSE = {"atol": 1e-4, "rtol": 1e-4}
stacks = st.fixed_dictionaries(
    {
        "norm": st.sampled_from(["layer", "rms"]), "norm_first": st.booleans(), "gated": st.booleans(),
        "activation": st.sampled_from(["relu", "gelu", "gelu_tanh", "gelu_quick", "silu"]),
        "bias": st.sampled_from(["", "qkvo", "qvo", "qkv"]), "qk_norm": st.booleans(),
        "kv_heads": st.sampled_from([None, 1, 2, 4]),
    }
)  # fmt: skip


def make(choices=(), seed=0, **arguments):
    torch.manual_seed(seed)
    stack = Stack(StackConfig(**{"dim": 16, "layers": 2, "heads": 4, "hidden": 24, **dict(choices)}), **arguments)
    for name, parameter in stack.named_parameters():
        nn.init.normal_(parameter, 1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.3)
    return stack.eval()


@given(choices=stacks, order=st.permutations(range(6)))
@settings(max_examples=40)
def test_without_positions_an_encoder_does_not_know_the_order(choices, order):
    stack, x = make(choices), torch.randn(2, 6, 16)
    torch.testing.assert_close(stack(x[:, order]), stack(x)[:, order], **CLOSE)


@pytest.mark.parametrize("parts", [{"rotary": Rotary(4)}, {"relative": RelativeBias(4)}, {"causal": True}])
def test_with_positions_it_does(parts):
    stack, x = make(**parts), torch.randn(1, 6, 16)
    assert not torch.allclose(stack(x.flip(1)), stack(x).flip(1), atol=1e-2)


@given(choices=stacks, t=st.integers(0, 5))
@settings(max_examples=40)
def test_changing_a_token_changes_nothing_before_it(choices, t):
    stack, x = make(choices, causal=True, rotary=Rotary(4)), torch.randn(2, 6, 16)
    changed = x.clone()
    changed[:, t] += 1
    torch.testing.assert_close(stack(changed)[:, :t], stack(x)[:, :t], **CLOSE)


@given(choices=stacks, real=st.integers(1, 5), left=st.booleans(), causal=st.booleans())
@settings(max_examples=40)
def test_padding_changes_nothing(choices, real, left, causal):
    stack, x = make(choices, causal=causal, rotary=Rotary(4)), torch.randn(2, 6, 16)
    where = slice(6 - real, None) if left else slice(real)
    keep = torch.ones(2, 6, dtype=torch.bool)
    keep[1] = False
    keep[1, where] = True
    together = stack(x, keep=keep)
    torch.testing.assert_close(together[:1], stack(x[:1]), **CLOSE)
    torch.testing.assert_close(together[1:, where], stack(x[1:, where]), **CLOSE)


@given(choices=stacks)
@settings(max_examples=20)
def test_rows_of_a_batch_do_not_know_of_each_other(choices):
    stack, x = make(choices), torch.randn(3, 5, 16)
    torch.testing.assert_close(stack(x), torch.cat([stack(row[None]) for row in x]), **CLOSE)


def test_parameters_do_not_depend_on_the_length():
    stack = make(rotary=Rotary(4), relative=RelativeBias(4))
    before = sum(p.numel() for p in stack.parameters())
    for length in (1, 7, 600):
        assert stack(torch.randn(1, length, 16)).shape == (1, length, 16)
    assert sum(p.numel() for p in stack.parameters()) == before


# Grouped-query attention


def test_as_many_key_heads_as_heads_is_multi_head_attention():
    plain, grouped = Attention(12, 3), Attention(12, 3, kv_heads=3)
    grouped.load_state_dict(plain.state_dict())
    x = torch.randn(2, 5, 12)
    assert torch.equal(plain(x), grouped(x))


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_grouped_heads_are_multi_head_attention_with_shared_keys(kv_heads):
    grouped, full = Attention(16, 4, kv_heads=kv_heads), Attention(16, 4)
    state = grouped.state_dict()
    for name in ("k.weight", "k.bias", "v.weight", "v.bias"):
        state[name] = state[name].unflatten(0, (kv_heads, 4)).repeat_interleave(4 // kv_heads, 0).flatten(0, 1)
    full.load_state_dict(state)
    x = torch.randn(2, 5, 16)
    for mask in (None, "causal"):
        torch.testing.assert_close(grouped(x, mask=mask), full(x, mask=mask))


# Weights


@given(shift=st.floats(-20, 20), seed=st.integers(0, 5))
def test_a_number_added_to_all_scores_of_a_row_changes_no_weight(shift, seed):
    torch.manual_seed(seed)
    q, k = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 5, 4)
    shifted = attention_weights(q, k, torch.full((3, 5), shift))
    torch.testing.assert_close(shifted, attention_weights(q, k), atol=1e-5, rtol=1e-4)


@given(window=st.integers(1, 7), causal=st.booleans())
def test_a_window_sees_its_neighbours_only(window, causal):
    attention, x = Attention(8, 2), torch.randn(1, 6, 8)
    mask = Mask(causal=causal, window=window).resolve(6, 6)
    before = attention(x, mask=mask)
    changed = x.clone()
    changed[:, 2] += 1
    different = (attention(changed, mask=mask) - before).abs().amax(-1)[0] > 1e-6
    assert different.tolist() == [abs(i - 2) < window and (not causal or i >= 2) for i in range(6)]
