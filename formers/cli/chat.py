"""`formers chat`: turns with a language model, on a terminal or through a pipe."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from formers.cli.command import checked, taken, takes, unescaped, written
from formers.cli.options import MODEL, Opening
from formers.cli.output import note
from formers.data.standard_input import decoded
from formers.errors import ConfigError, FormersError, nearest
from formers.fields import Field, fields_of
from formers.systems.chat.verbs import ChatOptions

if TYPE_CHECKING:
    from formers.systems.chat.session import Chat

COMMANDS = {
    "/reset": "forget what was said (the system's message stays)",
    "/save": "FILE: write the conversation as JSON, which --load reads",
    "/help": "this list",
    "/quit": "leave; Ctrl-D too, and Ctrl-C while nothing is being said",
}
COMMAND = re.compile(r"(/[a-z]+)(?:\s+(.*))?", re.DOTALL)


def run(model: str, load: Path | None = None, **values: Any) -> None:
    """Talk with a language model.

    One line is one message. Ctrl-C stops an answer and keeps the chat. On a pipe every line of standard input is
    answered, until it ends. /help lists what can be done besides talking.
    """
    from formers import registry
    from formers.systems.chat.session import read_messages

    given = unescaped(written(values), fields_of(ChatOptions))
    opening = taken(Opening, given)
    options = checked(ChatOptions, given, "chat")  # what is wrong with them is said before the model is read
    messages = [] if load is None else read_messages(load)
    language = registry.load(model, system="language", **opening.arguments())
    chat = options.open(language, messages)
    if sys.stdin.isatty():
        with suppress(ImportError):  # line editing and history, where there is such a library
            import_module("readline")
        print("/help lists the commands, Ctrl-C stops an answer, Ctrl-D leaves", file=sys.stderr)
    talk(chat, typed if sys.stdin.isatty() else Piped(), forgiving=sys.stdin.isatty())


LOAD = Field("load", Path, None, "Go on with a conversation that /save wrote.", True, ())
NOT_TYPED = ("messages", "samples", "beams", "nbest", "length_penalty")  # of texts, of which a chat has one
OWN = {name: field for name, field in fields_of(ChatOptions).items() if name not in NOT_TYPED}
takes(run, {"model": MODEL, "load": LOAD, **OWN, **fields_of(Opening)}, run.__doc__)


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
        return decoded([line.removesuffix(b"\n")], self.number)[self.number] if line else None


def talk(chat: Chat, read: Callable[[], str | None], *, forgiving: bool) -> None:
    """Until there is nothing more to read; `forgiving`: a fault is told, and the talk goes on."""
    while (line := read()) is not None:
        try:
            if (asked := COMMAND.fullmatch(line.strip())) is not None:
                if not command(chat, asked[1], (asked[2] or "").strip()):
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
