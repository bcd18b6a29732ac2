"""The kinds of input that verbs take, each understood once: on the command line and in a request."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from formers.errors import ConfigError
from formers.fields import Field
from formers.systems.inputs import CommandInputs, InputKind
from formers.systems.pictures import Pictures, are_pictures
from formers.systems.pictures_or_texts import PicturesOrTexts
from formers.systems.sound_files import Sounds
from formers.systems.system import Typed
from formers.systems.texts import Texts

KINDS: tuple[type[InputKind], ...] = (Texts, Pictures, PicturesOrTexts, Sounds)
NAME = "inputs"  # of the field that stands for all of them on a command line


def typed_of(field: Field) -> Typed:
    """How a field is written."""
    return next((extra for extra in field.extras if isinstance(extra, Typed)), Typed())


def argument_of(field: Field) -> str:
    """What an argument is: TEXT, PASSAGE, PICTURE, FILE."""
    typed = typed_of(field)
    return "FILE" if typed.source else typed.metavar or field.kind.word


def as_one(fields: Mapping[str, Field]) -> dict[str, Field]:
    """The fields of a command; those of inputs, whatever their kind and name, are one where the first of them stood."""
    inputs = [field for field in fields.values() if field.kind in KINDS]
    if not inputs:
        return dict(fields)
    words = list(dict.fromkeys(word for field in inputs for word in argument_of(field).split("|")))
    metavar = f"[{'|'.join(words)}]" + ("" if words == ["FILE"] else "...")
    extra = Typed(metavar, source=words == ["FILE"])
    several = " ".join(dict.fromkeys(field.help for field in inputs))
    one = dataclasses.replace(inputs[0], name=NAME, kind=CommandInputs, extras=(extra,), help=several)
    place = next(name for name, field in fields.items() if field is inputs[0])
    rest = ((name, field) for name, field in fields.items() if field.kind not in KINDS or name == place)
    return {NAME if name == place else name: one if name == place else field for name, field in rest}


def of_command(fields: Mapping[str, Field], inputs: CommandInputs, options: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a verb with these fields: of a verb that takes several kinds, pictures where `are_pictures`.

    Raises ConfigError for a verb that takes none, but was given some.
    """
    kinds = {name: field for name, field in fields.items() if field.kind in KINDS}
    if len({field.kind for field in kinds.values()}) > 1:
        kind = Pictures if are_pictures(inputs) else Texts
        kinds = {name: field for name, field in kinds.items() if field.kind is kind}
    for name, field in kinds.items():
        return {name: field.kind.of_command(inputs, typed_of(field), options)}
    if inputs != CommandInputs():
        what = " ".join(inputs.arguments[:3]) or "--file or --column"
        raise ConfigError(f"got {what}, but a model of this system takes no such inputs here; leave it out")
    return {}
