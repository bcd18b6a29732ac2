"""What the verbs print: tables and lines that look well on a terminal and are plain text in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from formers.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 160  # a file has no width of its own


def console() -> Console:
    """Where to print; made anew each time, because a test or a caller may have put another stdout in place."""
    from rich.console import Console

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def show(*parts: Any) -> None:
    """Print tables, and text as it is: a bracket in it is no markup."""
    place = console()
    for part in parts:
        place.print(part, markup=False, soft_wrap=isinstance(part, str))


def note(text: str) -> None:
    """Print one line as it is."""
    print(text, flush=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()) -> Table:
    """A table; the columns named in `right` hold numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(Text(column), justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made


def duration(seconds: float) -> str:
    """`12 s`, `2:05` (minutes), `1:02:05`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def size(count: float) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GB" if count >= 2**30 else f"{count / 2**20:.0f} MB"


def writable(path: Path) -> Path:
    """`path`, checked before long work that ends in writing it."""
    if path.is_dir():
        raise ConfigError(f"--out {path}: is a folder, expected a file")
    if not path.parent.is_dir():
        raise ConfigError(f"--out {path}: the folder {path.parent} does not exist")
    return path
