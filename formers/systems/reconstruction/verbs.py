"""The verbs of autoencoders: what they take, what they give."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from formers.data.medium import PICTURES
from formers.errors import ConfigError, DataError
from formers.fields import Part, check
from formers.files import expanded, replace_file
from formers.systems.measure import ALL_MEDIA, MeasureMedia, measured
from formers.systems.media import unwrapped
from formers.systems.pictures import Pictures
from formers.systems.system import Event, Progress, Remark, Typed
from formers.systems.vectors.encoded import EncodedInputs, EncodeEither, encoded_pictures

if TYPE_CHECKING:
    from PIL.Image import Image

    from formers.systems.reconstruction.system import Reconstructor

SHEET = 24  # pictures of a sheet


@dataclass(frozen=True, kw_only=True)
class Restore:
    """What to restore, and where."""

    pictures: Pictures
    """Pictures: files, folders with all below them, patterns; - is one on standard input."""
    task: Literal["", "reconstruct", "denoise", "inpaint", "colour"] = ""
    """What to do; a model does what it was trained for and nothing else (default: that)."""
    mask: Annotated[str, Typed("PICTURE", file=True, inline=True)] = ""
    """A picture that is white where something is to be filled in (inpaint); of several pictures a folder with one of
    the same name for each, or one for all."""
    resize: bool = False
    """Bring pictures of another size to the model's, and what comes out back."""
    into: Annotated[str, Typed("FOLDER", file=True)] = ""
    """Folder to write every picture to, under its own name as .png."""
    sheet: bool = False
    """One picture of some of them before and after (--out SHEET.png)."""

    def __post_init__(self) -> None:
        check(self)
        if len(self.pictures) > 1 and not self.into and not self.sheet:
            raise ConfigError(f"got {len(self.pictures):,} pictures: give --into FOLDER, or --sheet --out SHEET.png")


@dataclass(frozen=True)
class RestoredPicture:
    """A picture as it came out."""

    picture: str
    """Its name."""
    png: str
    """The picture itself, a PNG file in base64."""
    written: str | None = None
    """The file that it was written to."""
    endings: tuple[str, ...] = field(default=(".png",), metadata={"json": False})

    def line(self) -> str:
        return f"{self.picture}\t{self.written or 'restored; keep it with --out FILE.png'}"

    def write(self, path: Path) -> None:
        replace_file(path, base64.b64decode(self.png))


def reconstruct(model: Reconstructor, options: Restore) -> Iterator[Event]:
    """Each picture as it comes out of the model."""
    from PIL.Image import fromarray

    from formers.systems.looks import Picture

    check_task(model, options)
    folder = expanded(options.into) if options.into else None
    shown: list[tuple[str, Image, Any]] = []
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    names, done = written_names(options.pictures.names), 0

    def work(group: Sequence[tuple[str, Image]]) -> Iterator[Event]:
        nonlocal done
        ((name, image),) = group
        pixels, remark = restore(model, name, image, options)
        done += 1
        if remark:
            yield Remark(remark)
        if options.sheet and len(shown) < SHEET:
            shown.append((name, image, pixels))
        content = io.BytesIO()
        fromarray(pixels).save(content, "PNG")
        encoded = base64.b64encode(content.getvalue()).decode("ascii")
        target = None if folder is None else folder / names[name]
        result = RestoredPicture(name, encoded, None if target is None else str(target))
        if target is not None:
            result.write(target)
        if len(options.pictures) > 1:
            yield Progress(done, len(options.pictures), "restoring")
        if not options.sheet:
            yield result if folder is None else RestoredPicture(name, encoded, str(target), endings=())

    yield from options.pictures.worked(work, alone=True)
    if options.sheet:
        yield Picture("before and after", partial(sheet_of, shown), endings=(".png", ".pdf"))


def check_task(model: Reconstructor, options: Restore) -> None:
    """Refuse what the model was not trained for. Raises ConfigError."""
    task = model.config.task
    assert model.preprocessor is not None  # which refuses a model of documents
    if options.task and options.task != task:
        raise ConfigError(
            f"--task {options.task}: this model was trained to {task}; leave --task out, or train another"
        )
    if task == "inpaint" and not options.mask:
        raise ConfigError("this model fills holes: give --mask MASK.png, a picture that is white where they are")
    if task != "inpaint" and options.mask:
        raise ConfigError(
            f"--mask is for a model that was trained to inpaint, but this one was to {task}; leave it out"
        )


