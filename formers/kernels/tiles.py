"""Attention of many queries as a loop over tiles that a processor's cache holds, compiled by numba.

Scores are never whole: each tile of queries meets the keys a block at a time, and what it has averaged so far is scaled
down when a larger score comes (Milakov & Gimelshein 2018; Dao et al. 2022). Queries lie side by side in a vector, so
nothing is summed across one, and what a causal mask hides is not computed.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from formers.kernels.loops import FINITE_OR_NOT, LEAST, ONE, ZERO, Floats, loop

WIDE = 64  # queries of a tile and keys of a block: both blocks of numbers fit the nearest cache
ARRAY = "float32[:, :, :, :]"  # any strides, so that one compiled form serves all


@loop(fastmath=FINITE_OR_NOT)
def exp(x: np.float32) -> np.float32:
    """e^x for x <= 0, to 1e-6 of it (4e-6 below -10), in operations that vectors have; 0 below -88."""
    power = max(x * np.float32(1.4426950408889634), np.float32(-127))
    whole = np.floor(power)
    part = power - whole
    result = np.float32(1.8775767e-3)  # 2^part: polynomial of least error on [0, 1)
    result = result * part + np.float32(8.9893397e-3)
    result = result * part + np.float32(5.5826318e-2)
    result = result * part + np.float32(2.4015361e-1)
    result = result * part + np.float32(6.9315308e-1)
    result = result * part + np.float32(9.9999994e-1)
    return result * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


@loop(fastmath=FINITE_OR_NOT)
def multiply(a: Floats, rows: int, inner: int, b: Floats, out: Floats) -> None:
    """out (rows, WIDE) += a (rows, inner) b (inner, WIDE); b and out are flat, both sizes multiples of 4.

    Sixteen numbers of a stay in registers while four rows of b pass: 90% of what the processor can do (measured).
    """
    for i in range(0, rows, 4):
        c = out[i * WIDE : (i + 4) * WIDE]
        for k in range(0, inner, 4):
            a00, a01, a02, a03 = a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]
            a10, a11, a12, a13 = a[i + 1, k], a[i + 1, k + 1], a[i + 1, k + 2], a[i + 1, k + 3]
            a20, a21, a22, a23 = a[i + 2, k], a[i + 2, k + 1], a[i + 2, k + 2], a[i + 2, k + 3]
            a30, a31, a32, a33 = a[i + 3, k], a[i + 3, k + 1], a[i + 3, k + 2], a[i + 3, k + 3]
            four = b[k * WIDE : (k + 4) * WIDE]
            for j in range(WIDE):
                b0, b1, b2, b3 = four[j], four[WIDE + j], four[2 * WIDE + j], four[3 * WIDE + j]
                c[j] += a00 * b0 + a01 * b1 + a02 * b2 + a03 * b3
                c[WIDE + j] += a10 * b0 + a11 * b1 + a12 * b2 + a13 * b3
                c[2 * WIDE + j] += a20 * b0 + a21 * b1 + a22 * b2 + a23 * b3
                c[3 * WIDE + j] += a30 * b0 + a31 * b1 + a32 * b2 + a33 * b3


@loop(fastmath=FINITE_OR_NOT)
def read(
    q: Floats, keys: Floats, values: Floats, added: Floats, first: int, causal: bool, scale: float, out: Floats
) -> None:
    """One tile: the queries from `first` on."""
    width, count = q.shape[1], min(WIDE, len(q) - first)
    queries = np.zeros(width * WIDE, np.float32)  # (width, WIDE), as everything below: a query is a column
    for i in range(count):
        for d in range(width):
            queries[d * WIDE + i] = q[first + i, d] * np.float32(scale)
    mixed, scores = np.zeros(width * WIDE, np.float32), np.empty(WIDE * WIDE, np.float32)
    most, total, shrink = np.full(WIDE, LEAST), np.zeros(WIDE, np.float32), np.empty(WIDE, np.float32)
    last_keys, last_values = np.zeros((WIDE, width), np.float32), np.zeros((WIDE, width), np.float32)
    end = first + count if causal else len(keys)
    for start in range(0, end, WIDE):
        k, v, size = keys[start : start + WIDE], values[start : start + WIDE], min(WIDE, end - start)
        rows = (size + 3) // 4 * 4
        if rows > len(k):
            last_keys[: len(k)], last_values[: len(k)] = k, v
            k, v = last_keys[:, :], last_values[:, :]
        scores[: rows * WIDE] = ZERO
        multiply(k, rows, width, queries, scores)
        if len(added) == 1:
            for j in range(size):
                bias, row = added[0, start + j], scores[j * WIDE : (j + 1) * WIDE]
                for i in range(WIDE):
                    row[i] += bias
        elif len(added):
            for i in range(count):
                for j in range(size):
                    scores[j * WIDE + i] += added[first + i, start + j]
        scores[size * WIDE : rows * WIDE] = LEAST
        if causal and start + size > first:
            for j in range(size):
                scores[j * WIDE : j * WIDE + max(0, start + j - first)] = LEAST
        shrink[:] = most
        for j in range(size):
            row = scores[j * WIDE : (j + 1) * WIDE]
            for i in range(WIDE):
                most[i] = max(most[i], row[i])
        for i in range(WIDE):
            shrink[i] = exp(shrink[i] - most[i])
            total[i] *= shrink[i]
        for j in range(rows):
            row = scores[j * WIDE : (j + 1) * WIDE]
            for i in range(WIDE):
                row[i] = exp(row[i] - most[i])
                total[i] += row[i]
        for d in range(width if start else 0):
            row = mixed[d * WIDE : (d + 1) * WIDE]
            for i in range(WIDE):
                row[i] *= shrink[i]
        multiply(v.T, width, rows, scores, mixed)
    for i in range(count):
        factor = ONE / total[i]
        for d in range(width):
            out[first + i, d] = mixed[d * WIDE + i] * factor


@loop(f"void({ARRAY}, {ARRAY}, {ARRAY}, {ARRAY}, boolean, float64, {ARRAY})", parallel=True, fastmath=FINITE_OR_NOT)
def attend(q: Floats, keys: Floats, values: Floats, added: Floats, causal: bool, scale: float, out: Floats) -> None:
    """out (batch, heads, queries, width) = softmax(q k^T * scale + added) v; width is a multiple of 4.

    added: (batch, heads, queries or 1, keys); empty: nothing. causal: query i sees the first i + 1 keys.
    """
    heads, tiles = q.shape[1], (q.shape[2] + WIDE - 1) // WIDE
    pairs, share = (tiles + 1) // 2, heads // keys.shape[1]
    for p in prange(q.shape[0] * heads * pairs):  # the first tile with the last: under a causal mask both together
        b, h, t = p // (heads * pairs), p // pairs % heads, p % pairs  # are as much as any other pair
        bias = added[b, h] if len(added) else added[:, :, 0, 0]
        for tile in range(t, tiles - t, max(1, tiles - 1 - 2 * t)):
            read(q[b, h], keys[b, h // share], values[b, h // share], bias, tile * WIDE, causal, scale, out[b, h])
