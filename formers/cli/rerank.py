"""`formers rerank`: passages ordered by how well they fit a query; the model reads both together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from formers.cli.classify import classifying
from formers.cli.options import AllowBin, Device, Dtype, Model, Offline, open_model
from formers.cli.output import note
from formers.cli.translate import lines_of
from formers.errors import ConfigError, DataError


def run(
    model: Model,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What the passages are held against.")],
    passages: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PASSAGE]...", help="What to order; without it, the lines of standard input.", show_default=False
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Order the lines of a file.")] = None,
    top: Annotated[int | None, typer.Option("--top", min=1, metavar="N", help="Print the N best only.")] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", metavar="NAME", help="The label whose probability is the score (of two: the second)."),
    ] = None,
    windows: Annotated[
        bool,
        typer.Option("--windows", help="Read long passages in overlapping windows, averaged, instead of cutting them."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each passage.")] = False,
    allow_bin: AllowBin = False,
    offline: Offline = False,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Order passages by how well they fit a query, reading both together.

    Prints score, tab, passage, best first; empty lines are left out and counted.
    """
    if passages and file:
        raise ConfigError("give passages or --file, not both")
    lines = [line for group in lines_of(passages, file) for line in group]
    kept = [line for line in lines if line.strip()]
    if not kept:
        raise DataError("there is no passage to order: give passages, --file, or lines on standard input")
    classifier = classifying(
        model,
        open_model(model, system="classification", allow_bin=allow_bin, offline=offline, dtype=dtype, device=device),
    )
    places = [place for place, line in enumerate(lines, 1) if line.strip()]
    for each in classifier.rerank(query, kept, top=top, label=label, windows=windows):
        if as_json:
            note(json.dumps({"place": places[each.place], "score": each.score, "text": each.text}, ensure_ascii=False))
        else:
            note(f"{each.score:.4f}\t{each.text}")
    if len(kept) < len(lines):
        typer.echo(f"left out: {len(lines) - len(kept)} empty line(s)", err=True)