def restore(model: Reconstructor, name: str, image: Image, options: Restore) -> tuple[Any, str]:
    """(height, width, 3) or grey (height, width), uint8, of what comes out, and what is to be said of it.

    Raises DataError with the picture's name.
    """
    import numpy as np
    import torch

    from formers.images.colour import is_grey
    from formers.systems.picture_looks import as_bytes

    mode = "L" if len(model.preprocessor.mean) == 1 else "RGB"
    read = partial(torch.as_tensor, dtype=torch.float32)
    picture = read(np.array(image.convert(mode))).reshape(1, image.height, image.width, -1).permute(0, 3, 1, 2) / 255
    mask, remark = None, ""
    if options.mask:
        mask = read(np.array(mask_of(options.mask, name).convert("L")))[None, None] >= 128
    if model.config.task == "colour" and not is_grey(picture).all():
        remark = f"{name} has colours, which are ignored: only its lightness is read"
    try:
        return as_bytes(model.reconstruct(picture, mask, resize=options.resize))[0], remark
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def mask_of(mask: str, name: str) -> Image:
    """The picture that says where the holes of another are: a file, one of its name in a folder, a data: URL."""
    from formers.images.decode import decode

    if mask.startswith("data:"):
        return decode(unwrapped(PICTURES, mask, "mask"), "mask")
    place = expanded(mask)
    place = next(place.glob(f"{Path(name).stem}.*"), place / Path(name).name) if place.is_dir() else place
    return decode(place, str(place))


def written_names(names: Sequence[str]) -> dict[str, str]:
    """Under which name each picture is written; those of the same name in several folders carry their number."""
    stems: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        stem = Path(name).stem
        stems[name] = f"{stem}.png" if f"{stem}.png" not in stems.values() else f"{stem}-{number}.png"
    return stems


def sheet_of(shown: Sequence[tuple[str, Image, Any]]) -> Any:
    """Pictures before and after, side by side."""
    import numpy as np

    from formers.pictures.sheet import draw_sheet

    pairs = [(np.asarray(image), pixels) for _, image, pixels in shown]
    titles = [title for name, _, _ in shown for title in (Path(name).name, "restored")]
    return draw_sheet(
        [tile for pair in pairs for tile in pair], titles, "before and after", columns=min(8, len(titles))
    )


def encode(model: Reconstructor, options: EncodeEither) -> Iterator[Event]:
    """The code of every picture or text, as the model reads."""
    if options.texts is None:
        assert options.pictures is not None
        if model.config.words:
            raise ConfigError("this model reads texts, not pictures; give the texts themselves, or --file")
        yield from encoded_pictures(options.pictures, model.encode)
        return
    import numpy as np

    names: list[str] = []

    def work(group: Sequence[str]) -> Sequence[Any]:
        codes = model.encode_texts(group)
        names.extend(group)
        return [codes]

    parts = list(options.texts.worked(work))
    if not parts:
        raise ConfigError("no text is left to make a code of")
    yield EncodedInputs(names, np.concatenate(parts), "text")


@dataclass(frozen=True, kw_only=True)
class EvaluateReconstruction:
    """What to measure an autoencoder on."""

    data: Annotated[str, Typed("SOURCE", file=True)] = ""
    """Rows to measure with (default for a run: its test data)."""
    image: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the picture."""
    text: Annotated[str, Typed(metavar="COLUMN")] = ""
    """Column of the text."""
    measure: Annotated[MeasureMedia, Part()] = ALL_MEDIA
    """What every `evaluate` of pictures and sounds has."""


def evaluate(model: Reconstructor, options: EvaluateReconstruction) -> Iterator[Event]:
    """What comes out beside what it should be, on the rows of --data, or on a run's own test data."""
    from formers.systems.begin import judged_rows
    from formers.systems.reconstruction.data import PictureRepairs, usual_rows
    from formers.systems.reconstruction.looks import before_and_after

    usual = partial(usual_rows, model.config)
    table: Any
    rows, table = judged_rows(options, "reconstruction", usual, image="image", text="text")
    begin, origin = time.perf_counter(), options.measure.origin
    batches = model.batches(table, rows)
    report, table = model.evaluate(batches), batches.table
    if not isinstance(batches, PictureRepairs):
        yield measured(report, "reconstruction", origin, table, begin, unit="documents")
        return

    def draw(path: Path) -> None:
        from formers.pictures.figure import save

        save(before_and_after(model, batches), path)

    remarks = {"unreadable": f"{broken:,} picture(s) left out"} if (broken := report.facts["unreadable"]) else {}
    files = dict.fromkeys((".png", ".svg", ".pdf"), draw)
    yield measured(report, "reconstruction", origin, table, begin, unit="pictures", remarks=remarks, files=files)
