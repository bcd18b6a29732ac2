"""The verbs of painters: what they take, what they give."""

from __future__ import annotations

import base64
import io
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from formers.errors import ConfigError, FormersError
from formers.files import replace_file
from formers.systems.painting.options import AXES, Painting
from formers.systems.system import Event, Progress

if TYPE_CHECKING:
    from formers.systems.painting.paint import Painted
    from formers.systems.painting.preview import LivePreview
    from formers.systems.painting.system import Painter

SHARP = 150  # pixels of a picture from which on a sheet has twice as many


@dataclass(frozen=True)
class PaintedPicture:
    """A picture, or a sheet of them."""

    prompt: str
    seed: int
    size: str
    """Width and height, as 512x512."""
    seconds: float
    png: str
    """The PNG file in base64; its text says how it was painted."""
    endings: tuple[str, ...] = field(default=(".png",), metadata={"json": False})

    def line(self) -> str:
        return f"{self.prompt}\tseed {self.seed}\t{self.size}\t{self.seconds:.1f} s"

    def write(self, path: Path) -> Path:
        """Under this name, or the next one that is free: name-1.png, name-2.png ... No picture is ever lost."""
        free = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(1))
        path = next(other for other in itertools.chain([path], free) if not other.is_file())
        replace_file(path, base64.b64decode(self.png))
        return path


def paint(model: Painter, options: Painting) -> Iterator[Event]:
    """Each picture as it is finished, or one sheet of all; what is finished stays, whatever comes after."""
    from formers.systems.painting.preview import LivePreview

    painting = requested(options)
    asked = options.again or "prompt" in options.given.names or (options.grid and "prompt" in options.grid_axes())
    if not painting.prompt and not asked and model.parts.text:
        raise ConfigError('there is no prompt: say what to paint, such as "a red circle above a blue square"')
    preview = LivePreview(model.hastened(painting.fast), options.preview) if options.preview else None
    try:
        yield from (sheet if painting.grid else pictures)(model, painting, preview)
    finally:
        if preview is not None:
            preview.write()


def requested(options: Painting) -> Painting:
    """What is to be painted: the options, or those of the file to paint again with what is given beside it."""
    axes, prompt = options.axes, {}
    if options.grid and options.again and options.prompt.partition("=")[0] in AXES:  # no prompt but a second axis
        axes, prompt = (options.prompt, *axes), {"prompt": ""}
    if not options.again:
        return options
    from formers.systems.painting.png import painting_of

    names = [name for name in options.given.names if name not in ("again", "preview", *prompt)]
    changes = {name: getattr(options, name) for name in names}
    return painting_of(options.again, {**changes, "axes": axes, "origin": options.origin})


def pictures(model: Painter, painting: Painting, preview: LivePreview | None) -> Iterator[Event]:
    """The pictures of a painting with their progress."""
    from formers.systems.painting.paint import Painted

    begin = time.perf_counter()
    for event in model.paint(painting):
        if isinstance(event, Painted):
            seconds, begin = time.perf_counter() - begin, time.perf_counter()
            yield result_of(event, seconds)
            continue
        if preview is not None:
            preview.follow(event)
        yield Progress(event.step, event.steps, "painting")


def sheet(model: Painter, painting: Painting, preview: LivePreview | None) -> Iterator[Event]:
    """All combinations of a grid as one sheet; of an interrupted one those that are finished."""
    from formers.systems.painting.additions import with_loras
    from formers.systems.painting.paint import Painted, plans_of, settled

    cells = [(label, replace(cell, lora=())) for label, cell in painting.cells()]  # merged once for all of them
    counts = [sum(len(plan.legs) for plan in plans_of(model, settled(model, cell))) for _, cell in cells]
    tiles: list[tuple[str, Painted]] = []
    begin, done, total = time.perf_counter(), 0, sum(counts)
    try:
        with with_loras(model.parts, painting.lora):
            for (label, cell), count in zip(cells, counts, strict=True):
                for event in model.paint(cell):
                    if isinstance(event, Painted):
                        tiles.append((label, event))
                        continue
                    if preview is not None:
                        preview.follow(event)
                    yield Progress(done + event.step, total, "painting")
                done += count
    except (KeyboardInterrupt, FormersError):
        if tiles:
            yield drawn(painting, tiles, time.perf_counter() - begin)
        raise
    yield drawn(painting, tiles, time.perf_counter() - begin)


def result_of(painted: Painted, seconds: float) -> PaintedPicture:
    """The PNG file of a picture, with the text that paints it again."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from formers.systems.painting.png import chunks

    text, content, painting = PngInfo(), io.BytesIO(), painted.painting
    for name, value in chunks(painting).items():
        text.add_text(name, value)
    image = Image.fromarray(painted.pixels)
    image.save(content, "PNG", pnginfo=text)
    return encoded(painting, f"{image.width}x{image.height}", content.getvalue(), seconds)


def drawn(painting: Painting, tiles: Sequence[tuple[str, Painted]], seconds: float) -> PaintedPicture:
    """The PNG file of a sheet, with the text that paints it again."""
    from formers.pictures.sheet import draw_sheet
    from formers.systems.painting.png import chunks

    columns = len(next(iter(painting.grid_axes().values())))
    figure = draw_sheet(
        [painted.pixels for _, painted in tiles], [label for label, _ in tiles], painting.prompt, columns=columns
    )
    height, width = tiles[0][1].pixels.shape[:2]
    content = io.BytesIO()
    text = {**chunks(painting), "Software": None}  # else matplotlib writes its name
    figure.savefig(content, format="png", dpi=200 if max(height, width) > SHARP else 100, metadata=text)
    return encoded(painting, f"{width}x{height}", content.getvalue(), seconds)


def encoded(painting: Painting, size: str, png: bytes, seconds: float) -> PaintedPicture:
    return PaintedPicture(painting.prompt, painting.seed, size, seconds, base64.b64encode(png).decode("ascii"))
