"""What the verbs of sentence vectors share: texts from a file's column, a bar on stderr, the vectors, lines out."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from formers.cli.options import out_file
from formers.cli.output import note
from formers.errors import ConfigError, DataError

if TYPE_CHECKING:
    from formers.data.sources import Table
    from formers.systems.encoding import Progress, SentenceEncoder

EVERY = 5.0  # seconds between lines of progress where stderr is no terminal
Tell = Callable[[int, int], None]

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A text a line, or a column of .tsv .csv .jsonl .parquet, hf:NAME, builtin:NAME.",
        show_default=False,
    ),
]
Column = Annotated[
    str | None, typer.Option("--column", metavar="NAME", help="The column with the texts (default: the only one).")
]
Int8 = Annotated[bool, typer.Option("--int8", help="Weights of eight bits: the same as --dtype int8.")]
Processes = Annotated[
    int, typer.Option("--processes", min=1, metavar="N", help="So many processes encode, on a CPU with many cores.")
]
Prompt = Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="Put this in front of every text.")]
PromptName = Annotated[
    str | None, typer.Option("--prompt-name", metavar="NAME", help="Put the model's prompt of this name in front.")
]
Threshold = Annotated[
    float, typer.Option("--threshold", min=-1, max=1, metavar="X", help="Least cosine similarity that counts.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write .jsonl or .tsv here instead of lines on standard output."),
]


def read_texts(file: str, column: str | None, *, drop_empty: bool) -> tuple[Table, list[str]]:
    """The rows of a file and their texts; empty ones are refused, or left out and counted on stderr."""
    from formers.data.sources import read_table

    if column is None:
        column = only_column(file)
    try:
        table = read_table(file, columns=[column], drop_empty=drop_empty)
    except DataError as error:
        raise DataError(str(error).replace("set data.drop_empty = true", "give --drop-empty")) from error
    if table.dropped:
        typer.echo(f"left out: {table.dropped} empty row(s) of {file}", err=True)
    return table, table.columns[column]


def only_column(file: str) -> str:
    """The one column of a file that holds text."""
    from formers.data.files import fault, listed
    from formers.data.sources import read_table

    if file.removesuffix(".gz").endswith(".txt"):
        return "text"
    columns = read_table(file).columns
    names = [name for name, values in columns.items() if all(isinstance(v, str) or v is None for v in values)]
    if len(names) != 1 and "text" not in names:
        raise fault(file, f"the columns are {listed(columns)}; say which holds the texts: --column NAME")
    return "text" if "text" in names else names[0]


def number_format(dtype: str | None, int8: bool) -> str | None:
    """--int8 and --dtype as one."""
    if int8 and dtype not in (None, "int8"):
        raise ConfigError(f"--int8 and --dtype {dtype}: give one of them")
    return "int8" if int8 and dtype is None else dtype


@contextmanager
def bar(what: str) -> Iterator[Tell]:
    """A bar on stderr that moves with (done, of how many); a line now and then where that is no terminal."""
    if not sys.stderr.isatty():
        last = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= EVERY:
                last = time.monotonic()
                typer.echo(f"{what}: {done:,} of {total:,}", err=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def encoded(encoder: SentenceEncoder, texts: Sequence[str], **options: Any) -> Any:
    """The vectors of texts, with a bar, and on stderr how many there were, how fast, and how many were cut."""
    last: list[Progress] = []
    if encoder.note:
        typer.echo(f"note: {encoder.note}", err=True)
    with bar("encoding") as move:

        def tell(progress: Progress) -> None:
            last[:] = [progress]
            move(progress.done, progress.total)

        vectors = encoder.encode(texts, tell=tell, **options)
    for end in last:
        speed = end.done / max(end.seconds, 1e-9)
        cut = f"; {end.cut:,} ({end.cut / end.total:.1%}) cut at {encoder.length} tokens" if end.cut else ""
        typer.echo(
            f"{end.total:,} text(s), {end.tokens:,} tokens in {end.seconds:.1f} s ({speed:,.0f} texts/s){cut}", err=True
        )
    return vectors


def lines_file(out: Path | None) -> Path | None:
    """--out of lines, checked before the long work."""
    if out is not None and out.suffix not in (".tsv", ".jsonl"):
        raise ConfigError(f"--out {out}: expected a name that ends in .tsv or .jsonl")
    return out_file(out)


def write_lines(out: Path | None, rows: Iterable[dict[str, Any]], *, as_json: bool = False) -> None:
    """Rows as lines between tabs (in a file with a header), or as JSON."""
    as_json = as_json if out is None else out.suffix == ".jsonl"

    def line(row: dict[str, Any]) -> str:
        return json.dumps(row, ensure_ascii=False) if as_json else "\t".join(map(plain, row.values()))

    if out is None:
        for row in rows:
            note(line(row))
        return
    with out.open("w", encoding="utf-8") as target:
        for number, row in enumerate(rows):
            if not as_json and not number:
                target.write("\t".join(row) + "\n")
            target.write(line(row) + "\n")


def plain(value: Any) -> str:
    """A value between tabs; a text stays on its line."""
    return f"{value:.4f}" if isinstance(value, float) else " ".join(str(value).split())
