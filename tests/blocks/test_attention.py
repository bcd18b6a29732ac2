"""Attention against the lecture's worked example and against the formula written out."""

import pytest
import torch
from torch import nn

from formers.blocks.attention import Attention, attend, attend_cache, attention_weights, recording
from formers.blocks.cache import LayerCache
from formers.blocks.mask import Mask
from formers.kernels.attention import STEP_ROWS
from formers.kernels.compiler import load_loops

X = torch.tensor([[1.0, 2, 3, -1], [3, -4, -7, 5]])
W_Q = torch.tensor([[-1.0, 2, 0], [2, 3, -5], [1, 0, 0], [-3, 1, 2]])
W_K = torch.tensor([[1.0, 2, 3], [2, 4, 3], [3, 0, 3], [-1, 5, 2]])
W_V = torch.tensor([[-1.0, -2, 3], [2, -4, 0], [0, 0, 1], [1, 0, -7]])


def naive(q, k, v, mask=None, scale=None):
    """The formula, one query at a time."""
    batch, heads, queries, dim = q.shape
    group = heads // k.shape[1]
    out = torch.zeros(batch, heads, queries, v.shape[-1])
    for b in range(batch):
        for h in range(heads):
            for i in range(queries):
                scores = k[b, h // group] @ q[b, h, i] * (dim**-0.5 if scale is None else scale)
                if isinstance(mask, str):
                    scores[i + 1 :] = -torch.inf
                elif mask is not None:
                    scores = scores + mask.expand(batch, heads, queries, -1)[b, h, i]
                out[b, h, i] = scores.exp() / scores.exp().sum() @ v[b, h // group]
    return out


def randomised(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.eval()


def test_the_worked_example():
    q, k, v = ((X @ w)[None, None] for w in (W_Q, W_K, W_V))
    scores = (q @ k.mT / 3**0.5)[0, 0]
    expected = torch.tensor([[-12.7017, -3.4641], [-11.5470, 339.4820]])
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=0)
    weights = attention_weights(q, k)[0, 0]
    assert weights[0, 0].item() == pytest.approx(9.7301e-5, abs=5e-9)
    assert weights[0, 1].item() == pytest.approx(0.99990270, abs=5e-8)
    assert weights[1].tolist() == [0, 1]  # token 2 attends to itself
    torch.testing.assert_close(attend(q, k, v)[0, 0], weights @ (X @ W_V))
    torch.testing.assert_close(attend(q, k, v)[0, 0, 1], (X @ W_V)[1])


def test_the_worked_example_through_the_module():
    attention = Attention(4, 1, head_dim=3, bias="")
    with torch.no_grad():
        for linear, w in ((attention.q, W_Q), (attention.k, W_K), (attention.v, W_V)):
            linear.weight.copy_(w.T)
        attention.o.weight.copy_(torch.eye(4, 3))
        with recording() as recorded:
            out = attention(X[None])
    torch.testing.assert_close(out[0, :, :3], recorded.of(attention)[0, 0] @ (X @ W_V))
    assert recorded.of(attention)[0, 0, 0, 0].item() == pytest.approx(9.7301e-5, abs=5e-9)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("kind", ["none", "causal", "keys", "full"])
def test_attend_is_the_softmax_formula(kind, kv_heads):
    q, k, v = torch.randn(2, 4, 5, 6), torch.randn(2, kv_heads, 5, 6), torch.randn(2, kv_heads, 5, 3)
    keys = torch.zeros(2, 1, 1, 5)
    keys[0, ..., 3:] = -torch.inf
    mask = {"none": None, "causal": "causal", "keys": keys, "full": torch.randn(2, 4, 5, 5)}[kind]
    for scale in (None, 1.0):
        expected = naive(q, k, v, mask, scale)
        torch.testing.assert_close(attend(q, k, v, mask, scale=scale), expected, atol=1e-5, rtol=1e-4)
        weights = attention_weights(q, k, mask, scale=scale)
        mixed = weights @ v.repeat_interleave(4 // kv_heads, 1)
        torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("queries", [1, 5])
def test_bf16_is_near_fp32(queries):
    q, k, v = torch.randn(2, 4, queries, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    mask = Mask(keep=torch.tensor([[True] * 5, [True] * 3 + [False] * 2])).resolve(queries, 5)
    half = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), attend(q, k, v, mask), atol=0.05, rtol=0.05)


def test_multi_head_is_the_concatenation_of_heads():
    attention, x, memory = randomised(Attention(12, 3)), torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    heads = []
    for h in range(3):
        rows = slice(4 * h, 4 * h + 4)
        q, k, v = (
            nn.functional.linear(inputs, linear.weight[rows], linear.bias[rows])
            for inputs, linear in ((x, attention.q), (memory, attention.k), (memory, attention.v))
        )
        heads.append((q @ k.mT / 2).softmax(-1) @ v)
    expected = torch.cat(heads, -1) @ attention.o.weight.T + attention.o.bias
    torch.testing.assert_close(attention(x, memory), expected)


def test_query_key_and_value_are_separate_inputs():
    attention, x, p = randomised(Attention(8, 2)), torch.randn(2, 5, 8), torch.randn(5, 8)
    torch.testing.assert_close(attention(x), attention(x, x, x))
    torch.testing.assert_close(attention(x, x), attention(x))
    assert not torch.allclose(attention(x + p, x + p, x), attention(x + p))
    wide = Attention(8, 2, context_dim=6)
    assert wide(x, torch.randn(2, 3, 6)).shape == (2, 5, 8)


@pytest.mark.parametrize(("bias", "expected"), [("qkvo", "qkvo"), ("qvo", "qvo"), ("qkv", "qkv"), ("", "")])
def test_bias_names_the_projections(bias, expected):
    attention = Attention(8, 2, bias=bias)
    assert "".join(n for n in "qkvo" if getattr(attention, n).bias is not None) == expected


def test_causal_attention_never_looks_ahead():
    attention, x = randomised(Attention(8, 2)), torch.randn(1, 6, 8)
    before = attention(x, mask="causal")
    for t in range(6):
        changed = x.clone()
        changed[:, t:] = torch.randn(1, 6 - t, 8)
        after = attention(changed, mask="causal")
        assert torch.equal(after[:, :t], before[:, :t])
        assert not torch.allclose(after[:, t], before[:, t])


@pytest.mark.parametrize("causal", [False, True])
def test_a_row_without_keys_makes_no_nan(causal):
    attention, x = Attention(8, 2), torch.randn(3, 4, 8, requires_grad=True)
    keep = torch.tensor([[False] * 4, [True] * 4, [False, False, True, True]])
    out = attention(x, mask=Mask(causal=causal, keep=keep).resolve(4, 4))
    assert out.isfinite().all()
    out.sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in attention.parameters())


def test_qk_norm_gives_queries_and_keys_of_one_length():
    attention, x = randomised(Attention(8, 2, qk_norm="rms")), torch.randn(1, 3, 8)
    nn.init.ones_(attention.q_norm.weight)
    torch.testing.assert_close(
        attention.q_norm(attention.split(attention.q(x))).norm(dim=-1), torch.full((1, 2, 3), 4**0.5)
    )
    assert torch.allclose(attention(x), attention(x, x, x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 10, "heads": 3}, r"dim \(10\) must be a multiple of heads \(3\)"),
        ({"dim": 12, "heads": 6, "kv_heads": 4}, r"heads \(6\) must be a multiple of kv_heads \(4\)"),
    ],
)
def test_sizes_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Attention(**arguments)


