"""`formers generate`: go on with a text, streamed to standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from formers.cli.options import (
    AllowBin,
    Device,
    Dtype,
    MaxTokens,
    MinP,
    Model,
    Offline,
    RepetitionPenalty,
    Seed,
    Stop,
    Temperature,
    TopK,
    TopP,
    open_model,
    stops,
)
from formers.cli.output import note
from formers.cli.translate import decoded

if TYPE_CHECKING:
    from formers.decoding.writer import Continuation
    from formers.systems.language import LanguageModel


def run(
    model: Model,
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="[PROMPT]",
            help="What to go on with; -: standard input. Without it, the beginning of a text.",
            show_default=False,
        ),
    ] = None,
    max_tokens: MaxTokens = 256,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    stop: Stop = None,
    seed: Seed = None,
    samples: Annotated[int, typer.Option("--samples", min=1, metavar="N", help="Write N texts.")] = 1,
    logprobs: Annotated[
        bool, typer.Option("--logprobs", help="Print below each text its tokens and their log-probabilities.")
    ] = False,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Read only the end of a prompt that is too long.")
    ] = False,
    allow_bin: AllowBin = False,
    offline: Offline = False,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Continue a text with a language model, or begin one.

    What is written comes out as it is decided: the likeliest token each time, unless an option asks for drawing.
    """
    from formers.decoding.options import DecodingOptions

    options: dict[str, Any] = {
        "max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "stop": stops(stop), "seed": seed, "truncate": truncate,
        "samples": samples,
    }  # fmt: skip
    DecodingOptions(**options)  # what is wrong with them is said before the model is read
    text = standard_input() if prompt == "-" else prompt or ""
    language = open_model(model, system="language", allow_bin=allow_bin, offline=offline, dtype=dtype, device=device)
    if samples == 1:
        writing = language.stream(text, **options)
        for piece in writing:
            sys.stdout.write(piece)
            sys.stdout.flush()
        note()
        finish(language, writing.result, max_tokens, logprobs)
        return
    for number, found in enumerate(language.generate(text, **options), 1):
        note(f"--- {number}")
        note(found.text)
        finish(language, found, max_tokens, logprobs)


def standard_input() -> str:
    """All of it, without the line feed at its end."""
    data = sys.stdin.buffer.read()
    lines = data.split(b"\n")
    return "\n".join(decoded(line, number) for number, line in enumerate(lines, 1)).removesuffix("\n")


def finish(language: LanguageModel, found: Continuation, max_tokens: int, logprobs: bool) -> None:
    """What is to be said of a text below it."""
    if logprobs:
        for line in shown(language, found):
            note(line)
    if found.reason == "length" and len(found.tokens) < max_tokens:
        longest = language.model.config.length
        print(f"formers: the text has reached the {longest:,} tokens that this model reads", file=sys.stderr)


def shown(language: LanguageModel, found: Continuation) -> Iterator[str]:
    """A line for each token: its log-probability and its text; what ended the text comes last."""
    names = language.needs_tokenizer().pieces(found.tokens)
    names += ["(end)"] * (len(found.scores) - len(names))
    for name, score in zip(names, found.scores, strict=True):
        yield f"{score:10.4f}  {name!r}"
