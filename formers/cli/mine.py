"""`formers mine`: the pairs of a file's texts that say the same, most alike first."""

from __future__ import annotations

from typing import Annotated

import typer

from formers.cli.options import AllowBin, Device, Dtype, Model, Offline, open_model
from formers.cli.texts import (
    Column,
    File,
    Int8,
    Out,
    Processes,
    Threshold,
    bar,
    encoded,
    lines_file,
    number_format,
    read_texts,
    write_lines,
)


def run(
    model: Model,
    file: File,
    column: Column = None,
    threshold: Threshold = 0.75,
    top: Annotated[
        int, typer.Option("--top", min=0, metavar="N", help="Each text brings in its N nearest at most (0: all).")
    ] = 100,
    most: Annotated[int, typer.Option("--most", min=1, metavar="N", help="Print the N most alike pairs.")] = 500_000,
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each pair.")] = False,
    processes: Processes = 1,
    int8: Int8 = False,
    dtype: Dtype = None,
    device: Device = None,
    allow_bin: AllowBin = False,
    offline: Offline = False,
) -> None:
    """Find the pairs of a file that say the same.

    A line for each: score, the two places and the two texts, between tabs.

    Empty rows are left out and counted; a text that stands twice is found as a pair of similarity 1.
    """
    from formers.systems.mining import mine

    lines_file(out)
    table, texts = read_texts(file, column, drop_empty=True)
    encoder = open_model(
        model, system="embedding", allow_bin=allow_bin, offline=offline, dtype=number_format(dtype, int8), device=device
    )
    vectors = encoded(encoder, texts, processes=processes)
    with bar("comparing") as tell:
        pairs = mine(vectors, threshold=threshold, top=top, most=most, tell=tell)
    place = table.lines or table.rows or range(1, len(texts) + 1)
    write_lines(
        out,
        (
            {
                "score": each.score,
                "row1": place[each.first],
                "row2": place[each.second],
                "text1": texts[each.first],
                "text2": texts[each.second],
            }
            for each in pairs
        ),
        as_json=as_json,
    )
    typer.echo(
        f"{len(pairs):,} pair(s) of {len(texts):,} texts at {threshold:g} or more"
        f"{f', written to {out}' if out else ''}",
        err=True,
    )
