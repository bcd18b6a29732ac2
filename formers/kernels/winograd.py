"""Convolutions of size 3 with a quarter of the products, as a loop compiled by numba (Winograd; Lavin & Gray 2016).

F(4 x 4, 3 x 3): tiles of 6 x 6 numbers and the weights go through small transforms, meet in 36 products of matrices
instead of 144, and a transform back gives 4 x 4 numbers. Its points are 0, 3/4, -3/4, 5/4, -5/4 and infinity, with
which errors are 6 to 8 times those of the direct sum in fp32; with 0, 1, -1, 2, -2 they are about 30 times (measured).
Channels lie side by side in a vector, so that a number depends on nothing but what its own sum reads.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from formers.kernels.loops import ZERO, Floats, loop
from formers.kernels.tiles import WIDE, multiply

ROWS = "float32[:, :, :, ::1]"
POINTS, TILE = 36, 4  # products, and rows and columns of what a tile gives
PART = 256  # tiles for which a block of weights is transformed once
# Numbers from one of the 36 matrices to the next; a power of 2 would let them meet in one line of a cache
BLOCK, SUMS = WIDE * WIDE + 48, PART * WIDE + 48
A, B = 0.75, 1.25
AA, BB = np.float32(A * A), np.float32(B * B)
BOTH, SUM = np.float32(A * A * B * B), np.float32(A * A + B * B)
ABB, BAA = np.float32(A * B * B), np.float32(B * A * A)
A1, B1 = np.float32(A), np.float32(B)
A3, B3 = np.float32(A**3), np.float32(B**3)
G0, GA, GB = (np.float32(1 / f) for f in (A * A * B * B, 2 * A * A * (A * A - B * B), 2 * B * B * (B * B - A * A)))


@loop()
def tile_line(x: Floats, step: int, out: Floats, far: int) -> None:
    """Six vectors of WIDE, `step` apart, through the transform of what is read."""
    for c in range(WIDE):
        x0, x1, x2, x3, x4, x5 = (
            x[c], x[step + c], x[2 * step + c], x[3 * step + c], x[4 * step + c], x[5 * step + c],
        )  # fmt: skip
        even_a, odd_a = x4 - BB * x2, A1 * x3 - ABB * x1
        even_b, odd_b = x4 - AA * x2, B1 * x3 - BAA * x1
        out[c] = BOTH * x0 - SUM * x2 + x4
        out[far + c] = even_a + odd_a
        out[2 * far + c] = even_a - odd_a
        out[3 * far + c] = even_b + odd_b
        out[4 * far + c] = even_b - odd_b
        out[5 * far + c] = BOTH * x1 - SUM * x3 + x5


@loop()
def weight_line(x: Floats, step: int, out: Floats, far: int) -> None:
    """Three vectors through the transform of weights."""
    for c in range(WIDE):
        x0, x1, x2 = x[c], x[step + c], x[2 * step + c]
        even_a, odd_a = GA * (x0 + AA * x2), GA * A1 * x1
        even_b, odd_b = GB * (x0 + BB * x2), GB * B1 * x1
        out[c] = G0 * x0
        out[far + c] = even_a + odd_a
        out[2 * far + c] = even_a - odd_a
        out[3 * far + c] = even_b + odd_b
        out[4 * far + c] = even_b - odd_b
        out[5 * far + c] = x2


@loop()
def result_line(x: Floats, step: int, out: Floats, far: int) -> None:
    """Six vectors through the transform back, which gives four."""
    for c in range(WIDE):
        x0, x1, x2, x3, x4, x5 = (
            x[c], x[step + c], x[2 * step + c], x[3 * step + c], x[4 * step + c], x[5 * step + c],
        )  # fmt: skip
        even_a, odd_a, even_b, odd_b = x1 + x2, x1 - x2, x3 + x4, x3 - x4
        out[c] = x0 + even_a + even_b
        out[far + c] = A1 * odd_a + B1 * odd_b
        out[2 * far + c] = AA * even_a + BB * even_b
        out[3 * far + c] = A3 * odd_a + B3 * odd_b + x5


@loop()
def turn_weights(weight: Floats, first: int, start: int, nine: Floats, lines: Floats, out: Floats) -> None:
    """out (POINTS, WIDE, WIDE), flat: channels from `start`, filters from `first`; weight (filters, 3, 3, channels)."""
    for few in range(0, WIDE, 8):  # so many columns of the weights lie in one line of the cache
        for f in range(WIDE):
            for k in range(9):
                row = weight[first + f, k // 3, k % 3, start + few : start + few + 8]
                for i in range(8):
                    nine[(i * 9 + k) * WIDE + f] = row[i]
        for i in range(8):
            for j in range(3):
                weight_line(nine[(i * 9 + j) * WIDE :], 3 * WIDE, lines[j * WIDE :], 3 * WIDE)
            for j in range(6):
                weight_line(lines[j * 3 * WIDE :], WIDE, out[j * 6 * BLOCK + (few + i) * WIDE :], BLOCK)


@loop()
def turn_tile(x: Floats, top: int, left: int, start: int, square: Floats, lines: Floats, out: Floats) -> None:
    """out (POINTS, WIDE, WIDE), flat, at one of its rows: a tile of x (height, width, channels), zeros around."""
    for i in range(6):
        for j in range(6):
            place = square[(i * 6 + j) * WIDE : (i * 6 + j + 1) * WIDE]
            if 0 <= top + i < x.shape[0] and 0 <= left + j < x.shape[1]:
                row = x[top + i, left + j, start : start + WIDE]
                for c in range(WIDE):
                    place[c] = row[c]
            else:
                for c in range(WIDE):
                    place[c] = ZERO
    for j in range(6):
        tile_line(square[j * WIDE :], 6 * WIDE, lines[j * WIDE :], 6 * WIDE)
    for i in range(6):
        tile_line(lines[i * 6 * WIDE :], WIDE, out[i * 6 * BLOCK :], BLOCK)


@loop(f"void({ROWS}, {ROWS}, float32[::1], int64, {ROWS})", parallel=True)
def convolve(x: Floats, weight: Floats, bias: Floats, threads: int, out: Floats) -> None:
    """out (rows, height, width, filters) of x (rows, height, width, channels), weight (filters, 3, 3, channels).

    Channels and filters are multiples of WIDE; those of a place lie side by side in memory.
    """
    height, width, channels = x.shape[1:]
    across, down = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    tiles, groups = len(x) * down * across, out.shape[3] // WIDE
    tasks = groups * ((tiles + PART - 1) // PART)
    for thread in prange(threads):
        weights, some = np.empty(POINTS * BLOCK, np.float32), np.zeros(POINTS * BLOCK, np.float32)
        square, lines = np.empty(POINTS * WIDE, np.float32), np.empty(POINTS * WIDE, np.float32)
        nine, sums = np.empty(72 * WIDE, np.float32), np.empty(POINTS * SUMS, np.float32)
        for task in range(thread, tasks, threads):
            first, begin = task % groups * WIDE, task // groups * PART
            count = min(PART, tiles - begin)
            sums[:] = ZERO
            for start in range(0, channels, WIDE):
                turn_weights(weight, first, start, nine, lines, weights)
                for block in range(0, count, WIDE):
                    size = min(WIDE, count - block)
                    for i in range(size):
                        t = begin + block + i
                        y, z = t // across % down * TILE - 1, t % across * TILE - 1
                        turn_tile(x[t // (down * across)], y, z, start, square, lines, some[i * WIDE :])
                    for p in range(POINTS):
                        matrix = some[p * BLOCK : p * BLOCK + WIDE * WIDE].reshape(WIDE, WIDE)
                        into = sums[p * SUMS + block * WIDE : (p + 1) * SUMS]
                        multiply(matrix, (size + 3) // 4 * 4, WIDE, weights[p * BLOCK : (p + 1) * BLOCK], into)
            added = bias[first : first + WIDE]
            for i in range(count):
                t = begin + i
                n, y, z = t // (down * across), t // across % down * TILE, t % across * TILE
                for j in range(6):
                    result_line(sums[j * SUMS + i * WIDE :], 6 * SUMS, square[j * WIDE :], 6 * WIDE)
                for k in range(4):
                    result_line(square[k * 6 * WIDE :], WIDE, lines[k * 4 * WIDE :], WIDE)
                for k in range(min(4, height - y)):
                    for j in range(min(4, width - z)):
                        place = out[n, y + k, z + j, first : first + WIDE]
                        line = lines[(k * 4 + j) * WIDE : (k * 4 + j + 1) * WIDE]
                        for c in range(WIDE):
                            place[c] = line[c] + added[c]
