"""What a command line gave a verb to work on, before it is settled of which kind that is: texts, pictures ..."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from formers.errors import ConfigError
from formers.systems.system import Typed


@dataclass(frozen=True)
class CommandInputs:
    """The arguments of a command, and what stands beside them."""

    arguments: tuple[str, ...] = ()
    """Texts, or files, folders and patterns; - is standard input."""
    file: str | None = None
    """Where they are instead: a list, or a table."""
    column: str | None = None
    """The column of such a table."""

    def checked(self, word: str, typed: Typed) -> CommandInputs:
        """The same where it makes sense; nothing but a "-" is standard input, which has no arguments.

        word: what an argument is. Raises ConfigError.
        """
        word = typed.metavar or word
        inputs = self
        if typed.source and self.arguments:
            if self.file or len(self.arguments) > 1:
                got = " ".join(self.arguments)
                raise ConfigError(f"got {got}{' and --file' if self.file else ''}, expected one file")
            inputs = replace(self, file=self.arguments[0], arguments=())
        if inputs.arguments == ("-",) and not inputs.file:
            inputs = replace(inputs, arguments=())
        if inputs.arguments and inputs.file:
            raise ConfigError(f"give {word.lower()}s or --file, not both")
        if inputs.column and not inputs.file:
            raise ConfigError("--column is for --file")
        return inputs


class InputKind(Protocol):
    """A class of inputs: its word on the command line, its JSON Schema, and how it is made."""

    word: ClassVar[str]
    schema: ClassVar[Mapping[str, Any]]

    @classmethod
    def of_command(cls, inputs: CommandInputs, typed: Typed, options: Mapping[str, Any]) -> InputKind:
        """Of a command line; options: the other values that it gave."""

    @classmethod
    def of_request(cls, value: Any, where: str) -> InputKind:
        """Of the JSON of a request, which `where` names."""
