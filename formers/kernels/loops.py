"""Loops for the few rows of a decoding step, compiled by numba: a block is one call, its products are parallel.

PyTorch's operators are made for many rows. For one, most of them cost more than their arithmetic, and its products read
weights at half the speed that memory has. These loops compute what `Block` says, in fp32 with fp32 or int8 matrices;
`blocks/fused.py` decides when.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from logging import getLogger
from threading import Lock, Timer
from typing import Any, NamedTuple

import numpy as np
from numba import config, njit, prange, set_num_threads
from numpy.typing import NDArray

Floats = NDArray[np.float32]
ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "gelu_quick", "silu")  # those that `activate` knows, by number
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
LEAST = np.float32(-3e38)
NOTHING = np.zeros((0, 0, 0), np.float32)  # where nothing is added to scores

LOCK = Lock()  # some of numba's kinds of threads may not be asked twice at a time
PATIENCE = 1.5  # seconds; to load what was compiled before takes less
_ready: set[str] = set()

FINITE_OR_NOT = {"nsz", "arcp", "contract", "afn", "reassoc"}  # fastmath, but an infinite number is one
loop = partial(njit, error_model="numpy", fastmath=True, nogil=True, cache=True)


@contextmanager
def using(threads: int, what: str) -> Iterator[None]:
    """Around the call of a loop, which may take so many threads. Says so if it must be compiled first.

    what: names the loop and the types it is called with.
    """
    set_num_threads(min(threads, config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    with LOCK:
        if what in _ready:
            yield
            return
        notice = Timer(PATIENCE, getLogger(__name__).warning, ["compiling loops for this processor, once (%s)", what])
        notice.start()
        try:
            yield
            _ready.add(what)
        finally:
            notice.cancel()


class Matrix(NamedTuple):
    """A row of numbers times its scale, in groups of columns; and what is added."""

    numbers: NDArray[Any]  # (groups, rows, columns of a group), fp32 or int8
    scale: Floats  # (groups, rows)
    bias: Floats  # (rows,)


class Norm(NamedTuple):
    weight: Floats
    bias: Floats
    eps: float
    centred: bool  # LayerNorm; else RMSNorm


class Heads(NamedTuple):
    q: Matrix
    k: Matrix
    v: Matrix
    o: Matrix
    q_norm: Norm
    k_norm: Norm
    normed: bool
    scale: float
    kv_heads: int
    head_dim: int
    window: int  # 0: none


class Layer(NamedTuple):
    attention: Heads
    norm_attention: Norm
    norm_feed_forward: Norm
    norm_first: bool
    gate: Matrix
    up: Matrix
    down: Matrix
    gated: bool  # without a gate, `up` stands in its place
    activation: int
    norm_cross: Norm
    cross: Heads  # over a memory, of which q and o are used
    reads: bool  # whether there is one; else `attention` stands in its place


@loop()
def dot(a: Floats, b: NDArray[Any]) -> np.float32:
    total = ZERO
    for i in range(len(a)):
        total += a[i] * np.float32(b[i])
    return total


@loop()
def row(x: Floats, numbers: NDArray[Any], scale: Floats, r: int) -> np.float32:
    """One number of a vector's product with a matrix."""
    width, total = numbers.shape[2], ZERO
    for g in range(len(numbers)):
        total += dot(x[g * width : (g + 1) * width], numbers[g, r]) * scale[g, r]
    return total


@loop(parallel=True)
def product(x: Floats, numbers: NDArray[Any], scale: Floats, out: Floats) -> None:
    """out (rows, matrix rows) += x (rows, columns) matrix^T."""
    for r in prange(out.shape[1]):
        for i in range(len(x)):
            out[i, r] += row(x[i], numbers, scale, r)


@loop()
def add(x: Floats, matrix: Matrix, out: Floats) -> None:
    """out += what the matrix and its bias make of x."""
    out += matrix.bias
    product(x, matrix.numbers, matrix.scale, out)


@loop(parallel=True)
def widen(x: Floats, gate: Matrix, up: Matrix, gated: bool, activation: int, out: Floats) -> None:
    """out (rows, hidden) = the inner vectors of the feed-forward."""
    gate_numbers, gate_scale, gate_bias = gate  # a parallel loop takes arrays, not tuples of them
    numbers, scale, bias = up
    for r in prange(len(bias)):
        for i in range(len(x)):
            out[i, r] = activate(row(x[i], gate_numbers, gate_scale, r) + gate_bias[r], activation)
            if gated:
                out[i, r] *= row(x[i], numbers, scale, r) + bias[r]


@loop()
def activate(x: np.float32, kind: int) -> np.float32:
    if kind == 0:
        return max(x, ZERO)
    if kind == 1:
        return HALF * x * (ONE + math.erf(x * np.float32(math.sqrt(0.5))))
    if kind == 2:
        inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
        return HALF * x * (ONE + math.tanh(inner))
    return x / (ONE + math.exp(-x if kind == 4 else np.float32(-1.702) * x))


@loop()
def normalise(x: Floats, norm: Norm, out: Floats) -> None:
    """out = the rows of x, normalised; both may be one array."""
    size = x.shape[1]
    for i in range(len(x)):
        mean = square = ZERO
        if norm.centred:
            for j in range(size):
                mean += x[i, j]
            mean /= np.float32(size)
        for j in range(size):
            square += (x[i, j] - mean) * (x[i, j] - mean)
        factor = ONE / math.sqrt(square / np.float32(size) + np.float32(norm.eps))
        for j in range(size):
            out[i, j] = (x[i, j] - mean) * factor * norm.weight[j] + norm.bias[j]


