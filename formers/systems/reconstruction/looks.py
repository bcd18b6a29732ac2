"""Pictures of autoencoders: a walk through codes of two numbers, and pictures before and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from formers.errors import ConfigError
from formers.fields import Between, Natural
from formers.systems.looks import Picture
from formers.systems.picture_looks import as_bytes
from formers.systems.system import NOWHERE, Event, Origin, Typed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from formers.systems.reconstruction.data import PictureRepairs
    from formers.systems.reconstruction.system import Reconstructor

SHOWN = 8  # pictures before and after
REACH = 2.5  # standard deviations of a variational model's codes
WITHIN = (0.02, 0.98)  # of the codes of pictures


@dataclass(frozen=True, kw_only=True)
class WalkLook:
    """A look at what codes become."""

    origin: Origin = NOWHERE
    """The model."""
    picture: Annotated[str, Typed("PICTURE", positional=True, file=True)] = ""
    """Pictures whose codes say how far to walk: a folder or table (a variational model needs none)."""
    pictures: Natural = 500
    """Most pictures of a folder or table that are read."""
    side: Annotated[int, Between(2, 60)] = 20
    """Codes along each side of the grid."""


def walk(opened: Reconstructor, options: WalkLook) -> Iterator[Event]:
    """A grid of codes decoded, each between its lowest and highest in the pictures."""
    import numpy as np
    import torch

    from formers.pictures.tiles import draw_tiles
    from formers.systems.reading import reading

    config, name = opened.config, options.origin.name
    if config.code != (2,) or config.words or config.task == "colour":
        what = "documents" if config.words else f"codes of {' x '.join(map(str, config.code))} numbers"
        raise ConfigError(
            f"{name} has {what}, expected pictures with codes of two: formers train reconstruction/deep-2"
        )
    if config.skips:
        raise ConfigError(
            f"{name} has skips, so a code alone is no picture; train one without: --set model.skips=false"
        )
    low, high = np.full(2, -REACH), np.full(2, REACH)
    if options.picture:
        low, high = np.quantile(codes_of(opened, options), WITHIN, axis=0)
        high = np.maximum(high, low + 1e-3)  # pictures may be all alike
    elif not config.variational:
        what = f"pictures, a folder or a table, whose codes say how far to walk: formers inspect {name} walk FOLDER"
        raise ConfigError(f"give {what}")
    across, down = (np.linspace(low[i], high[i], options.side, dtype=np.float32) for i in (0, 1))
    codes = np.stack(np.meshgrid(across, down[::-1]), -1).reshape(-1, 2)
    with reading(opened.model):
        pictures = opened.coder.values(opened.coder.decode(opened.placed(torch.from_numpy(codes)))).float().cpu()
    tiles = as_bytes(pictures[:, : len(opened.preprocessor.mean)])
    title = f"what codes of {options.origin.short} become"
    yield Picture("walk", lambda: draw_tiles(tiles, (low, high), title))


def codes_of(opened: Reconstructor, options: WalkLook) -> Any:
    """(pictures, 2): the codes of some pictures from all over a source."""
    from formers.data.pictures import read_pictures
    from formers.systems.picture_looks import spread

    table = read_pictures(options.picture)
    return opened.encode([table.image(row) for row in spread(len(table), options.pictures)])


def before_and_after(system: Reconstructor, batches: PictureRepairs) -> Figure:
    """Some pictures as they were, as they went in (of a model that repairs), and as they came out."""
    from formers.metrics.pictures import psnr
    from formers.pictures.sheet import draw_sheet

    table = batches.order.pixels
    rows, pixels = table.read(range(min(SHOWN, len(table))))
    pictures = table.preprocessor.normalise(pixels)
    worse, mask = batches.again(pictures, rows)
    result = system.reconstruct(pictures, mask) if system.config.task == "inpaint" else system.reconstruct(worse)
    titles = [f"{value:.1f} dB" for value in psnr(result, pictures).tolist()]
    lines = [(pictures, [""] * len(rows)), (result, titles)]
    if system.config.task != "reconstruct":
        before = [f"{value:.1f} dB" for value in psnr(worse, pictures).tolist()]
        lines.insert(1, (worse, before))
    tiles = [tile for part, _ in lines for tile in as_bytes(part)]
    words = {"reconstruct": "as they are, and through the code and back"}
    title = words.get(system.config.task, "as they are, made worse, and restored")
    return draw_sheet(tiles, [text for _, names in lines for text in names], title, columns=len(rows))
