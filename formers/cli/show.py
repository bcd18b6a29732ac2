"""The results of a verb: plain lines in a pipe, colours and tables on a terminal, JSON, a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import typer

from formers.cli.output import bar, console, note, show_table
from formers.errors import ConfigError
from formers.files import text_file, try_file
from formers.phrases import short
from formers.systems.system import (
    Coloured,
    Event,
    Gathered,
    Piece,
    Progress,
    Remark,
    Report,
    Result,
    ResultTable,
    Tabled,
    Written,
    record,
)

LINES = ("", ".txt", ".tsv")  # endings of files of text


@dataclass
class Output:
    """Where results go: standard output, or --out; checked before the work that ends in it."""

    path: Path | None = None
    given_json: bool = False
    endings: tuple[str, ...] = ()
    """What the name of the file must end in; none: anything."""

    def __post_init__(self) -> None:
        if self.path is not None and self.endings and self.path.suffix not in self.endings:
            wanted = " or ".join(filter(None, [", ".join(self.endings[:-1]), self.endings[-1]]))
            raise ConfigError(f"--out {self.path}: expected a name that ends in {wanted}")
        self.as_json = self.given_json or (self.path is not None and self.path.suffix in (".jsonl", ".json"))
        if self.path is not None and self.path.is_dir():
            raise ConfigError(f"--out {self.path}: is a folder, expected a file")
        if self.path is not None and not self.path.parent.is_dir():
            raise ConfigError(f"--out {self.path}: the folder {self.path.parent} does not exist")
        if self.path is not None:
            try_file(self.path)


def show(events: Iterable[Event], output: Output) -> None:
    """Every result as it comes: a line to standard output or to the file, or the file that it is."""
    with ExitStack() as stack:
        if isinstance(events, Generator):  # after a fault here, what it holds is given back at once
            stack.callback(events.close)
        target: TextIO | None = None
        streamed = ""
        for event in apart(with_progress(events), output):
            match event:
                case Remark(text):
                    typer.echo(text, err=True)
                    continue
                case Piece(text):
                    if output.path is None and not output.as_json:
                        sys.stdout.write(text)
                        sys.stdout.flush()
                        streamed += text
                    continue
            if streamed:  # the text is there already: only what its result says beside it is to come
                assert not isinstance(event, Progress)
                note(event.line().removeprefix(streamed))
                streamed = ""
                continue
            if isinstance(event, Report):
                write_report(event, output)
            elif isinstance(event, Written) and output.path is not None and not output.as_json:
                save(event, output.path)
            elif output.path is None:
                shown(event, output.as_json)
            else:
                target = target or stack.enter_context(text_file(output.path))
                write(event, output, target)


def apart(events: Iterable[Result | Piece | Remark], output: Output) -> Iterator[Result | Piece | Remark]:
    """The events, results that were gathered for people each by itself where programs read them."""
    for event in events:
        drawn = isinstance(event, Written) and event.endings and output.path and output.path.suffix not in LINES
        if isinstance(event, Gathered) and (output.as_json or (output.path is not None and not drawn)):
            yield from event.results()
        else:
            yield event


def write(result: Any, output: Output, target: TextIO) -> None:
    """A result as a line of a file: JSON; fields between tabs, the first with a header; or its plain text."""
    assert output.path is not None
    if output.as_json:
        target.write(json.dumps(record(result), ensure_ascii=False) + "\n")
    elif output.path.suffix == ".tsv":
        fields = record(result)
        if not target.tell():
            target.write("\t".join(fields) + "\n")
        target.write("\t".join(map(plain, fields.values())) + "\n")
    else:
        target.write(result.line() + "\n")
    target.flush()


def save(result: Written, path: Path) -> None:
    """A result that is a file."""
    if path.suffix not in result.endings:
        raise ConfigError(f"--out {path}: expected a name that ends in {', '.join(result.endings)}")
    typer.echo(f"wrote {result.write(path) or path}", err=True)


def shown(result: Any, as_json: bool) -> None:
    """A result on standard output."""
    if as_json:
        note(json.dumps(record(result), ensure_ascii=False))
    elif isinstance(result, Coloured) and console().is_terminal:
        from rich.text import Text

        console().print(Text.assemble(*result.spans()), soft_wrap=True)
    elif isinstance(result, Tabled):
        draw_table(result.table())
    else:
        note(result.line())


def write_report(report: Report, output: Output) -> None:
    """A report is shown, and what belongs to it is written to --out."""
    if output.path is not None and output.path.suffix not in report.files and "" not in report.files:
        endings = f"; it can be written as {', '.join(report.files)}" if report.files else "; leave it out"
        raise ConfigError(f"--out {output.path}: this report has no such file{endings}")
    if output.given_json:
        note(json.dumps(record(report), ensure_ascii=False))
    else:
        show_report(report)
    if output.path is not None:
        write_file = report.files.get(output.path.suffix) or report.files[""]
        write_file(output.path)
        typer.echo(f"wrote {output.path}", err=output.given_json)


def show_report(report: Report) -> None:
    """The scores with a word to each, then tables, examples and notes."""
    rows = [(score.name.replace("_", " "), score.text, report.remarks.get(score.name, "")) for score in report.scores]
    names = {score.name for score in report.scores}
    rows += [(name, "", text) for name, text in report.remarks.items() if name not in names]
    if rows:
        show_table(report.title, ["score", "value", "what"], rows, right=["value"])
    for table in report.tables:
        draw_table(table)
    lines: list[tuple[str, str]] = []
    for example in report.examples:
        lines += [*((name, short(text)) for name, text in example.items()), ("", "")]
    if lines:
        show_table("examples", ["", "text"], lines[:-1])
    for text in report.notes:
        note(text)


def draw_table(table: ResultTable) -> None:
    show_table(table.title, table.columns, table.rows, right=table.right)


def plain(value: Any) -> str:
    """A value between tabs; a text stays on its line."""
    return f"{value:.4f}" if isinstance(value, float) else " ".join(str(value).split())


def with_progress(events: Iterable[Event]) -> Iterator[Result | Piece | Remark]:
    """The events but for progress, which moves a bar on stderr."""
    with ExitStack() as stack:
        move, what = None, None
        for event in events:
            if isinstance(event, Progress):
                if move is None or what != event.what:
                    stack.close()
                    move, what = stack.enter_context(bar(event.what)), event.what
                move(event.done, event.total)
            else:
                stack.close()
                move = None
                yield event
