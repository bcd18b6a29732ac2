"""Sounds as pictures: the waveform above its log-mel spectrogram, one or many beside each other."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from formers.errors import shortened
from formers.pictures.figure import BLUE, MAP, new_figure, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 3.2, 2.0  # inches of one of several
LETTERS, LINES = 44, 2  # of a title
POINTS = 1200  # of a waveform that are drawn: its lowest and highest in each of so many spans
BEYOND = 8.0  # how far below the loudest the darkest colour is, in powers of e


class DrawnSound(NamedTuple):
    """A sound as it is drawn."""

    samples: NDArray[np.float32]
    """(n,)."""
    seconds: float
    log_mels: NDArray[np.float32]
    """(frames, mels), logarithms."""


def draw_sounds(sounds: Sequence[DrawnSound], titles: Sequence[str], title: str = "", *, columns: int = 0) -> Figure:
    """Sounds with their titles, row by row: waveform and spectrogram over the same seconds.

    columns: of a row; 0: one sound alone, up to four of several.
    """
    count = len(sounds)
    if not count or len(titles) != count:
        raise ValueError(f"{count} sounds need as many titles, at least one; got {len(titles)}")
    columns = min(columns or max(1, min(4, math.ceil(math.sqrt(count)))), count)
    rows = math.ceil(count / columns)
    width, height = (9.0, 4.5) if count == 1 else (WIDTH * columns, HEIGHT * rows)
    figure = new_figure(width + 0.3, height + (0.5 if title else 0.2), title)
    parts = figure.subfigures(rows, columns, squeeze=False)
    for place, (sound, text) in enumerate(zip(sounds, titles, strict=True)):
        above, below = parts[place // columns, place % columns].subplots(2, 1, sharex=True, height_ratios=(1, 2))
        draw_waveform(above, sound.samples, sound.seconds)
        draw_spectrogram(below, sound.log_mels, sound.seconds)
        wrapped = textwrap.wrap(visible(text), LETTERS if count > 1 else 3 * LETTERS)
        if len(wrapped) > LINES:
            wrapped = [*wrapped[: LINES - 1], shortened(" ".join(wrapped[LINES - 1 :]), LETTERS)]
        above.set_title("\n".join(wrapped), fontsize=8, parse_math=False)
    return figure


def draw_waveform(axes: Axes, samples: NDArray[np.float32], seconds: float) -> None:
    """The lowest and highest sample of each short span."""
    spans = [span for span in np.array_split(samples, min(POINTS, len(samples))) if len(span)]
    time = (np.arange(len(spans)) + 0.5) * seconds / len(spans)
    low, high = [float(span.min()) for span in spans], [float(span.max()) for span in spans]
    axes.fill_between(time, low, high, color=BLUE, linewidth=0.3)
    top = max(0.02, *map(abs, low), *map(abs, high))
    axes.set(ylim=(-top, top), xlim=(0, seconds))
    axes.set_yticks([-round(top, 2), 0, round(top, 2)])
    axes.tick_params(labelsize=6)


def draw_spectrogram(axes: Axes, log_mels: NDArray[np.float32], seconds: float) -> None:
    """Mel bands, low ones below, over the seconds."""
    loudest = float(log_mels.max())
    axes.imshow(
        log_mels.T, origin="lower", aspect="auto", extent=(0, seconds, 0, log_mels.shape[1]), cmap=MAP,
        vmin=max(float(log_mels.min()), loudest - BEYOND), vmax=loudest, interpolation="nearest",
    )  # fmt: skip
    axes.set_xlabel("seconds", fontsize=6)
    axes.set_ylabel("mel bands", fontsize=6)
    axes.tick_params(labelsize=6)
