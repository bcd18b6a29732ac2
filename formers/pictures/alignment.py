"""Which sound each token was written from: the spectrogram, and below it the attention of every token over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from formers.pictures.figure import MAP, ORANGE, label, new_figure, numbered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, TALL = 12.0, 9.0  # inches; of many tokens
MOST = 60  # of them that are named


def draw_alignment(
    mels: NDArray[np.float32],
    weights: NDArray[np.float32],
    tokens: Sequence[str],
    words: Sequence[tuple[str, float, float]],
    title: str,
) -> Figure:
    """mels (frames, bands) and weights (tokens, positions) of the same time; words with their start and end in seconds,
    a frame is 10 ms.
    """
    seconds, height = len(mels) / 100, min(TALL, 1.5 + 0.2 * len(tokens))
    figure = new_figure(WIDTH, 3 + height, title)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, height])
    above.imshow(mels.T, origin="lower", aspect="auto", cmap=MAP, extent=(0, seconds, 0, mels.shape[1]))
    above.set_ylabel("mel band")
    for text, start, end in words:
        above.axvline(start, color="white", linewidth=0.6)
        style = {"rotation": 90, "fontsize": 8, "color": "white", "ha": "center", "va": "top", "parse_math": False}
        above.text((start + end) / 2, 0.97 * mels.shape[1], label(text), **style)
    peaks = weights / np.maximum(weights.max(1, keepdims=True), 1e-12)
    below.imshow(peaks, aspect="auto", cmap=MAP, extent=(0, seconds, len(tokens) - 0.5, -0.5), interpolation="nearest")
    places = numbered(len(tokens), MOST)
    below.set_yticks(places, [label(tokens[i]) for i in places], fontsize=8, parse_math=False)
    below.set_xlabel("seconds")
    for _, start, _ in words:
        below.axvline(start, color=ORANGE, linewidth=0.5, alpha=0.6)
    return figure
