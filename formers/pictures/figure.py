"""What all pictures share: a figure and its file, colours, and tokens as labels.

matplotlib is imported when the first picture is drawn. Colours are those of viridis, PuOr, and Okabe and Ito (2008),
which all kinds of sight tell apart.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from formers.errors import DataError, shortened
from formers.files import replaced_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAP = "viridis"
BLUE, ORANGE, GREEN, RED, SKY, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
LONGEST_LABEL = 14
LARGE = 150_000  # bytes of a picture that is worth making smaller
# Tried in this order; DejaVu comes with matplotlib and has no Chinese, Japanese, Korean or Indic letters.
FONTS = """DejaVu Sans, Noto Sans CJK SC, Noto Sans CJK JP, Noto Sans, Noto Sans Devanagari, Noto Sans Thai,
Noto Sans Arabic, Arial Unicode MS, PingFang SC, Hiragino Sans, Microsoft YaHei, Yu Gothic, Malgun Gothic,
WenQuanYi Zen Hei, Droid Sans Fallback""".replace("\n", " ").split(", ")


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """An empty figure of so many inches; no window, no global state (the backend is Agg)."""
    from matplotlib import font_manager, rcParams
    from matplotlib.figure import Figure

    installed = {font.name for font in font_manager.fontManager.ttflist}
    rcParams["font.family"] = [name for name in FONTS if name in installed]
    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        lines = textwrap.wrap(visible(title), max(20, int(width * 8)))  # as many as it needs
        figure.suptitle("\n".join(lines), fontsize=13, fontweight="bold", parse_math=False)
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Write a PNG (or what the ending says) and give its path; the folder is made."""
    from PIL import Image

    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_file(path) as beside, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")  # no font has it: drawn as a box
            figure.savefig(beside, dpi=100)
            if path.suffix.lower() == ".png" and beside.stat().st_size > LARGE:
                # 256 colours are a third of the bytes; this method keeps rare ones
                image, method = Image.open(beside).convert("RGB"), Image.Quantize.MAXCOVERAGE
                image.quantize(256, method=method, kmeans=1, dither=Image.Dither.NONE).save(beside, optimize=True)
    except (OSError, ValueError) as error:  # ValueError: an ending that matplotlib cannot write
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"cannot write the picture {path}: {reason}") from error
    return path


def ink(paper: Sequence[float]) -> str:
    """Black or white, whichever is read better on this colour."""
    red, green, blue = paper[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def visible(piece: str) -> str:
    """A piece as it can be printed: a word's mark as the space that it is, line breaks and controls as signs."""
    text = piece.replace("▁", " ").replace("\n", "↵").replace("\t", "⇥")
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)


def label(piece: str, longest: int = LONGEST_LABEL) -> str:
    """A piece without the space before it, cut when long."""
    return shortened(visible(piece).strip() or "␣", longest)


def numbered(count: int, most: int) -> range:
    """The places, evenly from 0, of at most so many ticks."""
    return range(0, count, max(1, -(-count // most)))


def token_labels(axes: Axes, queries: Sequence[str], keys: Sequence[str], side: float) -> None:
    """Token labels that do not overlap: smaller where there are many, not all where there are too many."""
    for axis, names in ((axes.xaxis, keys), (axes.yaxis, queries)):
        room = side * 72 * 0.75 / len(names)  # points for each label
        places = numbered(len(names), max(1, int(len(names) * room / 6.5)))
        size = min(10.0, max(5.5, 0.85 * room * places.step))
        axis.set_ticks(places, [label(names[i]) for i in places], fontsize=size, parse_math=False)
    axes.tick_params(axis="x", rotation=90, length=2)
    axes.tick_params(axis="y", length=2)
