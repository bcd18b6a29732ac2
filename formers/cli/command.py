"""A declared verb as a command: its dataclass of options as arguments and options, its results shown."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from formers.cli.inputs import files_of
from formers.cli.options import MODEL, SKIP_BAD, Destination, Opening
from formers.cli.show import Output, show
from formers.data.bad_rows import OF_FILES, leaving_out
from formers.data.standard_input import passage_of, standard_input
from formers.errors import ConfigError
from formers.fields import Escaped, Field, build, changed, check, fields_of
from formers.systems import kinds
from formers.systems.inputs import CommandInputs
from formers.systems.kinds import typed_of
from formers.systems.system import FILLED, System, Verb, resolve

METAVARS = {int: "N", float: "X", str: "TEXT", Path: "FILE"}
Declared = Sequence[tuple[System, Verb]]


def command(declared: Declared) -> Callable[..., None]:
    """The function that typer makes a command of: one verb, as every system that has it declares it."""
    fields = union(declared)
    passages = {name for name, field in fields.items() if typed_of(field).passage}
    files = {name for name, field in fields.items() if typed_of(field).file}
    typed = {name for name, field in fields.items() if kinds.NAME not in fields and typed_of(field).positional}
    dashes = {name for name, field in fields.items() if typed_of(field).dash}

    def run(model: str, **values: Any) -> None:
        given = unescaped(written(values), fields)
        opening, destination = taken(Opening, given), taken(Destination, given)
        inputs = taken(CommandInputs, given) if kinds.NAME in fields else CommandInputs()
        skip_bad = given.pop(SKIP_BAD.name, False)
        if skip_bad and given.keys() & typed and not given.keys() & files:
            raise ConfigError(OF_FILES)
        with leaving_out([] if skip_bad else None) as faults:
            for name in given.keys() & dashes:
                given[name] = standard_input() if given[name] == "-" else given[name]
            for name in given.keys() & passages:
                given[name] = passage_of(given[name], flag(name))
            with files_of(given, fields):
                perform(declared, model, given, inputs, opening, destination)
        if reasons := list(dict.fromkeys(map(str, faults or ()))):  # once each, however often a file is read
            typer.echo(f"left out: {len(reasons):,} row(s) that cannot be used; the first: {reasons[0]}", err=True)

    lenient = {SKIP_BAD.name: SKIP_BAD} if files or kinds.NAME in fields else {}
    shared = {**lenient, **fields_of(Destination), **fields_of(Opening)}
    return takes(run, {"model": MODEL, **fields, **shared}, declared[0][1].help)


def own_command(run: Callable[[Any], None]) -> Callable[..., None]:
    """The same of a function that takes a dataclass of options."""
    settings, verb = typing.get_type_hints(run)["options"], run.__module__.rpartition(".")[2]

    def call(**values: Any) -> None:
        run(checked(settings, written(values), verb))

    return takes(call, fields_of(settings), run.__doc__)


def takes(run: Callable[..., None], fields: Mapping[str, Field], text: str | None) -> Callable[..., None]:
    """A function of keywords with the signature that typer reads: the fields as arguments and options, and a help."""
    parameters = [each for name, field in fields.items() for each in parameters_of(name, field)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__doc__ = text
    return run


def written(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that were given on the command line."""
    filled = {name: value for name, value in values.items() if value not in (None, [], ())}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in filled.items()}


def taken(settings: Any, given: dict[str, Any]) -> Any:
    """A dataclass of those values that are its fields; takes them out."""
    return settings(**{name: given.pop(name) for name in fields_of(settings) if name in given})


