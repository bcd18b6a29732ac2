"""`formers fill`: words that fit where a text has a mask; of an ELECTRA discriminator: words that do not fit."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from formers.cli.generate import standard_input
from formers.cli.options import AllowBin, Device, Dtype, Model, Offline, open_model
from formers.cli.output import note, short, show_table
from formers.errors import DataError

if TYPE_CHECKING:
    from formers.systems.masked import MaskedModel


def run(
    model: Model,
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="A text with [MASK]; -: one on each line of standard input.")
    ],
    top: Annotated[int, typer.Option("--top", min=1, metavar="N", help="Words for each mask.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each text.")] = False,
    allow_bin: AllowBin = False,
    offline: Offline = False,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Say which words fit where a text has [MASK].

    Each with its probability.

    Several masks are filled independently. An ELECTRA discriminator fills nothing: of every token of the text it says
    how probable it is that somebody has replaced it.
    """
    from formers.models.heads import ReplacedTokens

    texts = [line for line in standard_input().split("\n") if line.strip()] if text == "-" else [text]
    if not texts:
        raise DataError("standard input has no text, expected one on each line")
    opened: MaskedModel = open_model(
        model, system="masked", allow_bin=allow_bin, offline=offline, dtype=dtype, device=device
    )
    if isinstance(opened.model, ReplacedTokens):
        for each in texts:
            show_suspects(opened, each, as_json)
        return
    for each, found in zip(texts, opened.fill(texts, top=top), strict=True):
        if as_json:
            masks = [[asdict(candidate) for candidate in gap] for gap in found]
            note(json.dumps({"text": each, "masks": masks}, ensure_ascii=False))
            continue
        for number, gap in enumerate(found, 1):
            rows = [(f"{word.probability:.4f}", word.word, short(word.text)) for word in gap]
            title = short(each) if len(found) == 1 else f"{short(each)}, mask {number}"
            show_table(title, ["probability", "word", "text"], rows, right=["probability"])


def show_suspects(opened: MaskedModel, text: str, as_json: bool) -> None:
    """A line for each token, and how probable it is that it was replaced."""
    found = opened.detect(text)
    if as_json:
        note(json.dumps({"text": text, "tokens": [asdict(each) for each in found]}, ensure_ascii=False))
        return
    rows = [(f"{each.probability:.4f}", each.word, "replaced" if each.probability > 0.5 else "") for each in found]
    show_table(short(text), ["probability", "token", ""], rows, right=["probability"])
