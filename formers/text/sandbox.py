"""Jinja for templates that come with somebody's checkpoint: no way to Python's internals, and no way to run for long.

Jinja's own sandbox closes the first way. For the second every render has a budget: iterations, calls, filters and
operators pay for what they touch, and a value that grows too large is refused before it is made. A null in what is
said is written as nothing, while `is none` still knows it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import update_wrapper, wraps
from itertools import islice
from typing import Any, NoReturn

from jinja2 import Template, TemplateRuntimeError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro, Namespace
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter, SecurityError
from jinja2.visitor import NodeTransformer

from formers.text.template_budget import (
    CALL,
    DIGITS,
    LARGEST,
    check_encoding,
    check_percent,
    check_size,
    check_spec,
    each,
    new_budget,
    pay,
    weigh_arguments,
    weighed,
    weight,
)  # fmt: skip

MOST = 2**20  # bytes of a template
MOST_TOKENS = 50_000  # of a template, published: up to 10,000; a million take 5 GB to compile
DEEPEST = 64  # spaces of a step of JSON
OPEN, CLOSE = "\U000f0002", "\U000f0003"  # around what {% generation %} blocks write; private use, never text
EACH, WEIGHED, WRITTEN = "formers each", "formers weighed", "formers written"  # names that no template can write
# They draw at random, search by backtracking, or add up lists in quadratic time
LEFT_OUT = {"random", "urlize", "striptags", "wordwrap", "xmlattr", "sum", "pprint"}
CHEAP_TESTS = """
    defined undefined none string mapping iterable sequence number boolean true false integer float callable odd even
""".split()
CHEAP_FILTERS = {"length", "count", "first", "last", "default", "d", "attr"}  # look at no more than one part
KEEP_NULL = {"default", "d", "tojson", "attr"}  # filters of what null is; to all others it is an empty text


class Refusal(TemplateRuntimeError):
    """The template itself refuses the messages (raise_exception)."""


class Unprinted(Namespace):
    """What `namespace(...)` makes; its contents are not printed, which could be exponentially long."""

    def __repr__(self) -> str:
        return "<namespace>"


def written(value: Any) -> Any:
    """As a template writes it, paid for: null is nothing."""
    return weighed("" if value is None else value)


def without_null(values: Any) -> Any:
    """With an empty text for null: of a tuple, a list, an object, or alone."""
    if isinstance(values, Mapping):
        return {key: "" if value is None else value for key, value in values.items()}
    if isinstance(values, list | tuple):
        return type(values)("" if value is None else value for value in values) if None in values else values
    return "" if values is None else values


def bounded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that pays for its arguments and its result."""
    first = int(getattr(function, "jinja_pass_arg", None) is not None)  # Jinja's own argument stands before the value

    @wraps(function)  # keeps the mark that says what Jinja passes first
    def paying(*arguments: Any, **named: Any) -> Any:
        given, values = arguments[:first], list(arguments[first:])
        if values and values[0] is None and name not in KEEP_NULL:
            values[0] = ""
        if name in CHEAP_FILTERS:
            pay(CALL)
            return function(*given, *values, **named)
        weigh_arguments(name, [*values, *named.values()])
        if name == "join":
            values[0] = without_null(list(values[0]))
        elif name == "format":
            check_percent(values[0], named or tuple(values[1:]))
            values, named = without_null(values), without_null(named)
        return weighed(function(*given, *values, **named))

    return paying