def unescaped(given: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    """The values, with line feeds where a shell hands over a backslash and a letter."""
    marked = {name for name, field in fields.items() if any(isinstance(extra, Escaped) for extra in field.extras)}
    return {name: list(map(Escaped.read, value)) if name in marked else value for name, value in given.items()}


def perform(
    declared: Declared,
    model: str,
    given: Mapping[str, Any],
    inputs: CommandInputs,
    opening: Opening,
    destination: Destination,
) -> None:
    """Build the options, open the model, run the verb, show what it gives; faults come in this order."""
    from formers.recipe import origin_of
    from formers.registry import load, verbs_of

    able = {verb.options: verb for _, verb in declared if given.keys() <= fields_of(resolve(verb.options)).keys()}
    # what is wrong with the options is said first, where it is clear whose they are
    options = options_of(next(iter(able.values())), given, inputs) if len(able) == 1 else None
    usual = Path(declared[0][1].out) if declared[0][1].out and not destination.json else None
    output = Output(destination.out or usual, destination.json, declared[0][1].endings)
    place, system = opening.located(model)
    verb = verbs_of(system).get(declared[0][1].name)
    if verb is None:
        raise wrong_system(model, system, declared)
    if type(options) is not resolve(verb.options):
        options = options_of(verb, given, inputs, system)
    assert options is not None  # one way or the other
    opened = load(place, **opening.arguments())
    if "origin" in fields_of(resolve(verb.options)):
        options = changed(options, "origin", origin_of(model))
    show(resolve(verb.run)(opened, options), output)


def options_of(verb: Verb, given: Mapping[str, Any], inputs: CommandInputs, system: System | None = None) -> Any:
    """The verb's dataclass of options; an option of another system's is refused."""
    settings = resolve(verb.options)
    known = fields_of(settings)
    for name in given:
        if name not in known:
            assert system is not None
            raise ConfigError(f"{flag(name)} does not go with a {system.name} model; leave it out")
    return checked(settings, {**given, **kinds.of_command(known, inputs, given)}, verb.name)


def checked(settings: type, given: Mapping[str, Any], verb: str) -> Any:
    """The options that these values are. Raises ConfigError for one that its field does not allow."""
    options = build(settings, given, f"formers {verb}")
    check(options, flag)
    return options


def wrong_system(model: str, system: System, declared: Declared) -> ConfigError:
    """What to do with a model instead."""
    wanted = " or ".join(dict.fromkeys(owner.name for owner, _ in declared))
    return ConfigError(
        f"{model} is for {system.name}, expected a model for {wanted}; try: formers {system.example.format(model)}"
    )


def union(declared: Declared) -> dict[str, Field]:
    """The fields of all options by name; what only some systems have says so."""
    fields: dict[str, Field] = {}
    owners: dict[str, dict[str, None]] = {}
    for owner, verb in declared:
        for name, field in fields_of(resolve(verb.options)).items():
            fields.setdefault(name, field)
            owners.setdefault(name, {})[owner.name] = None
    systems = {owner.name for owner, _ in declared}
    for name, field in fields.items():
        if len(owners[name]) < len(systems) and len(owners[name]) <= 3:
            fields[name] = dataclasses.replace(field, help=_with(field.help, f" ({', '.join(owners[name])})"))
    return kinds.as_one({name: field for name, field in fields.items() if field.kind not in FILLED})


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def spelled(name: str, field: Field) -> str:
    """A field as one types it: `--beams`, or what stands for an argument."""
    typed = typed_of(field)
    if field.kind in kinds.KINDS:
        return kinds.argument_of(field) + ("" if typed.source else "...")
    return typed.metavar or "TEXT" if typed.positional else flag(name)


def parameter(name: str, kind: Any, written: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, written])


def parameters_of(name: str, field: Field) -> list[inspect.Parameter]:
    """What a field is on the command line; texts are arguments and the lines of a file."""
    typed = typed_of(field)
    if field.kind is CommandInputs:
        arguments = typer.Argument(metavar=typed.metavar, help=field.help, show_default=False)
        file = typer.Option(
            "--file", metavar="FILE", help="Its lines, or a column of a table (--column); -: standard input."
        )
        column = typer.Option("--column", metavar="NAME", help="The column of --file to work on.")
        return [
            parameter("arguments", list[str] | None, arguments, None),
            parameter("file", str | None, file, None),
            parameter("column", str | None, column, None),
        ]
    if typing.get_origin(field.kind) in (types.UnionType, typing.Union):  # which has no form on a command line
        return []
    several = typing.get_origin(field.kind) is tuple
    kind = typing.get_args(field.kind)[0] if several else field.kind
    kind = str if field.words else kind
    metavar = typed.metavar or "|".join(filter(None, field.words)) or METAVARS.get(kind, "")
    required = field.default is dataclasses.MISSING
    wanted = list[kind] if several else kind  # type: ignore[valid-type]
    if typed.positional:
        metavar = (metavar if required else f"[{metavar}]") + ("..." if several and "..." not in metavar else "")
        argument = typer.Argument(metavar=metavar, help=field.help, show_default=False)
        return [parameter(name, wanted, argument) if required else parameter(name, wanted | None, argument, None)]
    if kind is bool:
        names = f"{flag(name)}/--no-{flag(name)[2:]}" if typed.negatable else flag(name)
        return [parameter(name, bool | None, typer.Option(names, help=field.help, show_default=False), None)]
    more = "; may be given many times" if several else ""
    if field.default not in (None, "", (), dataclasses.MISSING):
        more = f" (default: {field.default})"
    option = typer.Option(flag(name), metavar=metavar, help=_with(field.help, more), show_default=False)
    return [parameter(name, wanted, option) if required else parameter(name, wanted | None, option, None)]


def _with(text: str, more: str) -> str:
    return f"{text.removesuffix('.')}{more}." if more else text
