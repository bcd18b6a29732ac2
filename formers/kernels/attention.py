"""Attention on a CPU as compiled loops: many queries in tiles, and the few queries of a decoding step."""

from __future__ import annotations

import torch
from torch import Tensor

from formers.kernels.compiler import load_loops

STEP_ROWS, STEP_QUERIES = 16, 8  # decoding steps for which the compiled loop is faster (measured)
TILE_QUERIES, TILE_SCORES = 64, 1 << 19  # queries and scores from which tiles are faster (measured)
PLAIN_KEYS = 512  # and keys, where every query sees all (1.15 times as slow for the 197 of a picture, measured)


def attend_tiles(q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, causal: bool, scale: float) -> Tensor | None:
    """softmax(q k^T * scale + added) v of many queries; None if these are none for the loop.

    q (batch, heads, queries, head_dim); k, v (batch, kv_heads, keys, head_dim); added broadcasts to the scores.
    1.1 to 1.9 times as fast; most for a causal mask, of which PyTorch's kernel skips nothing up to 512 keys (measured).
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_grad_enabled():  # sizes may be symbols
        return None
    rows, heads, queries, width = q.shape
    if queries < TILE_QUERIES or rows * heads * queries * k.shape[2] < TILE_SCORES or v.shape[3] != width or width % 4:
        return None
    if added is None and not causal and k.shape[2] < PLAIN_KEYS:
        return None
    if any(type(part) is not Tensor or part.dtype != torch.float32 or part.device.type != "cpu" for part in (q, k, v)):
        return None
    if (loops := load_loops()) is None:
        return None
    bias = q.new_empty(0, 0, 0, 0) if added is None else added.expand(rows, heads, -1, k.shape[2])
    a, b, c, d = (part.detach().numpy() for part in (q, k, v, bias))
    out = q.new_empty(rows, queries, heads, width).transpose(1, 2)  # as the output map reads it
    with loops.using(torch.get_num_threads(), "attention"):
        from formers.kernels import tiles  # compiled when first imported

        tiles.attend(a, b, c, d, causal, scale, out.numpy())
    return out


def attend_step(
    q: Tensor, keys: Tensor, values: Tensor, length: int, added: Tensor | None, scale: float
) -> Tensor | None:
    """The same for few queries, all of which read the first `length` positions; None if this step is none for the loop.

    keys, values: (batch, kv_heads, capacity, head_dim), as a cache stores them; added: alike for all queries.
    For few queries of many rows it is 1.3 to 1.8 times as fast (measured).
    """
    if q.shape[0] < STEP_ROWS or q.shape[2] > STEP_QUERIES or torch.is_grad_enabled():
        return None
    if q.dtype != torch.float32 or q.device.type != "cpu" or (added is not None and added.shape[-2] > 1):
        return None
    if (loops := load_loops()) is None:
        return None
    rows, heads, queries, width = q.shape
    flat = q.transpose(1, 2).reshape(-1, heads, width).contiguous()
    out = torch.empty_like(flat)
    bias = loops.NOTHING if added is None else added[(None,) * (4 - added.dim())].squeeze(-2).contiguous().numpy()
    with loops.using(torch.get_num_threads(), "mix"):
        loops.mix(flat.numpy(), keys.numpy(), values.numpy(), length, queries, 0, scale, 0, bias, out.numpy())
    return out.view(rows, queries, heads, width).transpose(1, 2)
