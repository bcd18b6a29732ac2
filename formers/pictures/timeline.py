"""What is heard in each second of a sound: its waveform and spectrogram, and below them how likely labels are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from formers.pictures.figure import MAP, label, new_figure
from formers.pictures.sounds import DrawnSound, draw_spectrogram, draw_waveform

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_timeline(
    sound: DrawnSound, probabilities: Sequence[Sequence[float]], labels: Sequence[str], title: str = ""
) -> Figure:
    """probabilities: of each second, one for each label. Of a long sound only the beginning is drawn above."""
    seconds = len(probabilities)
    figure = new_figure(min(16.0, 6.0 + seconds / 8), 3.6 + 0.26 * len(labels), title)
    above: Any
    above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=(1, 2, 0.5 + 0.26 * len(labels)))
    draw_waveform(above, sound.samples, sound.seconds)
    draw_spectrogram(middle, sound.log_mels, sound.seconds)
    middle.set_xlabel("")
    table = np.asarray(probabilities).T
    image = below.imshow(
        table, aspect="auto", extent=(0, seconds, len(labels), 0), cmap=MAP, vmin=0, vmax=1, interpolation="nearest"
    )
    below.set_yticks(np.arange(len(labels)) + 0.5, [label(name, 24) for name in labels], fontsize=8, parse_math=False)
    below.set_xlabel("seconds", fontsize=8)
    below.set_xlim(0, max(seconds, sound.seconds))
    below.tick_params(labelsize=7)
    figure.colorbar(image, ax=below, pad=0.01, aspect=12, label="probability")
    return figure
