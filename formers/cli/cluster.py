"""`formers cluster`: the texts of a file in groups that say the same."""

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
from formers.errors import ConfigError


def run(
    model: Model,
    file: File,
    column: Column = None,
    threshold: Threshold = 0.75,
    smallest: Annotated[int, typer.Option("--smallest", min=1, metavar="N", help="Least texts of a group.")] = 10,
    k: Annotated[
        int | None, typer.Option("--k", min=1, metavar="N", help="N groups by k-means instead: every text is in one.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Where k-means begins.")] = 0,
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each text.")] = False,
    processes: Processes = 1,
    int8: Int8 = False,
    dtype: Dtype = None,
    device: Device = None,
    allow_bin: AllowBin = False,
    offline: Offline = False,
) -> None:
    """Put the texts of a file into groups that say the same.

    A line for each text: group, place and text, between tabs.

    Largest group first, and in it the text at its centre. Texts like no other are in no group, and counted.
    """
    from formers.systems.mining import communities, k_means

    lines_file(out)
    table, texts = read_texts(file, column, drop_empty=True)
    if k is not None and k > len(texts):
        raise ConfigError(f"--k {k}: {file} has {len(texts)} texts, expected at most as many groups")
    encoder = open_model(
        model, system="embedding", allow_bin=allow_bin, offline=offline, dtype=number_format(dtype, int8), device=device
    )
    vectors = encoded(encoder, texts, processes=processes)
    with bar("grouping") as tell:
        groups = (
            communities(vectors, threshold=threshold, smallest=smallest, tell=tell)
            if k is None
            else k_means(vectors, k, seed=seed, tell=tell)
        )
    place = table.lines or table.rows or range(1, len(texts) + 1)
    write_lines(
        out,
        (
            {"group": number, "row": place[row], "text": texts[row]}
            for number, group in enumerate(groups, 1)
            for row in group
        ),
        as_json=as_json,
    )
    inside = sum(map(len, groups))
    typer.echo(
        f"{len(groups):,} group(s) of {inside:,} of {len(texts):,} texts; {len(texts) - inside:,} in none"
        f"{f', written to {out}' if out else ''}",
        err=True,
    )
