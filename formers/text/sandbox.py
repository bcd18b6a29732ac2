"""Jinja for templates that come with somebody's checkpoint: no way to Python's internals, and no way to run for long.

Jinja's own sandbox closes the first way. For the second every render has a budget: iterations, calls, filters and
operators pay for what they touch, and a value that grows too large is refused before it is made.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime
from functools import wraps
from typing import Any, NoReturn

from jinja2 import Template, TemplateRuntimeError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro, Namespace
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError
from jinja2.visitor import NodeTransformer

BUDGET = 300_000_000  # characters read or written in one render, a few seconds at worst
STEP = 200  # what every operation costs besides
CALL = 1000  # what a call costs besides
LARGEST = 10_000_000  # characters or items of one value
LONGEST = 100_000  # a number that says how far to pad, indent, repeat
DIGITS = 10_000  # bits of an integer
OPEN, CLOSE = "\U000f0002", "\U000f0003"  # around what {% generation %} blocks write; private use, never text
EACH, WEIGHED = "formers each", "formers weighed"  # names that no template can write
# They draw at random, search by backtracking, or add up lists in quadratic time
LEFT_OUT = {"random", "urlize", "striptags", "wordwrap", "xmlattr", "sum", "pprint"}
CHEAP_TESTS = """
    defined undefined none string mapping iterable sequence number boolean true false integer float callable odd even
""".split()

_spent: ContextVar[list[int]] = ContextVar("spent")


class Refusal(TemplateRuntimeError):
    """The template itself refuses the messages (raise_exception)."""


class Fields(Namespace):
    """What `namespace(...)` makes; its contents are not printed, which could be exponentially long."""

    def __repr__(self) -> str:
        return "<namespace>"


def weight(value: Any, seen: dict[int, int] | None = None) -> int:
    """The characters and items of a value as if written out, however often it holds the same part."""
    if isinstance(value, str):
        return len(value) + 1
    if isinstance(value, int):
        return value.bit_length() // 8 + 1
    if not isinstance(value, list | tuple | set | frozenset | Mapping):
        return 1
    seen = {} if seen is None else seen
    if id(value) not in seen:
        parts = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
        seen[id(value)] = 1 + sum(weight(part, seen) for part in parts)
    return seen[id(value)]


def pay(cost: int) -> None:
    """Take from the budget of this render. Raises SecurityError when it is used up."""
    spent = _spent.get()
    spent[0] += cost + STEP
    if spent[0] > BUDGET:
        raise SecurityError("it does not come to an end within its budget")


def weighed(value: Any) -> Any:
    """The value itself, paid for. Raises SecurityError when it is too large."""
    cost = weight(value)
    if cost > LARGEST:
        raise SecurityError(f"it makes a value of {cost:,} characters or items, at most {LARGEST:,} are allowed")
    pay(cost)
    return value


def each(values: Iterable[Any]) -> Iterator[Any]:
    """The values, a step paid for each."""
    for value in values:
        pay(0)
        yield value


def weigh_arguments(values: Iterable[Any]) -> None:
    """Pay for what is given to a function, and refuse what could make it write too much."""
    costs = sorted((weight(value) for value in values if not isinstance(value, int)), reverse=True)[:2]
    if len(costs) == 2 and costs[0] * costs[1] > 10 * LARGEST:  # replace, join: one as often as the other is long
        raise SecurityError("it gives two values to one function that together could make a far larger one")
    for value in values:
        if isinstance(value, int) and abs(value) > LONGEST:
            raise SecurityError(f"it gives the number {value:.0e} to a function, at most {LONGEST:,} is allowed")
        pay(abs(value) if isinstance(value, int) else 0)
        weighed(value)


def check_widths(form: Any) -> None:
    """Refuse a format string that pads to an enormous width."""
    if isinstance(form, str) and re.search(r"\d{6,}", form):
        raise SecurityError("it has a format of enormous width")


def bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that pays for its arguments."""

    @wraps(function)  # keeps the mark that says what Jinja passes first
    def paying(*arguments: Any, **named: Any) -> Any:
        pay(CALL)
        weigh_arguments([*arguments, *named.values()])
        if function.__name__ == "do_format":
            check_widths(arguments[0])
        return function(*arguments, **named)

    return paying


