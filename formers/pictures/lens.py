"""The logit lens: what each layer would say after each token, coloured by its probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from formers.pictures.figure import MAP, ink, label, new_figure, numbered

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_lens(
    tokens: Sequence[str],
    following: Sequence[str],
    answers: Sequence[Sequence[str]],
    probabilities: NDArray[np.float32],
    title: str,
) -> Figure:
    """answers[layer][position] and its probability; layer 0 is the embedding.

    following: what the text goes on with after each token ("" for the last).
    """
    rows, columns = probabilities.shape
    figure = new_figure(max(6.5, 0.78 * columns + 2.2), 0.25 * rows + 2.2, title)
    axes = figure.subplots()
    image = axes.imshow(probabilities, cmap=MAP, vmin=0, vmax=1, aspect="auto", origin="lower")
    for row, column in np.ndindex(rows, columns):
        name, colour = label(answers[row][column], 10), ink(image.cmap(float(probabilities[row, column])))
        size = 8 if any(letter.isalnum() for letter in name) else 11
        axes.text(column, row, name, ha="center", va="center", fontsize=size, color=colour, parse_math=False)
    top = axes.secondary_xaxis("top")
    for axis, pieces, what in (
        (axes, tokens, "token that was read"),
        (top, following, "token that the text goes on with"),
    ):
        names = [label(piece, 10) if piece else "?" for piece in pieces]
        axis.set_xticks(range(columns), names, fontsize=7.5, parse_math=False)
        axis.set_xlabel(what)
    layers = ["embedding", *(str(i) for i in range(1, rows - 1)), f"{rows - 1}: output"]
    places = sorted({*numbered(rows, 40), rows - 1})
    axes.set_yticks(places, [layers[i] for i in places], fontsize=8)
    axes.set_ylabel("after layer")
    axes.set_xticks(np.arange(columns - 1) + 0.5, minor=True)
    axes.grid(which="minor", axis="x", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    top.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="probability of the token shown", pad=0.01, aspect=40)
    return figure
