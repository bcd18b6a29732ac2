"""Pictures with their labels and captions: tables of media whose files are pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from formers.data.media import MediaTable, read_media
from formers.data.medium import PICTURES

PictureTable = MediaTable


def read_pictures(source: str | Path, *, image: str = "image", **options: Any) -> PictureTable:
    """The pictures of `source`; image: the column of pictures of tables; the others are those of `read_media`."""
    return read_media(PICTURES, source, files=image, **options)