class _Paying(NodeTransformer):
    """Loops, comparisons, slices, literals and concatenations of a parsed template pay as well."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filter(node.iter, EACH)  # type: ignore[arg-type]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [_filter(part, WEIGHED) for part in node.nodes]
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _filter(node.expr, WEIGHED)
        for operand in node.ops:
            operand.expr = _filter(operand.expr, WEIGHED)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        self.generic_visit(node)
        if node.name not in CHEAP_TESTS:
            node.node = _filter(node.node, WEIGHED)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _filter(node.node, WEIGHED)
        return node

    def visit_List(self, node: nodes.List | nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, WEIGHED)

    visit_Dict = visit_List

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, WEIGHED) if node.ctx == "load" else node


def _filter(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class Generation(Extension):
    """`{% generation %} ... {% endgeneration %}`: what the assistant says; marked in the text when asked for."""

    tags = {"generation"}  # noqa: RUF012 (Jinja declares it so)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        # the marks are ordinary output, so the blocks may stand in macros and loops too
        first, last = (nodes.Output([nodes.Const(mark)], lineno=line) for mark in (OPEN, CLOSE))
        return nodes.Scope([first, *body, last], lineno=line)


class Environment(ImmutableSandboxedEnvironment):
    """The sandbox with a budget, and the words that chat templates expect."""

    intercepted_binops = frozenset(["+", "-", "*", "**", "/", "//", "%"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            finalize=weighed,
            extensions=[Generation, loopcontrols],
        )
        self.filters["tojson"] = to_json
        self.filters = {name: bounded(f) for name, f in self.filters.items() if name not in LEFT_OUT}
        self.filters |= {EACH: each, WEIGHED: weighed}
        self.globals.pop("lipsum")
        self.globals |= {"namespace": Fields, "raise_exception": refuse, "strftime_now": now}

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        raise SecurityError(f"it reaches for {attribute} of a {type(obj).__name__}, which is closed to templates")

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        pay(CALL)
        values = [*args, *kwargs.values()]
        if isinstance(__obj, Macro):
            for value in values:
                weighed(value)
            return super().call(__context, __obj, *args, **kwargs)
        method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps str.format
        if isinstance(method, types.BuiltinMethodType) and isinstance(method.__self__, str | list | dict):
            values.append(method.__self__)
            if method.__name__ in ("format", "format_map"):
                check_widths(method.__self__)
        weigh_arguments(values)
        return weighed(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        weighed(left), weighed(right)
        if operator == "%":
            check_widths(left)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * abs(right) > DIGITS:
                raise SecurityError("it makes an enormous number")
        elif operator == "*":
            sized, times = (right, left) if isinstance(left, int) else (left, right)
            if isinstance(times, int) and not isinstance(sized, int | float) and weight(sized) * times > LARGEST:
                raise SecurityError(f"it repeats a value {times:,} times")
            if isinstance(sized, int) and isinstance(times, int) and (sized.bit_length() + times.bit_length() > DIGITS):
                raise SecurityError("it makes an enormous number")
        return super().call_binop(context, operator, left, right)


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is, without the HTML escapes of Jinja's own filter."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def refuse(message: str) -> NoReturn:
    raise Refusal(message)


def now(form: str) -> str:
    return datetime.now().strftime(form)


def compiled(source: str) -> Template:
    """A template whose loops and operators pay. Raises jinja2.TemplateSyntaxError."""
    environment = Environment()
    _spent.set([0])
    tree = _Paying().visit(environment.parse(source))
    code = environment.compile(tree)
    return Template.from_code(environment, code, environment.make_globals(None))


def rendered(template: Template, variables: Mapping[str, Any]) -> str:
    """The text of a template, within a new budget. Raises what templates raise."""
    token = _spent.set([0])
    try:
        return template.render(variables)
    finally:
        _spent.reset(token)
