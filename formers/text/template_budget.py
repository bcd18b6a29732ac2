"""What one render of a template may cost: characters by their bytes, items by what they hold or yield, steps."""

from __future__ import annotations

import re
import sys
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from jinja2.sandbox import SecurityError

BUDGET = 300_000_000  # bytes read or written in one render, a few seconds at worst
STEP = 200  # what every operation costs besides
CALL = 1000  # what a call costs besides
ITEM = 40  # what a place in a list costs besides what lies there: what weighing it takes
LARGEST = 10_000_000  # bytes of one value
LONGEST = 100_000  # a number that says how far to pad, indent, repeat
DIGITS = 10_000  # bits of an integer
AT_ONCE = 32  # bytes that a search compares at once
EMPTY = sys.getsizeof("") - 1
# Names of functions that do more than look at each byte of what they are given once
SLOW = dict.fromkeys(("sort", "dictsort", "groupby", "title"), 20) | dict.fromkeys(
    ("unique", "split", "rsplit", "splitlines", "list", "wordcount", "translate"), 8
)
WIDENED = {"indent": "\n", "expandtabs": "\t"}  # functions that write a number of spaces for each of these
ENCODINGS = frozenset(
    "utf-8 utf8 utf-16 utf-32 ascii latin-1 latin1 iso-8859-1".split()
)  # others are slow, or are code
WIDTHS = re.compile(r"%[-#0 +]*(\d+)?(?:\.(\d+))?")

_spent: ContextVar[list[int]] = ContextVar("spent")


@contextmanager
def new_budget() -> Iterator[None]:
    """Inside, what is paid is taken from a budget of its own."""
    token = _spent.set([0])
    try:
        yield
    finally:
        _spent.reset(token)


def pay(cost: int) -> None:
    """Take from the budget of this render. Raises SecurityError when it is used up."""
    spent = _spent.get()
    spent[0] += cost + STEP
    if spent[0] > BUDGET:
        raise SecurityError("it does not come to an end within its budget")


def weight(value: Any, seen: dict[int, int] | None = None) -> int:
    """The bytes of a value as if written out, however often it holds the same part. Raises SecurityError."""
    if isinstance(value, str):
        return sys.getsizeof(value) - EMPTY
    if isinstance(value, int):
        if value.bit_length() > DIGITS:
            raise SecurityError("it makes an enormous number")
        return value.bit_length() // 8 + 1
    if isinstance(value, bytes | bytearray | memoryview):
        return len(value) + 1
    if isinstance(value, range):
        return ITEM * len(value) + 1
    if isinstance(value, KeysView | ValuesView | ItemsView):
        value = getattr(value, "mapping", None) or list(value)  # those of a dict name it
    if not isinstance(value, list | tuple | set | frozenset | Mapping):
        return 1
    seen = {} if seen is None else seen
    if id(value) not in seen:
        parts = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
        seen[id(value)] = 1 + sum(ITEM + weight(part, seen) for part in parts)
    return seen[id(value)]


def check_size(size: int) -> None:
    """Refuse a value of so many bytes that is too large."""
    if size > LARGEST:
        raise SecurityError(f"it makes a value of {size:,} bytes, at most {LARGEST:,} are allowed")


def weighed(value: Any) -> Any:
    """The value itself, paid for; what yields pays as it does. Raises SecurityError when it is too large."""
    if isinstance(value, Iterator):
        return each(value)
    cost = weight(value)
    check_size(cost)
    pay(cost)
    return value


def each(values: Iterable[Any] | None) -> Iterator[Any]:
    """The values, a step paid for each, and what it holds where it was not there before; of null none."""
    fresh = isinstance(values, Iterator)
    for value in () if values is None else values:
        pay(weight(value) if fresh else 0)
        yield value


def weigh_arguments(name: str, values: list[Any]) -> None:
    """Pay for what is given to a function of this name, and refuse what could make it write too much."""
    pay(CALL)
    costs = sorted((weight(value) for value in values if not isinstance(value, int)), reverse=True)
    product = costs[0] * costs[1] if len(costs) > 1 else 0
    check_product(product)  # replace, join: one as often as the other is long
    pay(product // AT_ONCE + (SLOW.get(name, 1) - 1) * sum(costs))
    for value in values:
        if isinstance(value, int) and abs(value) > LONGEST:
            size = f"{value:.0e}" if value.bit_length() < 1000 else "of more than 300 digits"
            raise SecurityError(f"it gives the number {size} to a function, at most {LONGEST:,} is allowed")
        pay(abs(value) if isinstance(value, int) else 0)
        check_size(weight(value))
    pay(sum(costs))
    for text in (value for value in values if isinstance(value, str | bytes) and name in WIDENED):
        widest = max((abs(value) for value in values if isinstance(value, int)), default=8)
        check_size((_text(text).count(WIDENED[name]) + 1) * widest)


def check_product(product: int) -> None:
    """Refuse what would be written as often as something else is long."""
    if product > 10 * LARGEST:
        raise SecurityError("it gives two values to one function that together could make a far larger one")


def check_encoding(encoding: Any) -> None:
    """Refuse encodings that take the square of a text, or that are no encodings of text."""
    if str(encoding).lower() not in ENCODINGS:
        raise SecurityError(f"it asks for the encoding {str(encoding)[:30]}; known: {', '.join(sorted(ENCODINGS))}")


def check_percent(form: Any, values: Any) -> None:
    """Refuse a `%` format that pads, or repeats what it is given, to an enormous width."""
    if not isinstance(form, str | bytes):
        return
    text = _text(form)
    # behind a name in brackets, which may hold brackets, a width is any number
    runs = re.findall(r"\d+", text) if "%(" in text else [run for pair in WIDTHS.findall(text) for run in pair if run]
    given = values if isinstance(values, tuple) else (values,)
    stars = [abs(value) for value in given if isinstance(value, int)] if "*" in text else []
    width = sum(int(run) if len(run) < 9 else LARGEST + 1 for run in runs) + text.count("*") * max(stars, default=0)
    if width > LARGEST:
        raise SecurityError("it has a format of enormous width")
    if isinstance(values, Mapping):
        check_product(text.count("%") * weight(values))


def check_spec(spec: str) -> None:
    """Refuse what stands behind the colon of a `format` field where it pads to an enormous width."""
    if any(len(run) > 6 or int(run) > LONGEST for run in re.findall(r"\d+", spec)):
        raise SecurityError("it has a format of enormous width")


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
