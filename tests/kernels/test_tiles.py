"""Attention in tiles: the softmax formula for every size, mask and arrangement in memory."""

import pytest
import torch

from formers.blocks.attention import attend, attention_weights
from formers.blocks.mask import Mask
from formers.kernels import attention
from formers.kernels.compiler import load_loops

if load_loops() is None:
    pytest.skip("numba is not installed, or told to compile nothing", allow_module_level=True)


@pytest.fixture(autouse=True)
def everything(monkeypatch):
    """Small ones too."""
    monkeypatch.setattr(attention, "TILE_QUERIES", 1)
    monkeypatch.setattr(attention, "TILE_SCORES", 1)
    monkeypatch.setattr(attention, "PLAIN_KEYS", 0)


def heads_of(rows, heads, length, width):
    """A part of what is in memory, (rows, heads, length, width)."""
    return torch.randn(rows, length, heads + 1, width)[:, :, :heads].transpose(1, 2)


def tiled(q, k, v, mask, scale=None):
    added, causal = mask if torch.is_tensor(mask) else None, isinstance(mask, str)
    return attention.attend_tiles(q, k, v, added, causal, q.shape[-1] ** -0.5 if scale is None else scale)


def formula(q, k, v, mask, scale=None):
    q, k, v = q.double(), k.double(), v.double()
    return attention_weights(q, k, mask, scale=scale) @ v.repeat_interleave(q.shape[1] // k.shape[1], 1)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("width", [4, 20, 64])
@pytest.mark.parametrize("length", [1, 3, 63, 64, 65, 130, 200])
def test_a_causal_mask(length, width, kv_heads):
    q = heads_of(2, 4, length, width)
    k, v = heads_of(2, kv_heads, length, width), heads_of(2, kv_heads, length, width)
    with torch.no_grad():
        found = tiled(q, k, v, "causal", 0.3)
    torch.testing.assert_close(found.double(), formula(q, k, v, "causal", 0.3), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["nothing", "keep", "bias", "bias of each query", "keep and window", "documents"])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (5, 70), (64, 64), (66, 131), (130, 2)])
def test_every_other_mask(kind, queries, keys):
    rows, heads, width = 3, 2, 8
    q, k, v = heads_of(rows, heads, queries, width), heads_of(rows, 1, keys, width), heads_of(rows, 1, keys, width)
    keep = torch.rand(rows, keys) < 0.6 if "keep" in kind else None
    bias = torch.randn(1, heads, queries if "each" in kind else 1, keys) if "bias" in kind else None
    mask = Mask(keep=keep, bias=bias).resolve(queries, keys)
    if kind == "keep and window" and queries <= keys:
        mask = Mask(keep=keep, causal=True, window=3).resolve(queries, keys)
    if kind == "documents" and queries == keys:
        mask = Mask(causal=True, documents=torch.arange(keys).expand(rows, -1) // 10).resolve(queries, keys)
    with torch.no_grad():
        found = tiled(q, k, v, mask)
    torch.testing.assert_close(found.double(), formula(q, k, v, mask), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [1e-3, 30.0, 300.0])
def test_scores_of_any_size(size):
    q, k, v = size * heads_of(1, 2, 100, 8), heads_of(1, 2, 100, 8), heads_of(1, 2, 100, 8)
    with torch.no_grad():
        found = tiled(q, k, v, "causal")
    torch.testing.assert_close(found.double(), formula(q, k, v, "causal"), atol=1e-3 if size > 100 else 1e-4, rtol=1e-3)


def test_what_is_hidden_is_worth_nothing_at_all():
    q, k, v = heads_of(1, 1, 70, 4), heads_of(1, 1, 70, 4), heads_of(1, 1, 70, 4)
    mask = Mask(keep=torch.arange(70)[None] < 66).resolve(70, 70)
    with torch.no_grad():
        before = tiled(q, k, v, mask)
        k[:, :, 66:], v[:, :, 66:] = 50.0, 1e30
        assert torch.equal(tiled(q, k, v, mask), before)


def test_attend_takes_this_way_and_gives_the_same(monkeypatch):
    q, k, v = heads_of(2, 4, 90, 8), heads_of(2, 2, 90, 8), heads_of(2, 2, 90, 8)
    expected = attend(q, k, v, "causal")  # gradients are wanted: PyTorch's
    with torch.no_grad():
        torch.testing.assert_close(attend(q, k, v, "causal"), expected, atol=1e-5, rtol=1e-4)
        half = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), "causal")
        assert half.dtype == torch.bfloat16 and (half - expected).abs().max() < 0.05
        monkeypatch.setattr("formers.blocks.attention.attend_tiles", lambda *_: expected + 1)
        assert torch.equal(attend(q, k, v, "causal"), expected + 1)


def test_others_are_none_for_the_loop(monkeypatch):
    q = torch.randn(1, 2, 8, 8)
    assert tiled(q, q, q, None) is None  # the loop knows no gradient
    with torch.no_grad():
        assert tiled(q, q, q[..., :4], None) is None
        assert tiled(q[..., :6], q[..., :6], q[..., :6], None) is None
        assert tiled(q.double(), q.double(), q.double(), None) is None
        assert tiled(q.to("meta"), q.to("meta"), q.to("meta"), None) is None
        assert tiled(q.requires_grad_(), q, q, q.sum(-1)) is not None
        monkeypatch.setattr(attention, "TILE_QUERIES", 9)
        assert tiled(q, q, q, None) is None
        monkeypatch.setattr(attention, "TILE_QUERIES", 8)
        monkeypatch.setattr(attention, "TILE_SCORES", 129)
        assert tiled(q, q, q, None) is None
