"""What a JSON file must look like before anything of it is used: type hints, checked against plain values.

    class Index(TypedDict):
        weight_map: dict[str, str]

A `TypedDict` is an object whose other keys may be anything, `Closed` one that has no others, as a dataclass of ours.
`Annotated` numbers keep their bounds (`Between`), texts and lists their length (`Sized`). One checker, whatever the
file; `revive` makes the dataclass.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, NotRequired, Required

from formers.errors import nearest, shortened, shown
from formers.fields import Between

NAMES: dict[Any, str] = {
    dict: "an object",
    list: "a list",
    tuple: "a list",
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "null",
}


@dataclass(frozen=True)
class Sized:
    """Bounds of the length of a list or a text."""

    least: int = 0
    most: int = 2**63


@dataclass(frozen=True)
class Closed:
    """Of an object: keys that its hint does not name are refused."""


def fault(value: Any, hint: Any, where: str = "") -> str:
    """What is wrong with a plain value, and at which key of it; "" where it has the shape of the hint.

    where: the keys that lead to it, such as "added_tokens[3].content".
    """
    hint, extras = bare(hint)
    if hint is Any:
        return ""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if _is_union(hint):
        faults = [fault(value, option, where) for option in inner]
        if not all(faults):
            return bounds(value, extras, where)
        # of several kinds the one that begins alike has the better words
        alike = [text for text, option in zip(faults, inner, strict=True) if _is(value, option)]
        return alike[0] if alike else _expected(where, value, hint)
    if origin is Literal:
        return "" if value in inner and type(value) in map(type, inner) else _expected(where, value, hint)
    if not _is(value, hint):
        return _expected(where, value, hint)
    if text := bounds(value, extras, where):
        return text
    if typing.is_typeddict(hint):
        return _object_fault(value, hint, where, Closed() in extras)
    if dataclasses.is_dataclass(hint):
        return "" if isinstance(value, typing.cast(type, hint)) else _object_fault(value, hint, where, closed=True)
    if (origin or hint) in (list, tuple) and inner:
        if origin is tuple and Ellipsis not in inner:
            if len(value) != len(inner):
                return f"{where or 'it'} has {len(value)} values, expected {len(inner)}"
            kinds = inner
        elif inner[0] is str and set(map(type, value)) <= {str}:
            return ""  # as below, ten times as fast: lists of a hundred thousand texts are usual
        else:
            kinds = (inner[0],) * len(value)
        places = (fault(item, kind, f"{where}[{i}]") for i, (item, kind) in enumerate(zip(value, kinds, strict=True)))
        return next(filter(None, places), "")
    if (origin or hint) is dict and inner:
        return next(filter(None, (fault(v, inner[1], _under(where, k)) for k, v in value.items())), "")
    return ""


def revive(kind: type, tree: Any, where: str = "") -> Any:
    """The dataclass, and those within it, that plain values are. Raises ValueError for values of another shape."""
    if message := fault(tree, kind, where):
        raise ValueError(message)
    return _revived(kind, tree)


def _revived(hint: Any, value: Any) -> Any:
    """What JSON cannot say: a dataclass from an object, a tuple from a list, 0 for 0.0."""
    hint, _ = bare(hint)
    kinds = [bare(kind)[0] for kind in typing.get_args(hint)] if _is_union(hint) else [hint]
    if isinstance(value, dict):
        fitting: list[Any] = [kind for kind in kinds if dataclasses.is_dataclass(kind) and not fault(value, kind)]
        if fitting:  # of several that it could be, the one that is spelled out
            kind = max(fitting, key=lambda kind: _hints(kind).keys() == value.keys())
            return kind(**{key: _revived(_hints(kind)[key], item) for key, item in value.items()})
    if isinstance(value, list) and any(typing.get_origin(kind) is tuple for kind in kinds):
        return tuple(value)
    return float(value) if type(value) is int and float in kinds and int not in kinds else value


def bounds(value: Any, extras: tuple[Any, ...], where: str) -> str:
    """What bounds beside a hint say against a value."""
    for extra in extras:
        numbers = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(extra, Between) and numbers and not extra.holds(value):
            return f"{where or 'it'} is {shown(value)}, expected {extra}"
        if isinstance(extra, Sized) and isinstance(value, str | list | dict):
            if len(value) < extra.least:
                return f"{where or 'it'} is empty" if not value else f"{where or 'it'} has only {len(value)} entries"
            if len(value) > extra.most:
                return f"{where or 'it'} has {len(value):,} entries, expected at most {extra.most:,}"
    return ""


def bare(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A hint without what stands beside it, and that."""
    extras: tuple[Any, ...] = ()
    while True:
        origin = typing.get_origin(hint)
        if origin is Annotated:
            hint, *beside = typing.get_args(hint)
            extras = (*extras, *beside)
        elif origin in (Required, NotRequired):
            (hint,) = typing.get_args(hint)
        else:
            return hint, extras


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (types.UnionType, typing.Union)


def kind_name(hint: Any) -> str:
    """A hint in words: `a whole number or null`."""
    hint, _ = bare(hint)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if _is_union(hint):
        return " or ".join(dict.fromkeys(kind_name(option) for option in inner))
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin in (list, tuple) and inner:
        item = kind_name(inner[0])
        return "a list" if inner[0] is Any else f"a list of {item.removeprefix('a ').removeprefix('an ')}s"
    return NAMES.get(origin or hint, "an object")


def _object_fault(value: Mapping[str, Any], hint: Any, where: str, closed: bool) -> str:
    hints = _hints(hint)
    for key in _required(hint):
        if key not in value:
            return f"{_under(where, key)} is missing"
    for key, item in value.items():
        if key in hints:
            if text := fault(item, hints[key], _under(where, key)):
                return text
        elif closed:
            return f"{_under(where, key)} is not known{nearest(key, hints)}"
    return ""


@cache
def _hints(hint: Any) -> dict[str, Any]:
    return typing.get_type_hints(hint, include_extras=True)


def _required(hint: Any) -> list[str]:
    if typing.is_typeddict(hint):  # whose own list knows nothing of `Required` in hints that are text
        marks = {key: typing.get_origin(inner) for key, inner in _hints(hint).items()}
        usual: set[str] = set(hint.__required_keys__)
        return sorted(
            key for key in marks if marks[key] is Required or (key in usual and marks[key] is not NotRequired)
        )
    absent = dataclasses.MISSING
    return [each.name for each in dataclasses.fields(hint) if each.default is absent and each.default_factory is absent]


def _is(value: Any, hint: Any) -> bool:
    """Whether a value is of the kind that a hint begins with: JSON has no tuples, and true is no number."""
    hint, _ = bare(hint)
    kind = typing.get_origin(hint) or hint
    if kind is Any:
        return True
    if kind is Literal:
        return value in typing.get_args(hint)
    if kind is None:
        return value is None
    if typing.is_typeddict(kind):
        return isinstance(value, dict)
    if dataclasses.is_dataclass(kind):  # or one that is there already
        return isinstance(value, (dict, kind))  # type: ignore[arg-type]
    if kind in (int, float):
        number = isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
        return number and abs(value) <= (2**63 - 1 if kind is int else sys.float_info.max)  # NaN is not
    return isinstance(value, list | tuple if kind is tuple else kind)


def _under(where: str, key: str) -> str:
    return f"{where}.{shortened(key, 40)}" if where else shortened(key, 40)


def _expected(where: str, value: Any, hint: Any) -> str:
    return f"{where or 'it'} is {shown(value)}, expected {kind_name(hint)}"
