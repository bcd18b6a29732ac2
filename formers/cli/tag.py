"""`formers tag`: a label for every word, or the entities, of texts, a file, or standard input line by line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from formers.cli.options import AllowBin, Device, Dtype, Model, Offline, open_model
from formers.cli.output import console
from formers.cli.translate import lines_of
from formers.errors import ConfigError

if TYPE_CHECKING:
    from rich.text import Text

    from formers.systems.tagging import Tag

COLOURS = (
    "cyan",
    "green",
    "magenta",
    "yellow",
    "blue",
    "red",
    "bright_cyan",
    "bright_green",
    "bright_magenta",
    "bright_yellow",
    "bright_blue",
    "bright_red",
)


def run(
    model: Model,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...", help="What to tag; without it, standard input is read.", show_default=False
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Tag the lines of a file.")] = None,
    words: Annotated[
        bool, typer.Option("--words", help="Split texts at spaces only (default: as the tokenizer does).")
    ] = False,
    every: Annotated[
        bool, typer.Option("--every", help="Every word with its own label, also where labels make entities (B-, I-).")
    ] = False,
    stride: Annotated[
        int,
        typer.Option(
            "--stride", min=0, metavar="N", help="Tokens that the windows of a long text share (default: a quarter)."
        ),
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a text: labels, scores, and where the words are.")
    ] = False,
    allow_bin: AllowBin = False,
    offline: Offline = False,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Give every word of a text its label."""
    if texts and file:
        raise ConfigError("give texts or --file, not both")
    groups = lines_of(texts, file)  # a file is read, and its faults found, before the model
    tagger = open_model(model, system="tagging", allow_bin=allow_bin, offline=offline, dtype=dtype, device=device)
    tagger.needs_reader()
    for group in groups:
        sentences = [text.split() for text in group] if words else group
        for text, tags in zip(sentences, tagger.tag_all(sentences, join=not every, stride=stride), strict=True):
            whole = text if isinstance(text, str) else " ".join(text)
            if as_json:
                result = {"text": whole, "tags": [asdict(tag) for tag in tags]}
                print(json.dumps(result, ensure_ascii=False), flush=True)
            elif tagger.entities and not every:
                show_entities(whole, tags, tagger.labels)
            else:
                show_words(tags, tagger.labels)


def show_words(tags: Sequence[Tag], labels: Sequence[str]) -> None:
    """The words, and below each its label, in as many pairs of lines as it takes."""
    place = console()
    for above, below in rows_of(tags, labels, place.width):
        place.print(above, soft_wrap=True)
        place.print(below, soft_wrap=True)
    place.print()


def rows_of(tags: Sequence[Tag], labels: Sequence[str], width: int) -> Iterator[tuple[Text, Text]]:
    """(words, labels) of lines of at most `width`, aligned."""
    from rich.cells import cell_len
    from rich.text import Text

    above, below = Text(), Text()
    for tag in tags:
        label = tag.label or "-"
        wide = max(cell_len(tag.text), cell_len(label)) + 2
        if above and cell_len(above.plain) + wide > width:
            yield above, below
            above, below = Text(), Text()
        above.append(tag.text + " " * (wide - cell_len(tag.text)))
        below.append(label + " " * (wide - cell_len(label)), style=colour(tag.label, labels))
    if above:
        yield above, below


def show_entities(text: str, tags: Sequence[Tag], labels: Sequence[str]) -> None:
    """The text with its entities in colour and brackets."""
    from rich.text import Text

    shown, at = Text(), 0
    for tag in tags:
        shown.append(text[at : tag.start])
        shown.append(f"[{tag.text}]({tag.label} {tag.score:.2f})", style=colour(tag.label, labels))
        at = tag.end
    shown.append(text[at:])
    console().print(shown, soft_wrap=True)
    sys.stdout.flush()


def colour(label: str, labels: Sequence[str]) -> str:
    """The same for a label everywhere."""
    kinds = sorted({each.partition("-")[2] or each for each in labels})
    name = label.partition("-")[2] or label
    return COLOURS[kinds.index(name) % len(COLOURS)] if name in kinds else ""