class _Paying(NodeTransformer):
    """Loops, comparisons, slices, literals and concatenations of a parsed template pay as well."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filter(node.iter, EACH)  # type: ignore[arg-type]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        node.nodes = [_filter(part, WRITTEN) for part in node.nodes]
        return _filter(node, WEIGHED)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _filter(node.expr, WEIGHED)
        for operand in node.ops:
            operand.expr = _filter(operand.expr, WRITTEN if operand.op in ("in", "notin") else WEIGHED)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        self.generic_visit(node)
        if node.name not in CHEAP_TESTS:
            node.node = _filter(node.node, WEIGHED)
            node.args = [_filter(argument, WEIGHED) for argument in node.args]
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            node.node = _filter(node.node, WRITTEN)
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
            finalize=written,
            extensions=[Generation, loopcontrols],
        )
        self.filters["tojson"] = to_json
        self.filters = {name: bounded(name, f) for name, f in self.filters.items() if name not in LEFT_OUT}
        self.filters |= {EACH: each, WEIGHED: weighed, WRITTEN: written}
        self.globals.pop("lipsum")
        self.globals |= {"namespace": Unprinted, "raise_exception": refuse, "strftime_now": now}

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        raise SecurityError(f"it reaches for {attribute} of a {type(obj).__name__}, which is closed to templates")

    def getattr(self, obj: Any, attribute: str) -> Any:
        return super().getattr("" if obj is None else obj, attribute)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format` with fields that pay."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None
        text = str(value.__self__)  # what is marked as safe is text here, as nothing is escaped

        def paying(*arguments: Any, **named: Any) -> str:
            if value.__name__ == "format_map":
                (named,), arguments = arguments, ()
            return Fields(self).vformat(text, arguments, named)

        return update_wrapper(paying, value)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        values = [*args, *kwargs.values()]
        if isinstance(__obj, Macro):
            pay(CALL)
            for value in values:
                weighed(value)
            return super().call(__context, __obj, *args, **kwargs)
        method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps str.format
        name, owner = getattr(method, "__name__", ""), getattr(method, "__self__", None)
        if name in ("encode", "decode"):
            check_encoding(args[0] if args else kwargs.get("encoding", "utf-8"))
        weigh_arguments(name, [*values, owner])
        if name == "join" and args:
            args = (without_null(args[0]), *args[1:])
        return weighed(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "+" and (isinstance(left, str) or isinstance(right, str)):
            left, right = "" if left is None else left, "" if right is None else right
        weighed(left), weighed(right)
        if operator == "%" and isinstance(left, str | bytes):
            check_percent(left, right)
            right = without_null(right)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * abs(right) > DIGITS:
                raise SecurityError("it makes an enormous number")
        elif operator == "*":
            sized, times = (right, left) if isinstance(left, int) else (left, right)
            if isinstance(times, int) and not isinstance(sized, int | float) and weight(sized) * times > LARGEST:
                raise SecurityError(f"it repeats a value {times:,} times")
        return weighed(super().call_binop(context, operator, left, right))


class Fields(SandboxedFormatter):
    """The fields of one `format`, each paid for."""

    size = 0

    def format_field(self, value: Any, format_spec: str) -> str:
        check_spec(format_spec)
        text = str(super().format_field("" if value is None else value, format_spec))
        self.size += weight(text)
        check_size(self.size)
        return str(weighed(text))


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is, without the HTML escapes of Jinja's own filter."""
    if indent is not None and (indent if isinstance(indent, int) else len(indent)) > DEEPEST:
        raise SecurityError(f"it indents JSON by more than {DEEPEST} spaces")
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    if indent is None:
        return encoder.encode(value)
    pieces, size = list[str](), 0
    for piece in encoder.iterencode(value):  # every line of a deep value is as wide as it is deep
        pieces.append(piece)
        check_size(size := size + len(piece))
    return "".join(pieces)


def refuse(message: str) -> NoReturn:
    raise Refusal(message)


def now(form: str) -> str:
    return datetime.now().strftime(form)


def compiled(source: str) -> Template:
    """A template whose loops and operators pay. Raises jinja2.TemplateSyntaxError; SecurityError: it is too long."""
    if (size := len(source.encode("utf-8", "surrogatepass"))) > MOST:
        raise SecurityError(f"it is {size:,} bytes long, at most {MOST:,} are read")
    environment = Environment()
    code_tokens = (token for _, token, _ in environment.lex(source) if token not in ("whitespace", "data"))
    if next(islice(code_tokens, MOST_TOKENS, None), None):
        raise SecurityError(f"it has more than {MOST_TOKENS:,} words and signs, which are not read")
    with new_budget():
        tree = _Paying().visit(environment.parse(source))
        code = environment.compile(tree)
        return Template.from_code(environment, code, environment.make_globals(None))


def rendered(template: Template, variables: Mapping[str, Any]) -> str:
    """The text of a template, within a new budget. Raises what templates raise."""
    with new_budget():
        return str(weighed(template.render(variables)))