@pytest.mark.parametrize("kind", ["none", "causal", "keep"])
def test_recording_changes_nothing_and_rows_sum_to_one(kind):
    attention, x = randomised(Attention(12, 4, kv_heads=2)), torch.randn(2, 5, 12)
    keep = torch.tensor([[True] * 5, [True, True, False, False, False]])
    mask = {"none": None, "causal": "causal", "keep": Mask(causal=True, keep=keep).resolve(5, 5)}[kind]
    plain = attention(x, mask=mask)
    with recording() as outer:
        noted = attention(x, mask=mask)
        with recording() as inner:
            attention(x, mask=mask)
        attention(2 * x, mask=mask)
    assert torch.equal(plain, noted)
    assert len(outer.maps) == 2 and len(inner.maps) == 1
    assert torch.equal(outer.of(attention), outer.maps[-1][1])
    torch.testing.assert_close(outer.maps[0][1].sum(-1), torch.ones(2, 4, 5))
    attention(x)
    assert len(outer.maps) == 2


def test_recording_ends_with_an_error_too():
    attention = Attention(4, 1)
    with pytest.raises(RuntimeError), recording() as recorded:
        raise RuntimeError
    attention(torch.randn(1, 2, 4))
    assert not recorded.maps


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("kind", ["nothing", "keep", "bias", "keep and bias", "window"])
def test_a_step_of_many_rows_is_the_softmax_formula(kind, queries, kv_heads):
    if load_loops() is None:
        pytest.skip("numba is not installed, or told to compile nothing")
    rows, heads, length, width = STEP_ROWS, 4, 6, 8
    cache = LayerCache(9, memory=queries > 1)
    keys = torch.randn(rows, length, kv_heads, width).transpose(1, 2)
    values = torch.randn(rows, kv_heads, length, width)
    cache.append(keys, values)
    q = torch.randn(rows, queries, 2 * heads, width)[:, :, :heads].transpose(1, 2)
    keep = torch.rand(rows, length) < 0.6 if "keep" in kind else None
    bias = torch.randn(1, heads, 1, length) if "bias" in kind else None
    mask = Mask(keep=keep, bias=bias, window=3 if kind == "window" else None).resolve(1, length)
    with torch.no_grad():
        found = attend_cache(q, cache, mask, 0.7)
    expected = attention_weights(q, keys, mask, scale=0.7) @ values.repeat_interleave(heads // kv_heads, 1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_other_steps_are_none_for_the_loop():
    def step(rows, queries, *, memory=False, mask=None, dtype=torch.float32):
        cache = LayerCache(9, memory=memory)
        cache.append(*torch.randn(2, rows, 2, queries, 4, dtype=dtype))
        return attend_cache(torch.randn(rows, 2, queries, 4, dtype=dtype), cache, mask, 0.5)

    many = STEP_ROWS
    with torch.no_grad():
        assert step(many - 1, 1) is None and step(many, 2) is None and step(many, 9, memory=True) is None
        assert step(many, 2, memory=True, mask="causal") is None and step(many, 1, dtype=torch.bfloat16) is None
        assert step(many, 2, memory=True, mask=torch.zeros(1, 1, 2, 2)) is None
    assert step(many, 1) is None  # the loop knows no gradient
