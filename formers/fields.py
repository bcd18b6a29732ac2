"""Settings as frozen dataclasses: the help below a field, the bounds beside it, and building one from plain values.

    rate: Annotated[float, Between(above=0)] = 1e-3
    \"\"\"Peak learning rate.\"\"\"

Recipes, the options of verbs and the server's requests are read by this one piece of code.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from formers.errors import MOST, ConfigError, nearest, shortened, shown


@dataclass(frozen=True)
class Between:
    """Bounds of a number, or of every number of a tuple; `least` and `most` belong to the range, the others do not.

    A number with bounds must be finite.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def holds(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """What a value must be, in words."""
        low = self.least if self.above is None else self.above
        high = self.most if self.below is None else self.below
        if high is None:
            if self.above is not None:
                return "a positive number" if self.above == 0 else f"above {self.above:g}"
            return "0 or more" if self.least == 0 else f"at least {self.least:g}"
        if low is None:
            return f"at most {high:g}" if self.below is None else f"below {high:g}"
        return f"in {'[' if self.above is None else '('}{low:g}, {high:g}{']' if self.below is None else ')'}"


@dataclass(frozen=True)
class OneOf:
    """The words that a text field knows, as `Literal` says them too, where they are the keys of a table."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """Of a field that is a dataclass of settings itself: its fields are written as if they were the outer one's."""


@dataclass(frozen=True)
class Escaped:
    r"""Of texts: a command line writes \n for a line feed and \t for a tab in them."""

    @staticmethod
    def read(text: str) -> str:
        return text.replace("\\n", "\n").replace("\\t", "\t")


@dataclass(frozen=True)
class Given:
    """A field that `build` fills: the names of the values that were given, even where these are the usual ones."""

    names: tuple[str, ...] = ()


NOTHING = Given()

Count = Annotated[int, Between(0)]
Natural = Annotated[int, Between(1)]


@dataclass(frozen=True)
class Field:
    """One field of a dataclass of settings."""

    name: str
    kind: Any
    """Its type without annotations and None: int, float, str, bool, tuple[str, ...] ..."""
    default: Any
    """`dataclasses.MISSING` where it has none."""
    help: str
    optional: bool
    """Whether it may be None."""
    extras: tuple[Any, ...]
    """What stands beside its type: bounds, words, how a command line writes it."""
    part: tuple[str, type] | None = None
    """The field and the dataclass that it belongs to, where that is a `Part` of the settings."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words that it knows; none where it may be anything."""
        if typing.get_origin(self.kind) is Literal:
            return typing.get_args(self.kind)
        return next((extra.words for extra in self.extras if isinstance(extra, OneOf)), ())

    def fault(self, value: Any, label: str) -> str:
        """What is wrong with a value of the right type; "" where nothing is."""
        if value is None and self.optional:
            return ""
        if self.words and value not in self.words:
            return f'{label} "{value}" is not known{nearest(str(value), self.words)}'
        for bounds in self.extras:
            if isinstance(bounds, Between):
                numbers = value if isinstance(value, tuple) else (value,)
                if not all(bounds.holds(number) for number in numbers):
                    return f"{label} ({value}) must be {bounds}"
        return ""


@cache
def fields_of(settings: Any) -> dict[str, Field]:
    """The fields of a dataclass by name, in order."""
    hints = typing.get_type_hints(settings, include_extras=True)
    help_texts = help_of(settings)
    described: dict[str, Field] = {}
    for field in dataclasses.fields(settings):
        hint, extras = hints[field.name], []
        while True:
            if typing.get_origin(hint) is Annotated:
                hint, *beside = typing.get_args(hint)
                extras += beside
            elif None.__class__ in typing.get_args(hint) and isinstance(hint, types.UnionType | _OLD_UNION):
                extras.append(None)
                rest = [kind for kind in typing.get_args(hint) if kind is not type(None)]
                hint = rest[0] if len(rest) == 1 else typing.Union[tuple(rest)]  # noqa: UP007
            else:
                break
        if Part() in extras:
            inner = fields_of(hint).items()
            described |= {name: dataclasses.replace(own, part=(field.name, hint)) for name, own in inner}
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        described[field.name] = Field(
            field.name, hint, default, help_texts[field.name], None in extras, tuple(e for e in extras if e is not None)
        )
    return described


_OLD_UNION = type(typing.Optional[int])  # noqa: UP045 -- what `Annotated[int, ...] | None` becomes


@cache
def help_of(settings: Any) -> dict[str, str]:
    """field -> the docstring below it, from the source of a dataclass; each must have one."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(settings))).body
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for node, below in itertools.pairwise(body.body):
        match node, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = inspect.cleandoc(text)
    missing = [field.name for field in dataclasses.fields(settings) if field.name not in texts]
    assert not missing, f"{settings.__name__}: no docstring below {missing}"
    return texts


def check(settings: Any, label: str | Callable[[str], str] = "") -> None:
    """Refuse a value that its field's bounds or words do not allow; for `__post_init__`.

    label: the section that names are shown with ("train" gives `train.steps`), or how to show a name.
    """
    for message in faults(settings, label):
        raise ConfigError(message)


def faults(settings: Any, label: str | Callable[[str], str] = "") -> Iterator[str]:
    for name, field in fields_of(settings.__class__).items():
        if field.part is not None:  # which has seen to itself
            continue
        shown = label(name) if callable(label) else f"{label}.{name}" if label else name
        if message := field.fault(getattr(settings, name), shown):
            yield message


def build(settings: type, given: Mapping[str, Any], where: str) -> Any:
    """The dataclass with these values; unknown names and values of another type are refused, `where` says of what."""
    known = fields_of(settings)
    for name in given:
        if name not in known:
            raise ConfigError(f'{where} has no key "{shortened(name, MOST)}"{nearest(name, known)}')
    if missing := [name for name, field in known.items() if field.default is dataclasses.MISSING and name not in given]:
        raise ConfigError(f'{where}: the key "{missing[0]}" is missing')
    values: dict[str, Any] = {}
    parts: dict[tuple[str, type], dict[str, Any]] = {}
    for name, value in given.items():
        if owner := known[name].part:
            parts.setdefault(owner, {})[name] = value
        else:
            values[name] = convert(value, known[name], f"{where} {name}")
    values |= {name: Given(tuple(given)) for name, field in known.items() if field.kind is Given}
    return settings(**values, **{name: build(kind, inner, where) for (name, kind), inner in parts.items()})


def values_of(settings: Any) -> dict[str, Any]:
    """The values of a dataclass of settings by name, those of its parts among them."""
    fields = fields_of(settings.__class__).items()
    parts = {field.part[0]: values_of(getattr(settings, field.part[0])) for _, field in fields if field.part}
    return {name: parts[field.part[0]][name] if field.part else getattr(settings, name) for name, field in fields}


def changed(settings: Any, name: str, value: Any) -> Any:
    """The same settings with another value of a field, which may be one of a part's."""
    owner = fields_of(settings.__class__)[name].part
    if owner is None:
        return dataclasses.replace(settings, **{name: value})
    return dataclasses.replace(settings, **{owner[0]: changed(getattr(settings, owner[0]), name, value)})


def convert(value: Any, field: Field, where: str) -> Any:
    """A plain value as its field holds it: whole numbers for floats and lists for tuples will do."""
    if value is None and field.optional:
        return None
    return _convert(value, field.kind, where)


def _convert(value: Any, kind: Any, where: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (tuple, list):
        if isinstance(value, list | tuple):
            return origin(_convert(item, _bare(inner[0]), where) for item in value)
        raise ConfigError(f"{where}: got {shown(value)} ({type(value).__name__}), expected list")
    if origin is Literal:
        kind = type(inner[0])
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        kind = next((option for option in inner if type(value) is option), inner[-1])
        return _convert(value, kind, where)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is kind or (not isinstance(value, bool | int | float | str) and isinstance(value, kind)):
        return value
    raise ConfigError(f"{where}: got {shown(value)} ({type(value).__name__}), expected {kind.__name__}")


def _bare(kind: Any) -> Any:
    return typing.get_args(kind)[0] if typing.get_origin(kind) is Annotated else kind
