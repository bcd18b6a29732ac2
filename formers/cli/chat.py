"""`formers chat`: turns with a language model, on a terminal or through a pipe."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
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
from formers.errors import ConfigError, DataError, FormersError, nearest

if TYPE_CHECKING:
    from formers.systems.chat import Chat
    from formers.systems.language_model import LanguageModel
    from formers.text.chat import ChatTemplate

COMMANDS = {
    "/reset": "forget what was said (the system's message stays)",
    "/save": "FILE: write the conversation as JSON, which --load reads",
    "/help": "this list",
    "/quit": "leave; Ctrl-D too, and Ctrl-C while nothing is being said",
}
COMMAND = re.compile(r"(/[a-z]+)(?:\s+(.*))?", re.DOTALL)


def run(
    model: Model,
    system: Annotated[
        str, typer.Option("--system", metavar="TEXT", help="What the model is told before the conversation.")
    ] = "",
    load: Annotated[
        Path | None, typer.Option("--load", metavar="FILE", help="Go on with a conversation that /save wrote.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            metavar="FILE|plain",
            help="A Jinja chat template instead of the model's; plain: roles in words, for a model without one.",
        ),
    ] = None,
    max_tokens: MaxTokens = 1024,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    stop: Stop = None,
    seed: Seed = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Leave out the oldest turns when the model can read no more.")
    ] = False,
    allow_bin: AllowBin = False,
    offline: Offline = False,
    dtype: Dtype = None,
    device: Device = None,
) -> None:
    """Talk with a language model.

    One line is one message. Ctrl-C stops an answer and keeps the chat. On a pipe every line of standard input is
    answered, until it ends. /help lists what can be done besides talking.
    """
    from formers.decoding.options import DecodingOptions
    from formers.systems.chat import Chat, read_messages

    options: dict[str, Any] = {
        "max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p,
        "repetition_penalty": repetition_penalty, "stop": stops(stop), "seed": seed, "truncate": truncate,
    }  # fmt: skip
    DecodingOptions(**options)  # what is wrong with them is said before the model is read
    messages = [] if load is None else read_messages(load)
    language = open_model(model, system="language", allow_bin=allow_bin, offline=offline, dtype=dtype, device=device)
    chat = Chat(language, system=system, messages=messages, template=chosen_template(template, language), **options)
    if sys.stdin.isatty():
        with suppress(ImportError):  # line editing and history, where there is such a library
            import_module("readline")
        print("/help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves", file=sys.stderr)
    talk(chat, typed if sys.stdin.isatty() else Piped(), forgiving=sys.stdin.isatty())


def chosen_template(name: str | None, language: LanguageModel) -> ChatTemplate | None:
    """--template; None: the model's own."""
    from formers.text.chat import ChatTemplate, plain_template

    if name is None:
        return None
    tokenizer = language.needs_tokenizer()
    plain = plain_template(tokenizer)
    if name == "plain":
        return plain
    try:
        source = Path(name).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--template {name}: cannot be read ({error}); give a Jinja file, or plain") from error
    return ChatTemplate(source, plain.specials, where=name)


def typed() -> str | None:
    """A line from the terminal; None: no more."""
    try:
        return input("> ")
    except (EOFError, KeyboardInterrupt):
        print(file=sys.stderr)
        return None


class Piped:
    """The lines of standard input; None: no more."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> str | None:
        line = sys.stdin.buffer.readline()
        self.number += 1
        return decoded(line.removesuffix(b"\n"), self.number) if line else None


def talk(chat: Chat, read: Callable[[], str | None], *, forgiving: bool) -> None:
    """Until there is nothing more to read; `forgiving`: a fault is told, and the talk goes on."""
    while (line := read()) is not None:
        try:
            if (found := COMMAND.fullmatch(line.strip())) is not None:
                if not command(chat, found[1], (found[2] or "").strip()):
                    return
            elif line.strip():
                answer(chat, line)
        except (FormersError, OSError) as error:
            if not forgiving:
                raise
            print(f"formers: error: {error}", file=sys.stderr)


def answer(chat: Chat, line: str) -> None:
    """Write the answer as it comes; Ctrl-C ends it, and it stays as far as it came."""
    try:
        with closing(chat.say(line)) as pieces:
            for piece in pieces:
                sys.stdout.write(piece)
                sys.stdout.flush()
        note()
    except KeyboardInterrupt:
        note()
        print("(stopped)", file=sys.stderr)
        return
    if chat.result is not None and chat.result.reason == "length":
        print(f"(cut after {len(chat.result.tokens):,} tokens)", file=sys.stderr)


def command(chat: Chat, name: str, rest: str) -> bool:
    """Do what is asked; False: leave."""
    if name not in COMMANDS:
        raise ConfigError(f'there is no command "{name}"{nearest(name, COMMANDS)}')
    if name == "/reset":
        chat.reset()
    elif name == "/save":
        if not rest:
            raise ConfigError("/save needs a file to write: /save chat.json")
        if not (path := Path(rest).expanduser()).parent.is_dir() or path.is_dir():
            raise ConfigError(f"/save {rest}: expected a file in a folder that exists")
        chat.save(path)
        print(f"(saved {len(chat.messages)} messages in {path})", file=sys.stderr)
    elif name == "/help":
        for each, what in COMMANDS.items():
            note(f"{each:7} {what}")
    return name != "/quit"
