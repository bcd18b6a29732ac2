"""`formers encode`: texts, a file, or standard input line by line as vectors: .npy, .jsonl, .parquet, or a look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from formers.cli.options import AllowBin, Device, Dtype, Model, Offline, open_model, out_file
from formers.cli.output import note, short
from formers.cli.texts import Column, Int8, Processes, Prompt, PromptName, encoded, number_format, read_texts
from formers.cli.translate import lines_of
from formers.errors import ConfigError, DataError

ENDINGS = (".npy", ".jsonl", ".parquet")
SEEN = 6  # numbers of a vector that are shown


def run(
    model: Model,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...", help="What to encode; without it, standard input is read.", show_default=False
        ),
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="Encode the lines of a file, or a column of a table.")
    ] = None,
    column: Column = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the vectors here: .npy, .jsonl or .parquet.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print text and vector as a line of JSON each.")] = False,
    prompt: Prompt = None,
    prompt_name: PromptName = None,
    dims: Annotated[
        int | None, typer.Option("--dims", min=1, metavar="N", help="Keep the first N numbers (Matryoshka models).")
    ] = None,
    normalise: Annotated[
        bool | None,
        typer.Option("--normalise/--no-normalise", help="Vectors of length one (default: as the model does)."),
    ] = None,
    drop_empty: Annotated[bool, typer.Option("--drop-empty", help="Leave out empty lines, and count them.")] = False,
    processes: Processes = 1,
    int8: Int8 = False,
    dtype: Dtype = None,
    device: Device = None,
    allow_bin: AllowBin = False,
    offline: Offline = False,
) -> None:
    """Turn texts into vectors: NumPy, JSONL or Parquet.

    Without --out, a look at them.
    """
    if texts and file:
        raise ConfigError("give texts or --file, not both")
    if column and not file:
        raise ConfigError("--column is for --file")
    if out is not None and out.suffix not in ENDINGS:
        raise ConfigError(f"--out {out}: expected a name that ends in {', '.join(ENDINGS)}")
    out_file(out)
    found = read_texts(file, column, drop_empty=drop_empty)[1] if file else given(texts, drop_empty)
    encoder = open_model(
        model, system="embedding", allow_bin=allow_bin, offline=offline, dtype=number_format(dtype, int8), device=device
    )
    vectors = encoded(
        encoder, found, prompt=prompt, prompt_name=prompt_name, dims=dims, normalise=normalise, processes=processes
    )
    if out is not None:
        write(out, found, vectors)
        typer.echo(f"wrote {out}: {vectors.shape[0]:,} x {vectors.shape[1]}, float32", err=True)
    for text, vector in [] if out is not None else zip(found, vectors, strict=True):
        if as_json:
            note(row(text, vector))
        else:
            numbers = " ".join(f"{number: .4f}" for number in vector[:SEEN])
            more = " ..." if len(vector) > SEEN else ""
            note(f"{numbers}{more} ({len(vector)})\t{short(text, 60)}")


def given(texts: list[str] | None, drop_empty: bool) -> list[str]:
    """The texts of the command line or of standard input; every line has a vector, so an empty one is refused."""
    lines = [line for group in lines_of(texts, None) for line in group]
    what = "text" if texts else "line"
    empty = [number for number, line in enumerate(lines, 1) if not line.strip()]
    if empty and not drop_empty:
        raise DataError(
            f"{what} {empty[0]} is empty ({len(empty)} of {len(lines)} are): nothing to make a vector of; "
            "remove it or give --drop-empty"
        )
    if empty:
        typer.echo(f"left out: {len(empty)} empty {what}(s)", err=True)
    if len(empty) == len(lines):
        raise DataError("there is no text to encode: give texts, --file, or lines on standard input")
    return [line for line in lines if line.strip()]


def row(text: str, vector: Any) -> str:
    """Float32 in as few digits as give it back."""
    return json.dumps({"text": text, "vector": [float(str(number)) for number in vector]}, ensure_ascii=False)


def write(out: Path, texts: list[str], vectors: Any) -> None:
    """Vectors alone (.npy), or with their texts."""
    if out.suffix == ".npy":
        import numpy as np

        np.save(out, vectors)
    elif out.suffix == ".jsonl":
        with out.open("w", encoding="utf-8") as target:
            target.writelines(row(text, vector) + "\n" for text, vector in zip(texts, vectors, strict=True))
    else:
        from formers.data.files import optional

        arrow = optional("pyarrow", "parquet", f"--out {out}")
        parquet = optional("pyarrow.parquet", "parquet", f"--out {out}")
        numbers = arrow.FixedSizeListArray.from_arrays(arrow.array(vectors.reshape(-1)), vectors.shape[1])
        parquet.write_table(arrow.table({"text": texts, "vector": numbers}), out)
