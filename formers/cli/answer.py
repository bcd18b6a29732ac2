"""`formers answer`: the answer to a question in a passage, shown in its sentence."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from formers.cli.options import AllowBin, Device, Dtype, Model, Offline, open_model
from formers.cli.output import console
from formers.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rich.text import Text

    from formers.systems.answering import Answer


def run(
    model: Model,
    questions: Annotated[list[str], typer.Argument(metavar="QUESTION...", help="One or more questions.")],
    passage: Annotated[
        str,
        typer.Option(
            "--passage", metavar="TEXT|FILE", help="Where to look: a text, a text file, or - (standard input)."
        ),
    ],
    top: Annotated[int, typer.Option("--top", min=1, metavar="N", help="The N likeliest answers.")] = 1,
    threshold: Annotated[
        float,
        typer.Option(
            "--threshold", metavar="X", help='How much likelier "no answer" must be to be said (logits; inf: never).'
        ),
    ] = 0.0,
    longest: Annotated[int, typer.Option("--longest", min=1, metavar="N", help="Most tokens of an answer.")] = 30,
    stride: Annotated[
        int,
        typer.Option(
            "--stride", min=0, metavar="N", help="Tokens that the windows of a long passage share (default: a quarter)."
        ),
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a question: answers, scores, and where they stand.")
    ] = False,
    allow_bin: AllowBin = False,
    offline: Offline = False,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Find the answer to a question in a passage."""
    if math.isnan(threshold):
        raise ConfigError("--threshold (nan) must be a number")
    text = text_of(passage)
    answerer = open_model(model, system="answering", allow_bin=allow_bin, offline=offline, dtype=dtype, device=device)
    found = answerer.answers(
        questions, [text] * len(questions), top=top, threshold=threshold, longest=longest, stride=stride
    )
    for question, answers in zip(questions, found, strict=True):
        if as_json:
            rows = [asdict(each) for each in answers]
            print(json.dumps({"question": question, "answers": rows}, ensure_ascii=False), flush=True)
        else:
            show(question if len(questions) > 1 else "", answers, text)


def text_of(passage: str) -> str:
    """--passage as a text."""
    if passage == "-":
        try:
            text = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"standard input, byte {error.start + 1}: not UTF-8; convert it with iconv") from error
    elif len(passage) < 1000 and "\n" not in passage and os.path.isfile(os.path.expanduser(passage)):
        from formers.data.files import read_text

        text = read_text(passage)
    elif " " not in passage.strip() and ("/" in passage or passage.endswith((".txt", ".md"))):
        raise DataError(f"--passage {passage}: there is no such file; give a file, or the text itself in quotes")
    else:
        text = passage
    if not text.strip():
        raise DataError(f"--passage {passage}: is empty, expected a text")
    return text


def show(question: str, answers: Sequence[Answer], passage: str) -> None:
    """Each answer with its probability, and the sentence that it stands in."""
    place = console()
    if question:
        place.print(question, style="bold", markup=False, soft_wrap=True)
    for answer in answers:
        place.print(f"{answer.score:.3f}  {answer.text or '(no answer)'}", markup=False, soft_wrap=True)
        if answer.text:
            place.print(sentence_of(answer, passage), soft_wrap=True)
    if question:
        place.print()


def sentence_of(answer: Answer, passage: str) -> Text:
    """The sentence or sentences of an answer on one line, the answer marked."""
    from rich.text import Text

    from formers.data.sentences import split_spans

    begin = end = 0
    for sentence, gap in split_spans(passage):
        after = end + len(sentence) + len(gap)
        if after <= answer.start:
            begin = after
        end = after
        if end >= answer.end:
            break
    parts = passage[begin : answer.start], passage[answer.start : answer.end], passage[answer.end : end]
    before, middle, rest = ("".join(" " if each.isspace() else each for each in part) for part in parts)
    return Text("       ") + Text(before.lstrip()) + Text(f"[{middle}]", style="bold green") + Text(rest.rstrip())
