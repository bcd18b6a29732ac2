"""Inputs that are pictures or texts, as the model reads, which only its system can tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from formers.systems.inputs import CommandInputs
from formers.systems.pictures import Pictures
from formers.systems.system import Typed
from formers.systems.texts import Texts


class PicturesOrTexts:
    """What was given, understood when it is asked for as the one or the other."""

    word: ClassVar[str] = "PICTURE|TEXT"
    schema: ClassVar[Mapping[str, Any]] = {
        **Texts.schema,
        "description": "Texts, or pictures in base64, as the model reads.",
    }

    def __init__(self, pictures: Callable[[], Pictures], texts: Callable[[], Texts]) -> None:
        self.pictures, self.texts = pictures, texts

    @classmethod
    def of_command(cls, inputs: CommandInputs, typed: Typed, options: Mapping[str, Any]) -> PicturesOrTexts:
        """Of a command line."""
        kinds = (Pictures, Texts)
        return cls(*(partial(kind.of_command, inputs, typed, options) for kind in kinds))  # type: ignore[arg-type]

    @classmethod
    def of_request(cls, value: Any, where: str) -> PicturesOrTexts:
        """Of the JSON of a request."""
        return cls(partial(Pictures.of_request, value, where), partial(Texts.of_request, value, where))
