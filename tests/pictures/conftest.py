"""Asked of every picture: something is drawn, and its file is small."""

from itertools import pairwise

from PIL import Image

from formers.pictures.figure import save

SMALL = 300_000  # bytes


def small(drawn, place) -> bool:
    return save(drawn, place).stat().st_size < SMALL


def picture(path) -> Image.Image:
    assert path.stat().st_size < 150_000
    with Image.open(path) as opened:
        opened.load()
    assert len(opened.convert("RGB").getcolors(100_000)) > 20  # something is drawn
    return opened


def labels_stand_apart(axes) -> int:
    """How many of the two axes have labels; none of these covers the one before it."""
    labelled = 0
    for axis, side in ((axes.xaxis, "x"), (axes.yaxis, "y")):
        boxes = [tick.label1.get_window_extent() for tick in axis.get_major_ticks() if tick.label1.get_visible()]
        ends = sorted((getattr(box, f"{side}0"), getattr(box, f"{side}1")) for box in boxes)
        assert all(before[1] <= after[0] + 1.5 for before, after in pairwise(ends)), side
        labelled += bool(boxes)
    return labelled
