"""What the verbs print: tables and lines that look well on a terminal and are plain text in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

EVERY = 5.0  # seconds between lines of progress where stderr is no terminal
INTERRUPTED = 130  # what a shell reports for SIGINT
PIPE_WIDTH = 160  # a file has no width of its own


def console() -> Console:
    """Where to print; made anew each time, because a caller may have put another stdout in place."""
    from rich.console import Console

    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def note(text: str = "") -> None:
    """Print one line as it is."""
    print(text, flush=True)


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
    """Print a title and a table; the columns named in `right` hold numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        made.add_column(Text(column), justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))  # Text: a bracket in a value is no markup
    place = console()
    place.print(Text(title, style="bold"), soft_wrap=True)
    place.print(made)
    place.print()


def size(count: float) -> str:
    """Bytes for people."""
    for unit, power in (("GB", 30), ("MB", 20), ("kB", 10)):
        if count >= 2**power:
            return f"{count / 2**power:.{1 if count < 10 * 2**power else 0}f} {unit}"
    return f"{count:.0f} bytes"


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr that moves with (done, of how many); a line now and then where that is no terminal."""
    if not sys.stderr.isatty():
        last = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= EVERY:
                last = time.monotonic()
                print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