@loop()
def turn(x: Floats, cos: Floats, sin: Floats) -> None:
    """Rotary positions in place: x (tokens, heads, width), cos and sin (new, width) as in `Turn`."""
    half = x.shape[2] // 2
    for i in range(len(x)):
        t = i % len(cos)
        for h in range(x.shape[1]):
            for j in range(half):
                a, b = x[i, h, j], x[i, h, j + half]
                x[i, h, j] = a * cos[t, j] + b * sin[t, j]
                x[i, h, j + half] = b * cos[t, j + half] + a * sin[t, j + half]


@loop(parallel=True, fastmath=FINITE_OR_NOT)
def mix(
    q: Floats,
    keys: Floats,
    values: Floats,
    first: int,
    new: int,
    more: int,
    scale: float,
    window: int,
    added: Floats,
    out: Floats,
) -> None:
    """out = for each of the queries (rows * new, heads, width) an average of the values.

    The first of a row's `new` queries reads `first` positions, each of the others `more` than the one before. added:
    (rows or 1, heads or 1, positions), to the scores; empty: nothing.
    """
    tokens, heads, width = q.shape
    share = heads // keys.shape[1]
    for p in prange(tokens * heads):
        i, h = p // heads, p % heads
        k, v, mixed = keys[i // new, h // share], values[i // new, h // share], out[i, h]
        end = first + i % new * more
        start = max(0, end - window) if window else 0
        scores, most, total = np.empty(end - start, np.float32), LEAST, ZERO
        for j in range(start, end):
            scores[j - start] = dot(q[i, h], k[j]) * np.float32(scale)
        if len(added):
            bias = added[min(i // new, len(added) - 1), min(h, added.shape[1] - 1)]
            for j in range(start, end):
                scores[j - start] += bias[j]
        for j in range(end - start):
            most = max(most, scores[j])
        mixed[:] = ZERO
        for j in range(start, end):
            weight = math.exp(scores[j - start] - most)
            total += weight
            for d in range(width):
                mixed[d] += weight * v[j, d]
        for d in range(width):
            mixed[d] /= total


@loop()
def attend(
    x: Floats, a: Heads, keys: Floats, values: Floats, past: int, new: int, cos: Floats, sin: Floats, out: Floats
) -> None:
    """out += what x (rows * new, dim) reads in what is remembered and in itself, which is remembered too."""
    tokens, size = len(x), a.head_dim
    q = np.zeros((tokens, len(a.q.bias)), np.float32)
    k = np.zeros((tokens, len(a.k.bias)), np.float32)
    v = np.zeros((tokens, len(a.v.bias)), np.float32)
    add(x, a.q, q)
    add(x, a.k, k)
    add(x, a.v, v)
    if a.normed:
        normalise(q.reshape(-1, size), a.q_norm, q.reshape(-1, size))
        normalise(k.reshape(-1, size), a.k_norm, k.reshape(-1, size))
    queries = q.reshape(tokens, -1, size)
    if len(cos):
        turn(queries, cos, sin)
        turn(k.reshape(tokens, -1, size), cos, sin)
    for i in range(tokens):
        keys[i // new, :, past + i % new] = k[i].reshape(a.kv_heads, size)
        values[i // new, :, past + i % new] = v[i].reshape(a.kv_heads, size)
    mixed = np.empty_like(queries)
    mix(queries, keys, values, past + 1, new, 1, a.scale, a.window, NOTHING, mixed)
    add(mixed.reshape(tokens, -1), a.o, out)


@loop()
def look(x: Floats, a: Heads, keys: Floats, values: Floats, out: Floats) -> None:
    """out += what x (tokens, dim) reads in a memory; rows of one sentence are neighbours."""
    q = np.zeros((len(x), len(a.q.bias)), np.float32)
    add(x, a.q, q)
    queries = q.reshape(len(x), -1, a.head_dim)
    mixed = np.empty_like(queries)
    mix(queries, keys, values, keys.shape[2], len(x) // len(keys), 0, a.scale, 0, NOTHING, mixed)
    add(mixed.reshape(len(x), -1), a.o, out)


@loop()
def block(
    x: Floats,
    layer: Layer,
    keys: Floats,
    values: Floats,
    past: int,
    new: int,
    cos: Floats,
    sin: Floats,
    memory_keys: Floats,
    memory_values: Floats,
) -> None:
    """`Block` on x (rows * new, dim), in place: `new` vectors for each row of keys and values, which hold `past`.

    keys, values: (rows, heads, capacity, width of a head); cos, sin: (new, width of a head), empty without rotation;
    memory's keys and values (sentences, heads, length, width of a head) are not read where the layer reads none.
    """
    h = x.copy()
    if layer.norm_first:
        normalise(x, layer.norm_attention, h)
    attend(h, layer.attention, keys, values, past, new, cos, sin, x)
    if not layer.norm_first:
        normalise(x, layer.norm_attention, x)
    if layer.reads:
        h[:] = x
        if layer.norm_first:
            normalise(x, layer.norm_cross, h)
        look(h, layer.cross, memory_keys, memory_values, x)
        if not layer.norm_first:
            normalise(x, layer.norm_cross, x)
    h[:] = x
    if layer.norm_first:
        normalise(x, layer.norm_feed_forward, h)
    inner = np.empty((len(x), len(layer.up.bias)), np.float32)
    widen(h, layer.gate, layer.up, layer.gated, layer.activation, inner)
    add(inner, layer.down, x)
    if not layer.norm_first:
        normalise(x, layer.norm_feed_forward, x)
