"""Texts that a verb works on, wherever they come from: in groups, with the places that messages name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from formers.data.bad_rows import OF_FILES, are_left_out, refuse
from formers.data.standard_input import typed_lines
from formers.errors import ConfigError, DataError, TextsError, shown
from formers.systems.inputs import CommandInputs
from formers.systems.system import Typed

T = TypeVar("T")


class Texts:
    """Texts in groups that are worked on together, as they come; numbers count from 1."""

    word: ClassVar[str] = "TEXT"
    schema: ClassVar[Mapping[str, Any]] = {"type": "array", "items": {"type": "string"}}

    def __init__(
        self,
        groups: Iterable[Sequence[str]],
        where: Callable[[int], str],
        *,
        typed: bool = False,
        places: Sequence[int] | None = None,
    ) -> None:
        """where: what a number is called in a message; typed: whether they were arguments.

        places: of each text its line or row in the file, where that is not its number.
        """
        self.groups, self.where, self.typed, self.places = groups, where, typed, places

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        """Texts that are all there."""
        return cls([texts], lambda number: f"text {number} of {len(texts)}", typed=True)

    @classmethod
    def of_command(cls, inputs: CommandInputs, typed: Typed, options: Mapping[str, Any]) -> Texts:
        """One rule for all verbs: - is standard input, a line a text; a table, by its ending or because --column names
        one, gives a column; any other file its lines.
        """
        inputs = inputs.checked(cls.word, typed)
        if inputs.arguments:
            if are_left_out():
                raise ConfigError(OF_FILES)
            return cls.of(inputs.arguments)
        if inputs.file is None or inputs.file == "-":
            if inputs.column:
                raise ConfigError("--column is for --file with a table; of standard input every line is a text")
            if sys.stdin.isatty():
                print("one text a line, Ctrl-D ends", file=sys.stderr)
            places: list[int] = []
            return cls(typed_lines(places), lambda number: f"line {places[number - 1]}", places=places)
        from formers.systems.file_texts import file_texts

        pairs = bool(typed.pairs and options.get(typed.pairs))
        groups, where, rows = file_texts(inputs.file, inputs.column, pairs=pairs)
        return cls(groups, where, places=rows)

    @classmethod
    def of_request(cls, value: Any, where: str) -> Texts:
        """A text or a list of texts."""
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise ConfigError(f"{where}: got {shown(value)}, expected a text or a list of texts")
        return cls.of(texts)

    def __iter__(self) -> Iterator[Sequence[str]]:
        return iter(self.groups)

    def worked(self, work: Callable[[Sequence[str]], Iterable[T]]) -> Iterator[T]:
        """What `work` gives for each group, which it does after it has looked at all of its texts.

        Raises DataError with the place of the first text that its TextsError names, or leaves these out (`bad_rows`).
        """
        number = 1
        for group in self:
            try:
                results = work(group)
            except TextsError as error:
                for place, reason in error.reasons.items():
                    refuse(DataError(f"{self.where(number + place)}: {reason}"))
                kept = [text for place, text in enumerate(group) if place not in error.reasons]
                results = work(kept) if kept else ()
            yield from results
            number += len(group)

    def place(self, number: int) -> int:
        """The line or row of a text."""
        return number if self.places is None else self.places[number - 1]

    def all(self) -> list[str]:
        return [text for group in self.groups for text in group]

    def filled(self, *, drop: bool = False, what: str = "read") -> tuple[list[int], list[str]]:
        """(numbers, texts) of those that are not empty; an empty one is an error unless `drop`.

        Raises DataError for an empty text, and where there is none at all.
        """
        texts, drop = self.all(), drop or are_left_out()
        empty = [number for number, text in enumerate(texts, 1) if not text.strip()]
        if empty and not drop:
            raise DataError(
                f"{self.where(empty[0])} is empty ({len(empty)} of {len(texts)} are): nothing to {what}; remove it or "
                "give --drop-empty"
            )
        if len(empty) == len(texts):
            raise DataError(f"there is no text to {what}: give texts, --file, or lines on standard input")
        rows = [(number, text) for number, text in enumerate(texts, 1) if text.strip()]
        return [number for number, _ in rows], [text for _, text in rows]
