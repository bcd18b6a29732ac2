"""`formers translate`: texts, a file, or standard input line by line; one line out for each line in."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from formers.cli.options import AllowBin, Beams, Device, Dtype, LengthPenalty, Model, Offline, open_model, out_file
from formers.errors import ConfigError, DataError

if TYPE_CHECKING:
    from formers.systems.translation import Translation, Translator

GROUP = 64  # most lines of standard input that are translated together


def run(
    model: Model,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...", help="What to translate; without it, standard input is read.", show_default=False
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Translate the lines of a file.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write here instead of standard output.")
    ] = None,
    beams: Beams = None,
    length_penalty: LengthPenalty = None,
    nbest: Annotated[
        int,
        typer.Option(
            "--nbest", min=1, metavar="N", help="Print the N best, each as score, tab, text; texts are not split."
        ),
    ] = 1,
    scores: Annotated[
        bool, typer.Option("--scores", help="Print below each translation its tokens and their log-probabilities.")
    ] = False,
    prefix: Annotated[str, typer.Option("--prefix", metavar="TEXT", help="How every translation must begin.")] = "",
    no_split: Annotated[bool, typer.Option("--no-split", help="Do not split a text into sentences.")] = False,
    allow_bin: AllowBin = False,
    offline: Offline = False,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Translate texts, a file, or standard input line by line."""
    if texts and file:
        raise ConfigError("give texts or --file, not both")
    groups = lines_of(texts, file)  # a file is read, and its faults found, before the model
    out_file(out)
    translator = open_model(
        model, system="translation", allow_bin=allow_bin, offline=offline, dtype=dtype, device=device
    )
    translator.needs_tokenizer()
    options: dict[str, Any] = {"beams": beams, "length_penalty": length_penalty, "prefix": prefix}
    with nullcontext(sys.stdout) if out is None else out.open("w", encoding="utf-8") as target:
        for group in groups:
            if nbest > 1 or scores:
                found = translator.candidates(group, nbest=nbest, **options)
                lines = [line for each in found for line in shown(each, translator, nbest > 1, scores)]
            else:
                lines = translator.translate(group, split=not no_split, **options)
            target.writelines(line + "\n" for line in lines)
            target.flush()


def lines_of(texts: list[str] | None, file: Path | None) -> Iterable[list[str]]:
    """What to translate, in groups that are translated together."""
    if texts:
        return [texts]
    if file is not None:
        from formers.data.files import text_lines

        return [text_lines(str(file))]
    if sys.stdin.isatty():
        print("one text a line, Ctrl-D ends", file=sys.stderr)
    return typed_lines()


def typed_lines() -> Iterator[list[str]]:
    """Lines of standard input as they come: those that are there already together, at most GROUP."""
    number, rest = 0, b""
    incoming: Any = sys.stdin.buffer
    while data := incoming.read1(65536):  # what there is by now; waits where there is nothing
        *whole, rest = (rest + data).split(b"\n")
        for start in range(0, len(whole), GROUP):
            yield [decoded(line, number + i) for i, line in enumerate(whole[start : start + GROUP], start + 1)]
        number += len(whole)
    if rest:
        yield [decoded(rest, number + 1)]


def decoded(line: bytes, number: int) -> str:
    try:
        return line.decode("utf-8").removesuffix("\r")
    except UnicodeDecodeError as error:
        where = f"standard input, line {number}, byte {error.start + 1}"
        raise DataError(f"{where}: not UTF-8; convert it, for example with iconv") from error


def shown(found: list[Translation], translator: Translator, several: bool, scores: bool) -> Iterator[str]:
    """The lines of one text: its candidates, and their tokens with log-probabilities."""
    from rich.cells import cell_len

    for each in found:
        yield f"{each.score:.4f}\t{each.text}" if several and each.pieces else each.text
        if scores and each.scores:
            names = [*each.pieces, *translator.needs_tokenizer().pieces(translator.settings.stop[:1])]
            cells = [(name, f"{score:.2f}") for name, score in zip(names, each.scores, strict=False)]
            widths = [max(map(cell_len, cell)) for cell in cells]
            for row in zip(*cells, strict=True):
                yield "  " + "  ".join(
                    " " * (width - cell_len(text)) + text for text, width in zip(row, widths, strict=True)
                )
